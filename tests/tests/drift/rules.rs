//! Rules, routes, parameters and `lo`.

use std::time::Duration;

use anyhow::Result;

use super::scene::Scene;

/// What the kernel tells of is noticed at once; the timer would be later.
const SOON: Duration = Duration::from_secs(5);
/// Two rounds of the timer, and a busy machine.
const TIMER: Duration = Duration::from_secs(10);

#[test]
fn rules_routes_and_lo_are_back_at_once() -> Result<()> {
    let mut scene = Scene::new(60)?;
    scene.broken("rules flushed", &[("rule", 4)], SOON, |bed| {
        for family in ["-4", "-6"] {
            Scene::client(bed, &format!("ip {family} rule flush"))?;
            Scene::client(bed, &format!("ip {family} rule add lookup main pref 32766"))?;
        }
        Ok(())
    })?;
    scene.broken("table 100 flushed", &[("route", 2)], SOON, |bed| {
        Scene::client(bed, "ip -4 route flush table 100")?;
        Scene::client(bed, "ip -6 route flush table 100").map(drop)
    })?;
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
    let sysctls = [
        "net/ipv4/tcp_fwmark_accept",
        "net/ipv4/conf/lo/accept_local",
        "net/ipv4/conf/lo/src_valid_mark",
    ];
    scene.broken("parameters reset", &[("sysctl", 3)], TIMER, |bed| {
        for sysctl in sysctls {
            bed.pod("client").netns.set_sysctl(sysctl, "0")?;
        }
        Ok(())
    })?;
    for sysctl in sysctls {
        anyhow::ensure!(scene.bed.pod("client").netns.sysctl(sysctl)? == "1");
    }
    Ok(())
}
