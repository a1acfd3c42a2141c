//! Rules, routes, parameters and `lo`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use waysteer_tests::bed::Bed;

use super::scene::Scene;

/// What the kernel tells of is noticed at once; the timer would be later.
const SOON: Duration = Duration::from_secs(5);
/// Two rounds of the timer, and a busy machine.
const TIMER: Duration = Duration::from_secs(10);

pub(super) const SYSCTLS: [&str; 3] = [
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/conf/lo/accept_local",
    "net/ipv4/conf/lo/src_valid_mark",
];

/// Those that nobody tells of.
pub(super) fn reset_parameters(bed: &Bed) -> Result<()> {
    bed.pod("client").netns.run(|| {
        for sysctl in SYSCTLS {
            std::fs::write(Path::new("/proc/sys").join(sysctl), "0")?;
        }
        Ok(())
    })
}

#[test]
fn rules_routes_and_lo_are_back_at_once() -> Result<()> {
    let mut scene = Scene::new(60)?;
    // One family after the other: a repair puts back what went away meanwhile, unseen.
    for family in ["-4", "-6"] {
        let what = format!("rules flushed, {family}");
        scene.broken(&what, &[("rule", 2)], SOON, |bed| {
            Scene::client(bed, &format!("ip {family} rule flush"))?;
            Scene::client(bed, &format!("ip {family} rule add lookup main pref 32766")).map(drop)
        })?;
        let what = format!("table 100 flushed, {family}");
        scene.broken(&what, &[("route", 1)], SOON, |bed| {
            Scene::client(bed, &format!("ip {family} route flush table 100")).map(drop)
        })?;
    }
    let besides = ["route"];
    scene.repaired("lo down", &[("loopback", 1)], &besides, SOON, |bed| {
        Scene::client(bed, "ip link set lo down").map(drop)
    })?;
    scene.ask_all()?;
    scene.broken("one rule deleted", &[("rule", 1)], SOON, |bed| {
        Scene::client(bed, "ip rule del priority 100").map(drop)
    })
}

#[test]
fn parameters_are_back_with_the_next_round() -> Result<()> {
    let mut scene = Scene::new(1)?;
    scene.broken("parameters reset", &[("sysctl", 3)], TIMER, |bed| {
        reset_parameters(bed)
    })?;
    for sysctl in SYSCTLS {
        anyhow::ensure!(scene.bed.pod("client").netns.sysctl(sysctl)? == "1");
    }
    Ok(())
}
