//! Captures see what passes, and only that.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::connect_from;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::{Node, Topology};

const SOON: Duration = Duration::from_secs(2);
const NEEDLE: &[u8] = b"a secret in the clear";

#[test]
fn plaintext_is_seen_where_it_passes() -> Result<()> {
    let topology = Topology::new(&["client", "local"], &["far"])?;
    let (client, far) = (topology.pod("client"), topology.pod("far"));
    let _server = Server::start(&far.netns, "banner", 7, Service::Banner(b"hello".into()))?;
    let interfaces = [&client.veth, Node::UPLINK, &topology.pod("local").veth];
    let capture = Capture::start(&topology.node.netns, &interfaces)?;
    for ip in far.addresses.both() {
        let address = SocketAddr::new(ip, 7);
        let mut connection = connect_from(&client.netns, address, SOON)?;
        let mut answer = vec![0; 5 + NEEDLE.len()];
        connection.stream.write_all(NEEDLE)?;
        connection.stream.read_exact(&mut answer)?;

        let seen = capture.seen(NEEDLE);
        let at = |interface: &str| seen.iter().filter(|id| id.interface == interface).count();
        assert_eq!(
            (at(&client.veth), at(Node::UPLINK)),
            (2, 2),
            "there and back: {seen:?}"
        );
        assert_eq!(seen.len(), 4, "and nowhere else");
        let to = capture.sum_to(address);
        assert_eq!(to.syns, 2, "one on each interface");
        assert_eq!(to.bytes, 2 * NEEDLE.len() as u64);
        let from = capture.sum(|id| id.source == address && id.interface == Node::UPLINK);
        assert_eq!(from.bytes, answer.len() as u64);
        assert_eq!(from.syns, 0);
        assert!(capture.hbone().is_empty());
        assert_eq!(capture.lost(), 0);
        capture.clear();
        assert!(capture.seen(NEEDLE).is_empty());
    }
    Ok(())
}

#[test]
fn plaintext_to_the_hbone_port_is_told_from_tls() -> Result<()> {
    let topology = Topology::new(&["client", "server"], &[])?;
    let (client, server) = (topology.pod("client"), topology.pod("server"));
    let _echo = Server::start(&server.netns, "echo", 15008, Service::Echo)?;
    let capture = Capture::start(&topology.node.netns, &[&client.veth])?;
    let address = SocketAddr::new(server.addresses.v4.into(), 15008);
    let hello = [0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    for first in [b"GET / HTTP", hello.as_slice()] {
        let mut connection = connect_from(&client.netns, address, SOON)?;
        connection.stream.write_all(first)?;
        connection.stream.read_exact(&mut [0])?;
    }
    assert_eq!(capture.broken_hbone().len(), 1);
    assert_eq!(capture.hbone().len(), 1);
    Ok(())
}
