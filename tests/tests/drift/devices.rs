//! Devices and addresses that change.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::scene::{PORT, Scene};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_renamed_device_keeps_its_programs() -> Result<()> {
    let mut scene = Scene::new(60)?;
    for (from, to) in [("eth0", "net1"), ("net1", "eth0")] {
        let what = format!("{from} renamed");
        scene.broken(&what, &[("device", 1)], SOON, |bed| {
            Scene::client(bed, &format!("ip link set {from} name {to}")).map(drop)
        })?;
    }
    Ok(())
}

#[test]
fn a_new_device_gets_programs_and_its_addresses_are_known() -> Result<()> {
    let mut scene = Scene::new(60)?;
    // In between the pod has no address, and its routes no source.
    let besides = ["address", "route", "device"];
    for number in 0..2 {
        let what = format!("another eth0, {number}");
        scene.repaired(&what, &[("device", 1)], &besides, SOON, |bed| {
            bed.topology.node.replug("client")
        })?;
        scene.ask_all()?;
    }
    scene.broken("two more devices", &[("device", 2)], SOON, |bed| {
        Scene::client(bed, "ip link add second type veth peer name third").map(drop)
    })?;
    scene.broken("two devices less", &[("device", 2)], SOON, |bed| {
        Scene::client(bed, "ip link del second").map(drop)
    })?;
    let own = "10.1.1.99";
    scene.broken("a new address", &[("address", 1)], SOON, |bed| {
        Scene::client(bed, &format!("ip addr add {own}/32 dev eth0")).map(drop)
    })?;
    // It is the pod's own now, and so not steered.
    let to = format!("{own}:{PORT}").parse()?;
    let mark = scene.bed.mark()?;
    scene.ask("client", to, true)?;
    let flow = scene.bed.flow_to(to, mark)?;
    ensure!(flow.reason == "OwnAddress", "{flow:?}");
    scene.broken("the address gone", &[("address", 1)], SOON, |bed| {
        Scene::client(bed, &format!("ip addr del {own}/32 dev eth0")).map(drop)
    })
}
