//! Programs that are taken off.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use waysteer_tests::bed::Bed;

use super::scene::{Scene, bpftool};

/// Nothing tells of links that go; the timer finds them.
const TIMER: Duration = Duration::from_secs(10);

/// The pins of the client's links.
pub(super) fn links(bed: &Bed) -> Result<Vec<PathBuf>> {
    let cookie = bed.pod("client").netns.cookie()?.to_string();
    let all = bed.pins.list()?;
    let of_client = all.iter().filter(|path| {
        let directory = path.parent().and_then(|parent| parent.file_name());
        directory.is_some_and(|name| name == cookie.as_str())
    });
    Ok(of_client.map(|path| bed.pins.path().join(path)).collect())
}

#[test]
fn links_of_a_pod_are_made_again() -> Result<()> {
    let mut scene = Scene::new(1)?;
    let names = ["lo_ingress", "pod_egress", "pod_ingress"];
    for name in names {
        let what = format!("{name} detached");
        scene.broken(&what, &[("program", 1)], TIMER, |bed| {
            let all = links(bed)?;
            anyhow::ensure!(all.len() == 3, "{all:?}");
            let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(name);
            for pin in all.iter().filter(ends) {
                bpftool("link detach pinned", pin, &[])?;
            }
            Ok(())
        })?;
    }
    scene.broken("all unpinned", &[("program", 3)], TIMER, |bed| {
        for pin in links(bed)? {
            fs::remove_file(pin)?;
        }
        Ok(())
    })
}

#[test]
fn links_of_the_cgroup_are_made_again() -> Result<()> {
    let mut scene = Scene::new(1)?;
    for name in [
        "connect4",
        "connect6",
        "getpeername4",
        "getpeername6",
        "sock_ops",
    ] {
        let what = format!("{name} detached");
        scene.broken(&what, &[("program", 1)], TIMER, |bed| {
            let pin = Scene::pin(bed, &format!("links/cgroup/{name}"))?;
            bpftool("link detach pinned", &pin, &[]).map(drop)
        })?;
    }
    scene.broken("connect4 unpinned", &[("program", 1)], TIMER, |bed| {
        Ok(fs::remove_file(Scene::pin(bed, "links/cgroup/connect4")?)?)
    })
}
