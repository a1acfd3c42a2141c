//! A pod whose rules are gone, or whose kernel is stricter than usual.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use waysteer_tests::dial::Dial;
use waysteer_tests::netns::NetNs;
use waysteer_tests::raw::{Answer, send_syn};
use waysteer_tests::wait::wait_until;

use super::watched::Watched;

/// Rules of somebody else that come before ours, or no longer. Ours taken away would be back too
/// soon; those of others are not the agent's to remove, and to a packet it is the same.
fn shadow_rules(netns: &NetNs, what: &str) -> Result<()> {
    for family in ["-4", "-6"] {
        for (mark, priority) in [("0x57e/0xfff", "50"), ("0x111/0xfff", "51")] {
            let mut command = netns.command("ip");
            command.args([family, "rule", what, "fwmark", mark, "lookup", "main"]);
            command.args(["priority", priority]);
            let status = command.status()?;
            ensure!(status.success(), "{command:?}: {status}");
        }
    }
    Ok(())
}

#[test]
fn where_our_rules_do_not_count_all_is_held_and_nothing_leaks() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    let hurried = Dial::new().timeout(Duration::from_secs(1));
    for v6 in [false, true] {
        let far = watched.pod("far", v6);
        let open = hurried.connect(client, far)?;
        watched.ask_far(&open.stream, far)?;
        // From the mesh to the pod, whose answers need a rule too.
        let into = watched.pod("client", v6);
        let inbound = hurried.connect(&watched.bed.pod("far").netns, into)?;
        ensure!(watched.ask_secretly(&inbound.stream)?.server == "client");

        shadow_rules(client, "add")?;
        let returned = watched.action("guard_returned")?;
        let answer = watched.ask_far(&open.stream, far);
        ensure!(
            answer.is_err(),
            "the guard delivers what the rules would have"
        );
        let answer = watched.ask_secretly(&inbound.stream);
        ensure!(answer.is_err(), "{answer:?}");
        ensure!(watched.action("guard_returned")? > returned + 1);
        watched.nothing_leaked(far)?;
        watched.nothing_leaked(inbound.local)?;
        let held = client.spawn("held", move || {
            Dial::new()
                .timeout(Duration::from_secs(15))
                .connect_here(far)
        })?;
        wait_until(
            Duration::from_secs(5),
            "the guard sees its SYN twice",
            || {
                let now = watched.action("guard_returned");
                now.is_ok_and(|now| now > returned + 2) && !held.is_finished()
            },
        )?;
        watched.nothing_leaked(far)?;

        shadow_rules(client, "del")?;
        let connection = held.join().map_err(|_| anyhow!("the client panicked"))??;
        watched.ask_far(&connection.stream, far)?;
    }
    Ok(())
}

#[test]
fn strict_reverse_path_filters_are_satisfied() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for device in ["all", "default", "lo", "eth0"] {
        client.set_sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "1")?;
    }
    let far = watched.pod("far", false);
    let connection = Dial::new().connect(client, far)?;
    watched.ask_far(&connection.stream, far)?;
    let mut source = watched.pod("client", false);
    source.set_port(45_001);
    let steered = watched.action("guard_steered")?;
    let answer = send_syn(client, source, far, Duration::from_secs(5))?;
    ensure!(answer == Answer::Accepted, "{answer:?}");
    ensure!(watched.action("guard_steered")? > steered);
    watched.nothing_leaked(far)?;
    // Inbound, from outside and from the mesh.
    let to = watched.pod("client", false);
    for from in [
        &watched.bed.topology.external.netns,
        &watched.bed.pod("server").netns,
    ] {
        let connection = Dial::new().connect(from, to)?;
        let seen = waysteer_tests::http::get(&connection.stream, "any", "/in")?.seen()?;
        ensure!(seen.client.ip() == connection.local.ip(), "{seen:?}");
    }
    Ok(())
}
