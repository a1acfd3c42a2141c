//! Nothing listens on the tunnel's ports: what needs the tunnel waits for it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use waysteer_common::abi::names::{INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};
use waysteer_common::verdict::PacketAction;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;

use super::stand_in::{Captured, tunnel_listener};

/// The client's kernel sends its SYN again after 1, 3 and 7 seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const BANNER: &[u8] = b"from-the-tunnel";
const PORT: u16 = 8080;

fn bed() -> Result<Bed> {
    Bed::new(&Options {
        start_agent: false,
        ..Options::default()
    })
}

/// Connects and reads the banner; what is returned is the client's own address.
fn read_banner(from: &NetNs, to: SocketAddr) -> Result<JoinHandle<Result<SocketAddr>>> {
    from.spawn("client", move || {
        let connection = Dial::new().timeout(PATIENCE).connect_here(to)?;
        let mut banner = [0; BANNER.len()];
        (&connection.stream).read_exact(&mut banner)?;
        ensure!(banner == BANNER, "{banner:?} from {to}");
        Ok(connection.local)
    })
}

fn joined(client: JoinHandle<Result<SocketAddr>>) -> Result<SocketAddr> {
    client.join().map_err(|_| anyhow!("the client panicked"))?
}

/// Accepts and speaks first: the socket's two addresses, local first.
fn accept(listener: &TcpListener) -> Result<[SocketAddr; 2]> {
    let (mut stream, peer) = listener.accept()?;
    stream.write_all(BANNER)?;
    let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    Ok([canonical(stream.local_addr()?), canonical(peer)])
}

fn wait_for_more(captured: &Captured, action: PacketAction, than: u64) -> Result<()> {
    let what = format!("{} above {than}", action.label());
    wait_until(PATIENCE, &what, || {
        captured.count(action).is_ok_and(|count| count > than)
    })
}

#[test]
fn outbound_waits_for_the_tunnel() -> Result<()> {
    let bed = bed()?;
    let captured = Captured::new(&bed, &["client"])?;
    let client = bed.pod("client");
    let _far = Server::start(
        &bed.pod("far").netns,
        "far",
        PORT,
        Service::Banner(b"far".to_vec()),
    )?;
    // On the port that is dialled.
    let own = Server::start(&client.netns, "own", PORT, Service::Banner(b"own".to_vec()))?;
    let capture = Capture::start(&bed.topology.node.netns, &[&client.veth, Node::UPLINK])?;
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("far", v6), PORT);
        let held = captured.count(PacketAction::OutboundHeld)?;
        let dialling = read_banner(&client.netns, to)?;
        // The SYN and a retransmission: it was neither answered nor refused.
        wait_for_more(&captured, PacketAction::OutboundHeld, held + 1)?;
        // A process of the pod cannot mark its sockets, and poses as the tunnel in vain.
        let refused = captured.count(PacketAction::ImpostorListener)?;
        let impostor = Server::start(
            &client.netns,
            "impostor",
            OUTBOUND_PORT,
            Service::Banner(b"impostor".to_vec()),
        )?;
        wait_for_more(&captured, PacketAction::ImpostorListener, refused)?;
        ensure!(impostor.accepted().is_empty(), "{:?}", impostor.accepted());
        drop(impostor);
        ensure!(!dialling.is_finished(), "{:?}", joined(dialling));
        let listener = tunnel_listener(&client.netns, OUTBOUND_PORT)?;
        let ends = accept(&listener)?;
        let local = joined(dialling)?;
        ensure!(ends == [to, local], "the tunnel sees {ends:?}");
        ensure!(local.ip() == bed.address("client", v6), "{local}");
        ensure!(own.accepted().is_empty(), "{:?}", own.accepted());
        let on_wire = capture.sum_to(to);
        ensure!(on_wire.packets == 0, "{on_wire:?} to {to}");
    }
    Ok(())
}

#[test]
fn inbound_waits_for_the_tunnel() -> Result<()> {
    let bed = bed()?;
    let captured = Captured::new(&bed, &["client"])?;
    let client = &bed.pod("client").netns;
    let external = &bed.topology.external;
    let own = Server::start(client, "own", PORT, Service::Banner(b"own".to_vec()))?;
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("client", v6), PORT);
        let held = captured.count(PacketAction::InboundHeld)?;
        let dialling = read_banner(&external.netns, to)?;
        wait_for_more(&captured, PacketAction::InboundHeld, held + 1)?;
        let refused = captured.count(PacketAction::ImpostorListener)?;
        let impostor = Server::start(
            client,
            "impostor",
            INBOUND_PLAINTEXT_PORT,
            Service::Banner(b"impostor".to_vec()),
        )?;
        wait_for_more(&captured, PacketAction::ImpostorListener, refused)?;
        ensure!(impostor.accepted().is_empty(), "{:?}", impostor.accepted());
        drop(impostor);
        let listener = tunnel_listener(client, INBOUND_PLAINTEXT_PORT)?;
        let ends = accept(&listener)?;
        let local = joined(dialling)?;
        ensure!(ends == [to, local], "the tunnel sees {ends:?}");
        ensure!(
            local.ip() == external.addresses.both()[usize::from(v6)],
            "{local}"
        );
        ensure!(own.accepted().is_empty(), "{:?}", own.accepted());
    }
    Ok(())
}

#[test]
fn what_needs_no_tunnel_does_not_wait() -> Result<()> {
    let bed = bed()?;
    let _captured = Captured::new(&bed, &["client", "server"])?;
    let external = &bed.topology.external;
    let mut servers = Vec::new();
    for name in ["server", "plain", "far-plain", "client"] {
        let netns = &bed.pod(name).netns;
        servers.push(Server::start(netns, name, PORT, Service::Http)?);
    }
    servers.push(Server::start(
        &external.netns,
        "external",
        PORT,
        Service::Http,
    )?);
    for v6 in [false, true] {
        let mut destinations: Vec<_> = ["server", "plain", "far-plain", "client"]
            .map(|name| (name, bed.address(name, v6)))
            .into();
        destinations.push(("external", external.addresses.both()[usize::from(v6)]));
        for (name, address) in destinations {
            let connection = Dial::new()
                .connect(&bed.pod("client").netns, SocketAddr::new(address, PORT))
                .with_context(|| format!("to {name} at {address}"))?;
            let seen = http::get(&connection.stream, name, "/")?.seen()?;
            ensure!(seen.server == name, "{seen:?}");
            ensure!(seen.client.ip() == bed.address("client", v6), "{seen:?}");
        }
    }
    Ok(())
}
