//! Traffic of every class.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, Options, SHOP, Waypoints};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::envoy::{self, VIA};
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;
use waysteer_tests::ztunnel::{Settings, Ztunnel};
use waysteer_tests::{admin, http, skip};

use super::{PATIENCE, bed};

fn ensure_whole(bed: &Bed) -> Result<()> {
    let wire = Wire::watch(bed)?;
    let load = Load::start(bed, 200)?;
    load.wait_for_more(50, PATIENCE)?;
    load.finish_whole(&wire)?;
    Ok(())
}

/// The other node has the embedded tunnel, which is told the same by the same file.
#[test]
fn every_way_is_whole_and_none_is_plaintext() -> Result<()> {
    let Some(bed) = bed(Options::default())? else {
        return Ok(());
    };
    wait_until(PATIENCE, "the pods wait", || {
        let page = admin::get(&bed.socket(), "/readyz");
        page.is_ok_and(|(_, body)| body.contains("no ztunnel is connected"))
    })?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let acked = bed.metric(
        "waysteer_ztunnel_messages",
        &[("kind", "add"), ("result", "ack")],
    )?;
    ensure!(acked == 3, "{acked}");
    ensure!(bed.metric("waysteer_ztunnel_pods", &[("readiness", "ready")])? == 3);
    ensure_whole(&bed)
}

/// Envoy as the waypoint of a service and as that of a workload, HTTP through it.
#[test]
fn through_envoy() -> Result<()> {
    if skip::without("Envoy", envoy::find().is_some())? {
        return Ok(());
    }
    let Some(bed) = bed(Options {
        waypoints: Waypoints::Envoy,
        ..Options::default()
    })?
    else {
        return Ok(());
    };
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let serve = |pod: &str, port| Server::start(&bed.pod(pod).netns, pod, port, Service::Http);
    let _servers = [serve("far", 80)?, serve("behind", 8080)?];
    let client = &bed.pod("client");
    let capture = Capture::start(&bed.topology.node.netns, &[&client.veth, Node::UPLINK])?;
    let (key, value) = VIA;
    for v6 in [false, true] {
        let behind = SocketAddr::new(bed.address("behind", v6), 8080);
        for (to, server) in [(Bed::service(SHOP, v6), "far"), (behind, "behind")] {
            let connection = Dial::new().connect(&client.netns, to)?;
            for _ in 0..20 {
                let response = http::get(&connection.stream, server, "/secret")?;
                let seen = response.seen()?;
                ensure!(seen.server == server, "{seen:?}");
                ensure!(response.headers.get(key).is_some_and(|via| via == value));
            }
        }
    }
    ensure!(capture.seen(b"/secret").is_empty());
    ensure!(capture.broken_hbone().is_empty() && !capture.hbone().is_empty());
    Ok(())
}

#[test]
fn two_nodes_with_a_ztunnel_each() -> Result<()> {
    let Some(mut bed) = bed(Options {
        start_remote_agent: false,
        ..Options::default()
    })?
    else {
        return Ok(());
    };
    let path = bed.scratch.path().to_owned();
    let socket = path.join("remote-zds.sock");
    let config = std::fs::read_to_string(path.join("remote.toml"))?;
    let (head, _) = config
        .split_once("[tunnel]")
        .expect("the bed writes this section");
    let config = format!("{head}[tunnel]\nkind = \"ztunnel\"\nsocket = {socket:?}\n");
    bed.scratch.write("remote.toml", config)?;
    let _remote = Ztunnel::with(
        &Settings {
            name: "remote-ztunnel",
            node: "node2",
            socket: &socket,
            mesh: &path.join("mesh.yaml"),
            ca: &path.join("ca"),
        },
        &bed.scratch,
    )?;
    bed.start_remote_agent()?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    ensure_whole(&bed)
}
