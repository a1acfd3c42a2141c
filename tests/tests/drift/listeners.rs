//! A tunnel that no longer listens: its pods are not enrolled, and are again when it does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::wait::wait_until;

use super::scene::Scene;

const TIMER: Duration = Duration::from_secs(10);
/// A new ztunnel has to start, and to be told of every pod.
const PATIENCE: Duration = Duration::from_secs(20);

fn enrolled(bed: &Bed, count: u64) -> bool {
    let enrolled = bed.metric("waysteer_pods_enrolled", &[]);
    enrolled.is_ok_and(|enrolled| enrolled == count)
}

#[test]
fn a_ztunnel_that_goes_takes_its_pods_along_until_it_is_back() -> Result<()> {
    let bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        extra: "verify_interval = 1\n".to_owned(),
        ..Options::default()
    })?;
    let mut scene = Scene::on(bed)?;
    scene.ask_all()?;
    for _ in 0..2 {
        let before = scene.found("listener")?;
        let mut gone = scene.bed.ztunnels.pop().context("a ztunnel")?;
        gone.kill()?;
        wait_until(TIMER, "three pods lack three listeners each", || {
            scene.found("listener").is_ok_and(|now| now == before + 9)
        })?;
        ensure!(enrolled(&scene.bed, 0), "pods count as enrolled");
        let (ready, why) = admin::get(&scene.bed.socket(), "/readyz")?;
        ensure!(ready == 503 && why.contains("client"), "{why}");
        scene.bed.start_ztunnel()?;
        wait_until(PATIENCE, "the pods are enrolled again", || {
            let standing = scene.bed.metric("waysteer_drift_standing", &[]);
            enrolled(&scene.bed, 3) && standing.is_ok_and(|standing| standing == 0)
        })?;
        scene.ask_all()?;
    }
    Ok(())
}

#[test]
fn listeners_that_were_closed_by_force_are_opened_again() -> Result<()> {
    let mut scene = Scene::new(1)?;
    for port in [15001, 15006, 15008] {
        let what = format!("the listener on {port} killed");
        scene.broken(&what, &[("listener", 1)], TIMER, |bed| {
            let filter = format!("ss -K -t -l sport = :{port}");
            let killed = Scene::client(bed, &filter)?;
            ensure!(
                killed.contains(&port.to_string()),
                "nothing was killed: {killed}"
            );
            Ok(())
        })?;
    }
    Ok(())
}
