//! The agent ends, in one way or another, and comes back.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::process::other_object;
use waysteer_tests::wait::wait_until;

use super::{PATIENCE, Scene};

#[test]
fn killed_and_restarted() -> Result<()> {
    let mut scene = Scene::new()?;
    for _ in 0..2 {
        scene.bed.kill_agent()?;
        scene.go_on()?;
        scene.bed.start_agent()?;
        scene.bed.wait_until_ready()?;
        scene.go_on()?;
    }
    scene.finish()
}

#[test]
fn terminated_and_restarted() -> Result<()> {
    let mut scene = Scene::new()?;
    let pins = scene.bed.pins.list()?;
    scene.bed.stop_agent()?;
    scene.go_on()?;
    ensure!(scene.bed.pins.list()? == pins, "the pins are others");
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    scene.go_on()?;
    scene.finish()
}

#[test]
fn killed_while_it_starts() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.bed.kill_agent()?;
    for lines in [1, 2, 4, 6, 8, 12, 16] {
        scene.bed.start_agent()?;
        let agent = scene.bed.agent.as_mut().context("the agent")?;
        let before = agent.log().lines().count();
        let what = format!("it has said {lines} lines");
        agent.wait_until(PATIENCE, &what, |agent| {
            agent.log().lines().count() >= before + lines
        })?;
        scene.bed.kill_agent()?;
    }
    scene.go_on()?;
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    scene.go_on()?;
    scene.finish()
}

#[test]
fn upgraded_to_another_build() -> Result<()> {
    let other = other_object("code")?;
    let mut scene = Scene::new()?;
    let before = scene.programs()?;
    // There, and back again.
    for arguments in [vec!["--object", &other], vec![]] {
        scene.bed.stop_agent()?;
        scene.bed.start_agent_with(&arguments)?;
        scene.bed.wait_until_ready()?;
        ensure!(
            (scene.programs()? == before) == arguments.is_empty(),
            "the programs: {before:?}, {:?}",
            scene.programs()?
        );
        scene.go_on()?;
    }
    scene.finish()
}

#[test]
fn upgraded_to_maps_of_other_sizes_and_rolled_back() -> Result<()> {
    let other = other_object("layout")?;
    let mut scene = Scene::new()?;
    for arguments in [vec!["--object", &other], vec![]] {
        let before = scene.bed.pins.list()?;
        scene.bed.kill_agent()?;
        scene.bed.start_agent_with(&arguments)?;
        scene.bed.wait_until_ready()?;
        scene.go_on()?;
        let after = scene.bed.pins.list()?;
        ensure!(after != before, "nothing was replaced: {after:?}");
        ensure!(after.len() == before.len(), "{before:?} became {after:?}");
    }
    scene.finish()
}

#[test]
fn migrated_from_another_abi() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.bed.kill_agent()?;
    let root = scene.bed.pins.path();
    let own = std::fs::read_dir(root)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(is_generation))
        .context("a generation")?;
    // As an agent of an earlier version would have named it.
    let earlier = root.join("v0");
    std::fs::rename(&own, &earlier)?;
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    wait_until(PATIENCE, "the old pins are gone", || !earlier.exists())?;
    ensure!(own.exists());
    scene.go_on()?;
    scene.finish()
}

fn is_generation(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let number = name.strip_prefix('v');
    number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}
