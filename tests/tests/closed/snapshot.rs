//! Before the source has said everything once, nothing goes past the tunnel.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;

const PORT: u16 = 8080;

#[test]
fn nothing_is_bypassed_without_a_mesh_file() -> Result<()> {
    held_until_the_mesh_is_there(None)
}

#[test]
fn nothing_is_bypassed_with_a_mesh_file_that_cannot_be_read() -> Result<()> {
    held_until_the_mesh_is_there(Some("workloads:\n- {uid: \"a\n"))
}

fn held_until_the_mesh_is_there(text: Option<&str>) -> Result<()> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        ..Options::default()
    })?;
    match text {
        Some(text) => bed.write_mesh(text)?,
        None => std::fs::remove_file(bed.scratch.path().join("mesh.yaml"))?,
    }
    bed.start_agent()?;
    wait_until(Duration::from_secs(20), "three pods are enrolled", || {
        bed.metric("waysteer_pods_enrolled", &[])
            .is_ok_and(|n| n == 3)
    })?;
    let (status, body) = waysteer_tests::admin::get(&bed.socket(), "/readyz")?;
    ensure!(
        status == 503 && body.contains("snapshot"),
        "{status} {body}"
    );

    let client = bed.pod("client");
    let external = &bed.topology.external;
    let mut servers = Vec::new();
    let mut destinations = Vec::new();
    for name in ["far", "server", "plain", "far-plain"] {
        let netns = &bed.pod(name).netns;
        servers.push(Server::start(netns, name, PORT, Service::Http)?);
        destinations.extend([false, true].map(|v6| (name, bed.address(name, v6))));
    }
    servers.push(Server::start(
        &external.netns,
        "external",
        PORT,
        Service::Http,
    )?);
    destinations.extend(
        external
            .addresses
            .both()
            .map(|address| ("external", address)),
    );
    let capture = Capture::start(&bed.topology.node.netns, &[&client.veth, Node::UPLINK])?;

    let mark = bed.mark()?;
    let mut clients = Vec::new();
    for (name, address) in destinations {
        let to = SocketAddr::new(address, PORT);
        let client = client.netns.spawn(name, move || -> Result<()> {
            let dial = Dial::new().timeout(Duration::from_secs(15));
            let connection = dial.connect_here(to)?;
            let seen = http::get(&connection.stream, name, "/secret-before-the-snapshot");
            let seen = seen.with_context(|| format!("{name} at {to}"))?.seen()?;
            ensure!(seen.server == name, "{seen:?}");
            Ok(())
        })?;
        clients.push((to, client));
    }
    for (to, client) in &clients {
        let verdict = bed.flow_to(*to, mark)?;
        ensure!(
            verdict.steered && verdict.reason == "NotSynced",
            "{verdict:?}"
        );
        ensure!(!client.is_finished(), "the connection to {to} ended");
        // Not even a SYN: the tunnel holds it.
        let on_wire = capture.sum_to(*to);
        ensure!(on_wire.packets == 0, "{to}: {on_wire:?}");
    }
    bed.write_mesh(&bed.mesh())?;
    bed.wait_until_ready()?;
    for (to, client) in clients {
        let result = client.join().map_err(|_| anyhow!("the client panicked"))?;
        result.with_context(|| format!("to {to}"))?;
    }
    ensure!(
        capture.broken_hbone().is_empty(),
        "{:?}",
        capture.broken_hbone()
    );
    Ok(())
}
