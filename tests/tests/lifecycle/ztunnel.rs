//! The tunnel ends, or another one takes its place.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use waysteer_tests::load::Kind;
use waysteer_tests::wait::wait_until;

use super::{ENOUGH, PATIENCE, Scene};

#[test]
fn upgraded_with_two_at_once() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.bed.start_ztunnel()?;
    scene.bed.wait_for_ztunnel()?;
    scene.go_on()?;
    // The old one's streams go on in it, for as long as they like.
    scene.bed.ztunnels[0].signal(Signal::SIGTERM)?;
    scene.bed.ztunnels[0].wait_for_log(PATIENCE, "draining")?;
    scene.go_on()?;
    scene.go_on()?;
    ensure!(scene.bed.ztunnels[0].is_running(), "it has cut its streams");
    scene.bed.wait_until_ready()?;
    let Scene {
        load,
        wire,
        mut bed,
        ..
    } = scene;
    load.finish_whole(&wire)?;
    let ended = bed.ztunnels[0].wait_for_end(PATIENCE)?;
    ensure!(ended.success(), "the old one ended with {ended}");
    Ok(())
}

#[test]
fn killed_and_started_again() -> Result<()> {
    let mut scene = Scene::new()?;
    // What is under way in it ends with it, and nobody can help that.
    scene.load.pause(&Kind::TUNNELLED)?;
    let mut old = scene.bed.ztunnels.pop().context("the ztunnel")?;
    old.kill()?;
    wait_until(PATIENCE, "no pod is shown as enrolled", || {
        let enrolled = scene.bed.metric("waysteer_pods_enrolled", &[]);
        enrolled.is_ok_and(|enrolled| enrolled == 0)
    })?;
    scene.load.resume();
    let before = scene.load.report();
    wait_until(PATIENCE, "flows are held, others go on", || {
        let now = scene.load.report();
        let mut both = now.ways.iter().zip(&before.ways);
        both.all(|(now, before)| match now.kind {
            kind if Kind::TUNNELLED.contains(&kind) => now.under_way() > ENOUGH,
            _ => now.answered > before.answered + ENOUGH,
        })
    })?;
    scene.wire.ensure_clean()?;
    scene.bed.start_ztunnel()?;
    scene.bed.wait_until_ready()?;
    // The streams that were in it are gone, so only requests are waited for.
    let before = scene.load.report();
    wait_until(PATIENCE, "what was held is done", || {
        let now = scene.load.report();
        let mut both = now.ways.iter().zip(&before.ways);
        both.all(|(now, before)| now.answered > before.begun + ENOUGH)
    })?;
    let Scene {
        load, wire, bed, ..
    } = scene;
    let report = load.finish()?;
    println!("{report}");
    ensure!(report.failed() == 0, "{report}");
    for way in &report.ways {
        let tunnelled = Kind::TUNNELLED.contains(&way.kind);
        ensure!(way.cut.is_some() == tunnelled, "{way:?}");
        let held = way.slowest > Duration::from_millis(500);
        ensure!(held == tunnelled, "{way:?}");
    }
    wire.ensure_clean()?;
    drop(bed);
    Ok(())
}
