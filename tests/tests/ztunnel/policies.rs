//! Policies: what the kernel takes for denied, ztunnel denies.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::ztunnel::Ztunnel;

use super::bed;

const OPEN: u16 = 8081;
const DENIED: u16 = 8082;

/// Whether `client` gets an answer of `server`, which is on the same node.
fn answers(bed: &Bed, port: u16, path: &str, v6: bool) -> Result<bool> {
    let to = SocketAddr::new(bed.address("server", v6), port);
    let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
    match http::get(&connection.stream, "server", path) {
        Ok(response) => Ok(response.seen()?.server == "server"),
        Err(_) => Ok(false),
    }
}

#[test]
fn what_a_policy_denies_is_denied_and_the_rest_goes_past_it() -> Result<()> {
    let Some(bed) = bed(Options {
        start_agent: false,
        ..Options::default()
    })?
    else {
        return Ok(());
    };
    let mut bed = bed;
    let mesh = bed.mesh()
        + &format!(
            "policies:\n- {{name: not-this-port, namespace: default, scope: Namespace, action: Deny, \
             rules: [[[{{destinationPorts: [{DENIED}]}}]]], dryRun: false}}\n"
        );
    bed.write_mesh(&mesh)?;
    bed.start_agent()?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let server = &bed.pod("server").netns;
    let _open = Server::start(server, "server", OPEN, Service::Http)?;
    let denied = Server::start(server, "server", DENIED, Service::Http)?;
    let veths = ["client", "server"].map(|pod| bed.pod(pod).veth.as_str());
    let capture = Capture::start(&bed.topology.node.netns, &veths)?;
    for v6 in [false, true] {
        ensure!(answers(&bed, OPEN, "/open", v6)?);
    }
    // What it allows goes from pod to pod.
    ensure!(!capture.seen(b"/open").is_empty() && capture.hbone().is_empty());
    for v6 in [false, true] {
        ensure!(!answers(&bed, DENIED, "/secret", v6)?);
    }
    ensure!(denied.accepted().is_empty(), "{:?}", denied.accepted());
    ensure!(capture.seen(b"/secret").is_empty());
    ensure!(!capture.hbone().is_empty());
    Ok(())
}
