//! Until both types were told, nothing goes past the tunnel.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use waysteer_tests::admin;
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::istiod::Resend;
use waysteer_tests::istiod::resources::{ADDRESS, AUTHORIZATION};
use waysteer_tests::topology::Node;

use super::{Meshed, PATIENCE, PORT};

#[test]
fn nothing_is_bypassed_before_the_workloads_are_told() -> Result<()> {
    held_until_all_is_told(ADDRESS)
}

#[test]
fn nothing_is_bypassed_before_the_policies_are_told() -> Result<()> {
    held_until_all_is_told(AUTHORIZATION)
}

fn held_until_all_is_told(last: &'static str) -> Result<()> {
    let mut meshed = Meshed::new(Resend::Everything)?;
    meshed.plane.withhold(last);
    meshed.bed.start_agent()?;
    meshed.wait_for_source("one type was told", |source| {
        let types = &source["xds"]["types"];
        let complete = |label: &str| types[label]["complete"] == true;
        source["pods_known"] == true && complete("address") != complete("authorization")
    })?;
    let label = if last == ADDRESS {
        "address"
    } else {
        "authorization"
    };
    let (status, body) = admin::get(&meshed.bed.socket(), "/readyz")?;
    let missing = format!("no complete snapshot yet: {label}: ");
    ensure!(status == 503 && body.contains(&missing), "{status} {body}");
    let enrolled = || meshed.bed.metric("waysteer_pods_enrolled", &[]);
    waysteer_tests::wait::wait_until(PATIENCE, "three pods are enrolled", || {
        enrolled().is_ok_and(|count| count == 3)
    })?;

    let _servers = meshed.serve(&["far", "server", "plain", "far-plain"])?;
    let client = meshed.bed.pod("client");
    let capture = Capture::start(
        &meshed.bed.topology.node.netns,
        &[&client.veth, Node::UPLINK],
    )?;
    let mark = meshed.bed.mark()?;
    let mut clients = Vec::new();
    for name in ["far", "server", "plain", "far-plain"] {
        for v6 in [false, true] {
            let to = SocketAddr::new(meshed.bed.address(name, v6), PORT);
            let asking = client.netns.spawn(name, move || -> Result<()> {
                let connection = Dial::new().timeout(PATIENCE).connect_here(to)?;
                let seen = http::get(&connection.stream, name, "/secret-before-the-snapshot");
                let seen = seen.with_context(|| format!("{name} at {to}"))?.seen()?;
                ensure!(seen.server == name, "{seen:?}");
                Ok(())
            })?;
            clients.push((to, asking));
        }
    }
    for (to, asking) in &clients {
        let verdict = meshed.bed.flow_to(*to, mark)?;
        ensure!(
            verdict.steered && verdict.reason == "NotSynced",
            "{verdict:?}"
        );
        ensure!(!asking.is_finished(), "the connection to {to} ended");
        let on_wire = capture.sum_to(*to);
        ensure!(on_wire.packets == 0, "{to}: {on_wire:?}");
    }
    meshed.plane.tell_all();
    meshed.bed.wait_until_ready()?;
    for (to, asking) in clients {
        let result = asking.join().map_err(|_| anyhow!("the client panicked"))?;
        result.with_context(|| format!("to {to}"))?;
    }
    ensure!(
        capture.broken_hbone().is_empty(),
        "{:?}",
        capture.broken_hbone()
    );
    Ok(())
}
