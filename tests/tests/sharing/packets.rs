//! Programs and filters of others on a pod's devices.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::foreign::{Direction, Foreign, Place};
use waysteer_tests::wait::wait_until;

use crate::drift::scene::{Scene, programs};

const TIMER: Duration = Duration::from_secs(10);
const HOOKS: [(&str, Direction); 3] = [
    ("lo", Direction::Ingress),
    ("eth0", Direction::Egress),
    ("eth0", Direction::Ingress),
];

/// Ids of the programs of one of the client's hooks, in order.
fn order(bed: &Bed, (device, direction): (&str, Direction)) -> Result<Vec<u32>> {
    let netns = &bed.pod("client").netns;
    netns.run(|| programs(device, direction))
}

/// Attempts at coming first again, of a drift that stands.
fn order_attempts(bed: &Bed) -> Result<u64> {
    let (_, status) = admin::get(&bed.socket(), "/status")?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let pods = status["pods"].as_array().context("pods")?;
    let drifts = pods.iter().filter_map(|pod| pod["drift"].as_array());
    let order = drifts.flatten().find(|drift| drift["kind"] == "order");
    order.map_or(Ok(0), |drift| {
        drift["attempts"].as_u64().context("attempts")
    })
}

fn attach(bed: &Bed, place: Place) -> Result<Vec<Foreign>> {
    let netns = &bed.pod("client").netns;
    let hooks = HOOKS.into_iter();
    hooks
        .map(|(device, direction)| Foreign::on_device_at(netns, device, direction, place))
        .collect()
}

fn counts(programs: &[Foreign]) -> Result<Vec<u64>> {
    programs.iter().map(Foreign::count).collect()
}

/// Ours first, then these; and each of them sees what goes by.
fn ensure_shared(scene: &mut Scene, behind: &[&[Foreign]]) -> Result<()> {
    for (number, hook) in HOOKS.into_iter().enumerate() {
        let ids = order(&scene.bed, hook)?;
        let strangers: Result<Vec<u32>> = behind.iter().map(|all| all[number].id()).collect();
        let strangers = strangers?;
        ensure!(ids.len() == strangers.len() + 1, "{hook:?}: {ids:?}");
        ensure!(ids[1..] == strangers, "{hook:?}: {ids:?}, {strangers:?}");
    }
    let before: Result<Vec<_>> = behind.iter().map(|programs| counts(programs)).collect();
    scene.ask_all()?;
    for (programs, before) in behind.iter().zip(before?) {
        let after = counts(programs)?;
        let mut pairs = before.iter().zip(&after);
        ensure!(pairs.all(|(old, new)| new > old), "{before:?} {after:?}");
    }
    Ok(())
}

#[test]
fn packet_programs_keep_their_order_behind_ours() -> Result<()> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        extra: "verify_interval = 1\n".to_owned(),
        ..Options::default()
    })?;
    let last = attach(&bed, Place::Last)?;
    let first = attach(&bed, Place::First)?;
    bed.start_agent()?;
    bed.wait_until_ready()?;
    let mut scene = Scene::on(bed)?;
    ensure_shared(&mut scene, &[&first, &last])?;
    let later = attach(&scene.bed, Place::Last)?;
    ensure_shared(&mut scene, &[&first, &last, &later])?;

    // Who comes first is behind us again, and before those that he was before.
    let mut newer = None;
    scene.broken("strangers first", &[("order", 3)], TIMER, |bed| {
        newer = Some(attach(bed, Place::First)?);
        Ok(())
    })?;
    let newer = newer.context("the newer ones")?;
    ensure_shared(&mut scene, &[&newer, &first, &last, &later])?;
    drop((first, later));
    ensure_shared(&mut scene, &[&newer, &last])
}

#[test]
fn who_insists_on_being_first_is_let_be_and_told_of() -> Result<()> {
    let mut scene = Scene::new(1)?;
    let hook = ("eth0", Direction::Egress);
    let insist = |bed: &Bed| {
        let netns = &bed.pod("client").netns;
        Foreign::on_device_at(netns, hook.0, hook.1, Place::First)
    };
    let mut stranger = insist(&scene.bed)?;
    // He comes again whenever he is not first; more than once in one repair, where he is quick.
    wait_until(Duration::from_secs(30), "he is let be", || {
        let attempts = order_attempts(&scene.bed).unwrap_or_default();
        let id = stranger.id().unwrap_or_default();
        let ids = order(&scene.bed, hook).unwrap_or_default();
        let is_first = ids.first() == Some(&id);
        if !is_first && let Ok(again) = insist(&scene.bed) {
            stranger = again;
        }
        is_first && attempts >= 3
    })?;
    ensure!(order_attempts(&scene.bed)? == 3, "let be after three times");
    let standing = |bed: &Bed| bed.metric("waysteer_drift_standing", &[("kind", "order")]);
    ensure!(standing(&scene.bed)? == 1, "told of");
    let (_, status) = admin::get(&scene.bed.socket(), "/status")?;
    ensure!(
        status.contains("stranger before pod_egress on eth0"),
        "{status}"
    );
    let (ready, _) = admin::get(&scene.bed.socket(), "/readyz")?;
    ensure!(ready == 200, "{status}");
    scene.ask_all()?;
    let ids = order(&scene.bed, hook)?;
    ensure!(ids.first() == Some(&stranger.id()?), "{ids:?}");
    drop(stranger);
    wait_until(TIMER, "nobody is before us", || {
        standing(&scene.bed).is_ok_and(|count| count == 0)
    })
}

#[test]
fn legacy_filters_come_and_go() -> Result<()> {
    let mut scene = Scene::new(1)?;
    let bytecode = "1,6 0 0 0,";
    for number in 0..2 {
        let what = format!("clsact, {number}");
        scene.broken(&what, &[], TIMER, |bed| {
            Scene::client(bed, "tc qdisc add dev eth0 clsact")?;
            for side in ["ingress", "egress"] {
                let netns = &bed.pod("client").netns;
                let mut command = netns.command("tc");
                let words = ["filter", "add", "dev", "eth0", side, "bpf", "bytecode"];
                crate::drift::scene::run(command.args(words).arg(bytecode))?;
            }
            Ok(())
        })?;
        scene.broken("no clsact", &[], TIMER, |bed| {
            Scene::client(bed, "tc qdisc del dev eth0 clsact").map(drop)
        })?;
        let ids = order(&scene.bed, ("eth0", Direction::Egress))?;
        ensure!(ids.len() == 1, "{ids:?}");
    }
    Ok(())
}
