//! Envoy is a waypoint: HBONE in, HBONE out, and the client is known at the end.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use waysteer_hbone::certs::Files;
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::{Connection, connect_from};
use waysteer_tests::envoy::{self, Endpoint, Protocol, Target, VIA, Waypoint};
use waysteer_tests::forward::{Forward, Route};
use waysteer_tests::http;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::pki::{Pki, identity};
use waysteer_tests::process::{Process, Scratch, binary};
use waysteer_tests::skip;
use waysteer_tests::topology::{Node, Topology, service_addresses};

const SOON: Duration = Duration::from_secs(5);
const BANNER: &[u8] = b"220 server speaks first\r\n";

/// A client here, a waypoint here, a server on the other node behind an HBONE peer.
struct Bed {
    capture: Capture,
    client_certificates: Files,
    _servers: [Server; 2],
    peer: Process,
    waypoint: Process,
    topology: Topology,
    _scratch: Scratch,
}

impl Bed {
    /// The waypoint expects `expected` to answer for the server.
    fn new(expected: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let pki = Pki::new(&scratch)?;
        let topology = Topology::new(&["client", "waypoint"], &["server"])?;
        let server = topology.pod("server");
        let servers = [
            Server::start(&server.netns, "far-server", 8080, Service::Http)?,
            Server::start(
                &server.netns,
                "banner",
                2525,
                Service::Banner(BANNER.into()),
            )?,
        ];
        let mut command = server.netns.command(binary("hbone-peer")?);
        command
            .args(["--listen", "0.0.0.0:15008", "--listen", "[::]:15008"])
            .args(["--identity", identity("demo", "server").as_str(), "--ca"])
            .arg(pki.directory());
        let mut peer = Process::start("hbone-peer", command, &scratch)?;
        peer.wait_for_log(SOON, "listening")?;

        let mut targets = Vec::new();
        for (vip, ip) in service_addresses(1)
            .both()
            .into_iter()
            .zip(server.addresses.both())
        {
            for (port, to, protocol) in [(80, 8080, Protocol::Http), (25, 2525, Protocol::Tcp)] {
                targets.push(Target {
                    authority: SocketAddr::new(vip, port),
                    protocol,
                    endpoints: vec![Endpoint {
                        address: SocketAddr::new(ip, to),
                        identity: identity("demo", expected),
                    }],
                });
            }
        }
        let waypoint = Waypoint {
            certificates: pki.issue(&identity("demo", "waypoint"))?,
            targets,
        };
        let pod = topology.pod("waypoint");
        let waypoint = envoy::start(&pod.netns, "envoy", &waypoint, &scratch)?;
        let interfaces = [&topology.pod("client").veth, &pod.veth, Node::UPLINK];
        Ok(Self {
            capture: Capture::start(&topology.node.netns, &interfaces)?,
            client_certificates: pki.issue(&identity("demo", "client"))?,
            _servers: servers,
            peer,
            waypoint,
            topology,
            _scratch: scratch,
        })
    }

    fn client(&self) -> &NetNs {
        &self.topology.pod("client").netns
    }

    /// A way through the waypoint to an authority.
    fn forward(&self, authority: SocketAddr) -> Result<Forward> {
        let waypoint = self.topology.pod("waypoint").addresses.like(authority.ip());
        let route = Route {
            certificates: self.client_certificates.clone(),
            next_hop: SocketAddr::new(waypoint, 15008),
            expected: identity("demo", "waypoint"),
            authority,
        };
        Forward::start(self.client(), route)
    }

    fn connect(&self, forward: &Forward) -> Result<Connection> {
        Ok(connect_from(self.client(), forward.address(), SOON)?)
    }
}

#[test]
fn a_request_goes_through_it_and_nothing_is_in_the_clear() -> Result<()> {
    if skip::without("Envoy", envoy::find().is_some())? {
        return Ok(());
    }
    let bed = Bed::new("server")?;
    for vip in service_addresses(1).both() {
        let forward = bed.forward(SocketAddr::new(vip, 80))?;
        let connection = bed.connect(&forward)?;
        let response = http::get(&connection.stream, "service.demo", "/a-needle")?;
        assert_eq!(response.status, 200, "{response:?}");
        let (key, value) = VIA;
        assert_eq!(response.headers.get(key).map(String::as_str), Some(value));
        let seen = response.seen()?;
        assert_eq!(seen.server, "far-server");
        assert_eq!(seen.headers.get(key).map(String::as_str), Some(value));
        let client = bed.topology.pod("client").addresses.like(vip).to_string();
        assert_eq!(seen.headers.get("x-forwarded-for"), Some(&client));
        // Envoy went on over HBONE of the same family, and so the peer dialled.
        assert_eq!(seen.local.is_ipv4(), vip.is_ipv4());
    }
    assert_eq!(bed.capture.seen(b"a-needle"), []);
    assert_eq!(bed.capture.seen(b"far-server"), []);
    assert_eq!(bed.capture.broken_hbone(), []);
    // Two families; client to waypoint on two veths, waypoint to server on a veth and the uplink.
    assert_eq!(bed.capture.hbone().len(), 2 * 4);
    assert_eq!(bed.capture.lost(), 0);
    Ok(())
}

#[test]
fn a_server_may_speak_first_through_it() -> Result<()> {
    if skip::without("Envoy", envoy::find().is_some())? {
        return Ok(());
    }
    let bed = Bed::new("server")?;
    for vip in service_addresses(1).both() {
        let forward = bed.forward(SocketAddr::new(vip, 25))?;
        let mut connection = bed.connect(&forward)?;
        let mut banner = vec![0; BANNER.len()];
        connection.stream.read_exact(&mut banner)?;
        assert_eq!(banner, BANNER);
        connection.stream.write_all(b"EHLO")?;
        let mut echo = [0; 4];
        connection.stream.read_exact(&mut echo)?;
        assert_eq!(&echo, b"EHLO");
    }
    assert_eq!(bed.capture.seen(b"EHLO"), []);
    Ok(())
}

#[test]
fn it_refuses_what_it_does_not_serve() -> Result<()> {
    if skip::without("Envoy", envoy::find().is_some())? {
        return Ok(());
    }
    let mut bed = Bed::new("server")?;
    let forward = bed.forward(SocketAddr::new(service_addresses(2).v4.into(), 80))?;
    let connection = bed.connect(&forward)?;
    assert!(http::get(&connection.stream, "nobody", "/").is_err());
    bed.waypoint.wait_for_log(SOON, "CONNECT 10.96.0.2:80")?;
    assert!(
        bed.waypoint.log().contains("-> 404"),
        "{}",
        bed.waypoint.log()
    );
    Ok(())
}

#[test]
fn it_talks_to_nobody_but_the_endpoint() -> Result<()> {
    if skip::without("Envoy", envoy::find().is_some())? {
        return Ok(());
    }
    let bed = Bed::new("somebody-else")?;
    let forward = bed.forward(SocketAddr::new(service_addresses(1).v4.into(), 80))?;
    let connection = bed.connect(&forward)?;
    let response = http::get(&connection.stream, "service.demo", "/")?;
    assert_eq!(response.status, 503);
    let server = bed.topology.pod("server").addresses.v4.to_string();
    let asked = bed.peer.log().contains(&format!("{server}:8080"));
    assert!(!asked, "nothing was asked of the peer");
    Ok(())
}
