//! Everyone reaches everyone, in every way.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use waysteer_tests::bulk::{self, Checksum};
use waysteer_tests::dial::{Dial, connect_from};
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::process::raise_file_limit;
use waysteer_tests::raw::{Answer, send_syn};
use waysteer_tests::topology::{Topology, service_addresses};
use waysteer_tests::wait::wait_until;

const SOON: Duration = Duration::from_secs(2);

#[test]
fn everyone_reaches_everyone() -> Result<()> {
    let start = Instant::now();
    let topology = Topology::new(&["client", "local"], &["far"])?;
    let built = start.elapsed();
    assert!(built < SOON, "a topology takes {built:?}");
    let places = [
        (
            &topology.pod("client").netns,
            topology.pod("client").addresses,
        ),
        (
            &topology.pod("local").netns,
            topology.pod("local").addresses,
        ),
        (&topology.pod("far").netns, topology.pod("far").addresses),
        (&topology.external.netns, topology.external.addresses),
        (&topology.node.netns, topology.node.addresses),
        (&topology.remote.netns, topology.remote.addresses),
    ];
    for (server_netns, server_addresses) in places {
        let server = Server::start(server_netns, "server", 8080, Service::Http)?;
        for (client_netns, client_addresses) in places {
            for ip in server_addresses.both() {
                let address = SocketAddr::new(ip, 8080);
                let connection = connect_from(client_netns, address, SOON)?;
                assert!(
                    connection.took < Duration::from_millis(500),
                    "no SYN is sent twice: {connection:?}"
                );
                let seen = http::get(&connection.stream, "server", "/")?.seen()?;
                assert_eq!(connection.peer, address);
                assert_eq!(seen.client, connection.local);
                // A node's own source address depends on the link it leaves by.
                let is_node = [topology.node.netns.name(), topology.remote.netns.name()]
                    .contains(&client_netns.name());
                if !is_node {
                    assert_eq!(seen.client.ip(), client_addresses.like(ip));
                }
            }
        }
        assert_eq!(server.accepted().len(), places.len() * 2);
    }
    Ok(())
}

#[test]
fn nobody_answers_for_a_service() -> Result<()> {
    let topology = Topology::new(&["client"], &[])?;
    for ip in service_addresses(1).both() {
        let client = &topology.pod("client").netns;
        let failed = connect_from(client, SocketAddr::new(ip, 80), Duration::from_secs(1));
        assert!(failed.is_err(), "{ip}");
    }
    Ok(())
}

#[test]
fn clients_connect_as_they_are_told() -> Result<()> {
    let topology = Topology::new(&["client", "server"], &[])?;
    let (client, server) = (topology.pod("client"), topology.pod("server"));
    let echo = Server::start(&server.netns, "echo", 7, Service::Echo)?;
    for ip in server.addresses.both() {
        let address = SocketAddr::new(ip, 7);
        let source = SocketAddr::new(client.addresses.like(ip), 40_000);
        let ways = [
            Dial::new(),
            Dial::new().nonblocking(),
            Dial::new().source(source),
            Dial::new().mark(0xbeef_0000),
            Dial::new().device("eth0"),
            Dial::new().mapped(),
            Dial::new().mapped().source(source).nonblocking(),
        ];
        for way in ways {
            let mut connection = way.connect(&client.netns, address)?;
            connection.stream.write_all(b"hello")?;
            let mut answer = [0; 5];
            connection.stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"hello", "{way:?}");
            assert_eq!(connection.peer.ip().to_canonical(), ip);
            // Reset, so that the source port is free again at once.
            socket2::SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO))?;
        }
        let mut connection = Dial::new()
            .fast_open(b"first")
            .connect(&client.netns, address)?;
        let mut answer = [0; 5];
        connection.stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"first");
    }
    assert_eq!(echo.accepted().len(), 2 * 8);
    Ok(())
}

#[test]
fn a_connection_that_nobody_answers_times_out() -> Result<()> {
    let topology = Topology::new(&["client"], &[])?;
    let netns = &topology.pod("client").netns;
    // An address on the external host's wire that no one has.
    let nowhere: SocketAddr = "203.0.113.99:80".parse()?;
    let wait = Duration::from_millis(200);
    for way in [Dial::new(), Dial::new().nonblocking()] {
        let start = Instant::now();
        let error = way
            .timeout(wait)
            .connect(netns, nowhere)
            .expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
        assert!(start.elapsed() < wait * 3);
    }
    Ok(())
}

#[test]
fn raw_senders_get_their_answer() -> Result<()> {
    let topology = Topology::new(&["client", "server"], &[])?;
    let (client, server) = (topology.pod("client"), topology.pod("server"));
    let _server = Server::start(
        &server.netns,
        "banner",
        25,
        Service::Banner(b"220\r\n".into()),
    )?;
    for ip in server.addresses.both() {
        let from = SocketAddr::new(client.addresses.like(ip), 41_000);
        let ask = |port| send_syn(&client.netns, from, SocketAddr::new(ip, port), SOON);
        assert_eq!(ask(25)?, Answer::Accepted, "{ip}");
        assert_eq!(ask(26)?, Answer::Refused, "{ip}");
    }
    Ok(())
}

#[test]
fn bulk_arrives_whole_both_ways() -> Result<()> {
    const BYTES: u64 = 50_000_000;
    let topology = Topology::new(&["client", "server"], &[])?;
    let (client, server) = (topology.pod("client"), topology.pod("server"));
    let _sink = Server::start(&server.netns, "sink", 9, Service::Sink)?;
    let _source = Server::start(&server.netns, "source", 19, Service::Source(BYTES))?;
    let address = |port| SocketAddr::new(IpAddr::V4(server.addresses.v4), port);

    let mut up = connect_from(&client.netns, address(9), SOON)?;
    let sent = bulk::send(&up.stream, BYTES)?;
    up.stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; Checksum::SIZE];
    up.stream.read_exact(&mut answer)?;
    assert_eq!(Checksum::from_bytes(answer), sent);

    let down = connect_from(&client.netns, address(19), SOON)?;
    assert_eq!(bulk::receive(&down.stream)?, sent);
    Ok(())
}

#[test]
fn two_thousand_connections_are_open_at_once() -> Result<()> {
    const MANY: usize = 2_000;
    assert!(raise_file_limit()? > 3 * MANY as u64);
    let topology = Topology::new(&["client", "server"], &[])?;
    let (client, server) = (topology.pod("client"), topology.pod("server"));
    let echo = Server::start(&server.netns, "echo", 7, Service::Echo)?;
    let address = SocketAddr::new(server.addresses.v6.into(), 7);
    let connections: Vec<_> = client.netns.run(|| {
        let connect = |_| Dial::new().connect_here(address);
        (0..MANY).map(connect).collect::<Result<_, _>>()
    })?;
    for connection in &connections {
        (&connection.stream).write_all(b"x")?;
    }
    for connection in &connections {
        (&connection.stream).read_exact(&mut [0])?;
    }
    assert_eq!(echo.open(), MANY);
    drop(connections);
    wait_until(SOON, "the server closes too", || echo.open() == 0)
}
