//! Each class, v4 and v6: what the client and the server see, and what crosses the wire.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;

/// One flow of the client, and all that must be seen of it.
struct Expected {
    to: SocketAddr,
    class: &'static str,
    reason: &'static str,
    /// The pod whose address the server sees; `None` for the client's own.
    seen_as: Option<&'static str>,
    server: &'static str,
    /// Whether the request's path is to be seen on the wires as it is.
    plaintext: bool,
}

#[test]
fn every_class_reaches_its_server_the_right_way() -> Result<()> {
    check_every_class(&Bed::new(&Options::default())?)
}

/// Of a bed that is ready.
pub(crate) fn check_every_class(bed: &Bed) -> Result<()> {
    let mut servers = Vec::new();
    for (pod, ports) in [
        ("client", vec![8080]),
        ("server", vec![8080]),
        ("plain", vec![8080]),
        ("far", vec![80, 8080]),
        ("behind", vec![8080]),
        ("far-plain", vec![8080]),
    ] {
        for port in ports {
            servers.push(Server::start(
                &bed.pod(pod).netns,
                pod,
                port,
                Service::Http,
            )?);
        }
    }
    let external = &bed.topology.external;
    servers.push(Server::start(
        &external.netns,
        "external",
        8080,
        Service::Http,
    )?);
    let veth = bed.pod("client").veth.clone();
    let capture = Capture::start(&bed.topology.node.netns, &[&veth, Node::UPLINK])?;

    for v6 in [false, true] {
        let pod = |name: &str| SocketAddr::new(bed.address(name, v6), 8080);
        let external = SocketAddr::new(external.addresses.both()[usize::from(v6)], 8080);
        let expected = |to, class, reason, seen_as, server, plaintext| Expected {
            to,
            class,
            reason,
            seen_as,
            server,
            plaintext,
        };
        for flow in [
            expected(pod("far"), "Direct", "WorkloadHbone", None, "far", false),
            expected(
                Bed::service(bed::WEB, v6),
                "Direct",
                "ServiceHbone",
                None,
                "far",
                false,
            ),
            expected(
                Bed::service(bed::WEB_LOCAL, v6),
                "DirectLocal",
                "ServiceLocalBypass",
                None,
                "server",
                true,
            ),
            expected(
                Bed::service(bed::OWN, v6),
                "DirectLocal",
                "ServiceLocal",
                None,
                "client",
                false,
            ),
            expected(
                Bed::service(bed::SHOP, v6),
                "ToServerWaypoint",
                "ServiceWaypoint",
                Some("waypoint"),
                "far",
                false,
            ),
            expected(
                pod("behind"),
                "ToServerWaypoint",
                "WorkloadWaypoint",
                Some("gate"),
                "behind",
                false,
            ),
            expected(
                pod("server"),
                "DirectLocal",
                "LocalBypass",
                None,
                "server",
                true,
            ),
            expected(pod("plain"), "Direct", "WorkloadPlain", None, "plain", true),
            expected(
                pod("far-plain"),
                "Direct",
                "WorkloadPlain",
                None,
                "far-plain",
                true,
            ),
            expected(external, "Passthrough", "Unknown", None, "external", true),
        ] {
            check(bed, &capture, v6, &flow, &Dial::new())?;
            if !v6 {
                check(bed, &capture, v6, &flow, &Dial::new().mapped())?;
            }
        }
    }
    ensure!(
        capture.broken_hbone().is_empty(),
        "{:?}",
        capture.broken_hbone()
    );
    Ok(())
}

fn check(bed: &Bed, capture: &Capture, v6: bool, flow: &Expected, dial: &Dial) -> Result<()> {
    let Expected {
        to,
        class,
        reason,
        seen_as,
        server,
        plaintext,
    } = flow;
    let mark = bed.mark()?;
    capture.clear();
    let connection = dial
        .connect(&bed.pod("client").netns, *to)
        .with_context(|| format!("connecting: {class} to {to}"))?;
    let what = format!("{class} to {to} ({server})");
    ensure!(
        connection.peer.port() == to.port(),
        "{what}: getpeername says {}",
        connection.peer
    );
    ensure!(
        connection.peer.ip().to_canonical() == to.ip(),
        "{what}: {}",
        connection.peer
    );
    let path = format!("/secret-of-{}-{}", server, to.port());
    let seen = http::get(&connection.stream, "web", &path)
        .with_context(|| format!("asking: {class} to {to}"))?
        .seen()?;
    ensure!(seen.server == *server, "{what}: {} answered", seen.server);
    let client = bed.address(seen_as.unwrap_or("client"), v6);
    // The waypoints map everything to v4.
    let client = if seen_as.is_some() {
        bed.address(seen_as.unwrap_or("client"), false)
    } else {
        client
    };
    ensure!(
        seen.client.ip().to_canonical() == client,
        "{what}: the server saw {}",
        seen.client
    );
    let verdict = bed.flow_to(*to, mark)?;
    ensure!(
        verdict.class == *class && verdict.reason == *reason,
        "{what}: {verdict:?}"
    );
    ensure!(verdict.steered != *plaintext, "{what}: {verdict:?}");
    let on_wire = capture.seen(path.as_bytes());
    ensure!(
        on_wire.is_empty() != *plaintext,
        "{what}: in plaintext on {on_wire:?}"
    );
    Ok(())
}
