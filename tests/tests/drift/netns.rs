//! A pod's namespace that is made anew under the same path, as when its sandbox restarts.

use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::foreign::Direction;

use super::scene::{Scene, programs, run};

/// The agent hears of the path; taking the old one out of the tunnel lets connections end first.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_pod_made_anew_is_enrolled_anew() -> Result<()> {
    let mut scene = Scene::new(60)?;
    let mut former = None;
    let before = scene.bed.pod("client").netns.cookie()?;
    // A look may find it half made.
    let besides = ["address", "device", "route", "loopback", "sysctl"];
    scene.repaired("another netns", &[("netns", 1)], &besides, SOON, |bed| {
        former = Some(bed.topology.node.reboot("client")?);
        Ok(())
    })?;
    ensure!(scene.bed.pod("client").netns.cookie()? != before);
    scene.serve("client")?;
    scene.ask_all()?;
    let former = former.expect("the former one");
    for family in ["-4", "-6"] {
        let rules = run(former.command("ip").args([family, "rule", "list"]))?;
        ensure!(!rules.contains("fwmark"), "{rules}");
        let routes = run(former
            .command("ip")
            .args([family, "route", "list", "table", "all"]))?;
        ensure!(!routes.contains("table 100"), "{routes}");
    }
    let left = former.run(|| programs("lo", Direction::Ingress))?;
    ensure!(left.is_empty(), "{left:?}");
    let all = scene.bed.pins.list()?;
    let old = before.to_string();
    ensure!(!all.iter().any(|path| path.ends_with(&old)), "{all:?}");
    Ok(())
}
