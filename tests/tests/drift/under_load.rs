//! Things broken while every kind of traffic goes on: nothing that needs encryption is on a wire as
//! it is, before the repair either.

use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer_tests::bed::Bed;
use waysteer_tests::load::{Load, Wire};

use super::links::links;
use super::rules::reset_parameters;
use super::scene::{Kinds, Scene, bpftool};

const TIMER: Duration = Duration::from_secs(15);
/// A SYN that was dropped comes again after 1, 3 and 7 seconds.
const FLOWS: Duration = Duration::from_secs(20);
/// New connections a second.
const RATE: u32 = 40;

pub(crate) type Break = fn(&mut Bed) -> Result<()>;

fn rules(bed: &mut Bed) -> Result<()> {
    Scene::client(bed, "ip rule flush")?;
    Scene::client(bed, "ip rule add lookup main pref 32766").map(drop)
}

fn rules_v6(bed: &mut Bed) -> Result<()> {
    Scene::client(bed, "ip -6 rule flush")?;
    Scene::client(bed, "ip -6 rule add lookup main pref 32766").map(drop)
}

fn table(bed: &mut Bed) -> Result<()> {
    Scene::client(bed, "ip route flush table 100").map(drop)
}

fn parameters(bed: &mut Bed) -> Result<()> {
    reset_parameters(bed)
}

fn loopback(bed: &mut Bed) -> Result<()> {
    Scene::client(bed, "ip link set lo down").map(drop)
}

fn connect(bed: &mut Bed) -> Result<()> {
    let pin = Scene::pin(bed, "links/cgroup/connect4")?;
    bpftool("link detach pinned", &pin, &[]).map(drop)
}

fn one_link(bed: &Bed, name: &str) -> Result<()> {
    let all = links(bed)?;
    let pin = all.iter().find(|pin| pin.to_string_lossy().ends_with(name));
    bpftool("link detach pinned", pin.context("a pin")?, &[]).map(drop)
}

fn guard(bed: &mut Bed) -> Result<()> {
    one_link(bed, "pod_egress")
}

fn entry(bed: &mut Bed) -> Result<()> {
    super::maps::delete(bed, "maps/PODS")?;
    super::maps::delete(bed, "maps/WORKLOADS")
}

const CONNECT: &str = "the connect program";
const ENTRIES: &str = "map entries";
/// While these are broken connections are counted as something else, or not at all.
pub(crate) const UNCOUNTED: [&str; 2] = [CONNECT, ENTRIES];

/// What is broken, and which kinds are found.
pub(crate) const BREAKS: [(&str, Break, Kinds<'_>); 8] = [
    ("rules", rules, &[("rule", 2)]),
    ("rules of IPv6", rules_v6, &[("rule", 2)]),
    ("table 100", table, &[("route", 1)]),
    ("parameters", parameters, &[("sysctl", 3)]),
    ("lo down", loopback, &[("loopback", 1)]),
    (CONNECT, connect, &[("program", 1)]),
    ("the guard", guard, &[("program", 1)]),
    (ENTRIES, entry, &[("map", 2)]),
];

#[test]
fn nothing_is_plaintext_while_things_are_broken() -> Result<()> {
    let mut scene = Scene::without_servers(1)?;
    let wire = Wire::watch(&scene.bed)?;
    let load = Load::start(&scene.bed, RATE)?;
    for (what, breaking, expected) in BREAKS {
        let before = load.report();
        scene.repaired(what, expected, &["route"], TIMER, breaking)?;
        load.wait_for_more(2, FLOWS)
            .with_context(|| what.to_owned())?;
        wire.ensure_clean().with_context(|| what.to_owned())?;
        let after = load.report();
        let failed = after.failed() - before.failed();
        eprintln!("{what}: {failed} failed, {} cut", after.cut());
    }
    load.finish_whole(&wire)?;
    Ok(())
}
