//! Neighbours on the node: past the tunnel only where that is allowed, and then all the way.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use super::PORT;

/// The captures are on the veths of both.
fn capture(bed: &Bed) -> Result<Capture> {
    let veths = ["client", "server"].map(|pod| bed.pod(pod).veth.as_str());
    Capture::start(&bed.topology.node.netns, &veths)
}

/// Asks `server`, and compares the verdict and whom the server saw.
fn ask(bed: &Bed, v6: bool, path: &str, reason: &str) -> Result<()> {
    let to = SocketAddr::new(bed.address("server", v6), PORT);
    let mark = bed.mark()?;
    let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
    let seen = http::get(&connection.stream, "server", path)?.seen()?;
    ensure!(
        seen.client.ip() == bed.address("client", v6),
        "{}",
        seen.client
    );
    let flow = bed.flow_to(to, mark)?;
    ensure!(
        flow.class == "DirectLocal" && flow.reason == reason,
        "{flow:?}"
    );
    Ok(())
}

#[test]
fn bypass_has_nothing_on_the_tunnel_s_port() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _server = Server::start(&bed.pod("server").netns, "server", PORT, Service::Http)?;
    let wire = capture(&bed)?;
    for v6 in [false, true] {
        ask(&bed, v6, "/in-the-clear", "LocalBypass")?;
    }
    ensure!(!wire.seen(b"/in-the-clear").is_empty());
    let tunnel = wire.sum(|id| id.source.port() == 15008 || id.destination.port() == 15008);
    ensure!(tunnel.packets == 0, "{tunnel:?}");
    Ok(())
}

#[test]
fn tunnel_mode_speaks_hbone() -> Result<()> {
    let bed = Bed::new(&Options {
        direct_local: "tunnel",
        ..Options::default()
    })?;
    let _server = Server::start(&bed.pod("server").netns, "server", PORT, Service::Http)?;
    let wire = capture(&bed)?;
    for v6 in [false, true] {
        ask(&bed, v6, "/hidden", "LocalTunnel")?;
    }
    ensure!(wire.seen(b"/hidden").is_empty());
    ensure!(wire.broken_hbone().is_empty());
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("server", v6), 15008);
        let hbone = wire.hbone();
        ensure!(hbone.iter().any(|id| id.destination == to), "{hbone:?}");
        ensure!(wire.sum_to(SocketAddr::new(to.ip(), PORT)).packets == 0);
    }
    Ok(())
}

/// The embedded tunnel evaluates no policy: who is subject to one is not let in, by any way.
#[test]
fn a_policy_forbids_the_bypass() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let server = Server::start(&bed.pod("server").netns, "server", PORT, Service::Http)?;
    ask(&bed, false, "/before", "LocalBypass")?;
    let name = "name: server,";
    let policy = "policies:\n- {name: allow, namespace: default, scope: WorkloadSelector, \
                  action: Allow, rules: [[[{namespaces: [{Exact: elsewhere}]}]]], dryRun: false}\n";
    let mesh = bed.mesh();
    ensure!(mesh.matches(name).count() == 1);
    let with = format!("{name} authorizationPolicies: [\"default/allow\"],");
    bed.write_mesh(&(mesh.replace(name, &with) + policy))?;
    let to = |v6| SocketAddr::new(bed.address("server", v6), PORT);
    let dial = Dial::new().timeout(Duration::from_secs(2));
    let client = &bed.pod("client").netns;
    wait_until(Duration::from_secs(10), "the policy is known", || {
        let Ok(mark) = bed.mark() else { return false };
        let _ = dial.connect(client, to(false));
        bed.flow_to(to(false), mark)
            .is_ok_and(|flow| flow.reason == "LocalPolicy")
    })?;
    let accepted = server.accepted().len();
    let wire = capture(&bed)?;
    for from in [client, &bed.topology.external.netns] {
        for v6 in [false, true] {
            let refused = dial
                .connect(from, to(v6))
                .context("connecting")
                .and_then(|found| Ok(http::get(&found.stream, "server", "/forbidden")?));
            ensure!(refused.is_err(), "{refused:?}");
        }
    }
    ensure!(
        server.accepted().len() == accepted,
        "the server was reached"
    );
    let plain = wire.seen(b"/forbidden");
    let from_client = |id: &&waysteer_tests::capture::FlowId| {
        bed.pod("client").addresses.both().contains(&id.source.ip())
    };
    ensure!(!plain.iter().any(|id| from_client(&id)), "{plain:?}");
    Ok(())
}
