//! Nothing happens: what the other tests are compared with.

use anyhow::Result;

use super::Scene;

#[test]
fn ztunnel_carries_every_class() -> Result<()> {
    let scene = Scene::new()?;
    scene.go_on()?;
    scene.finish()
}
