//! The bed with servers everywhere and a capture, and what is asked of every flow in it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::bulk::{self, Checksum};
use waysteer_tests::capture::Capture;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;

pub(super) const PORT: u16 = 8080;
/// Of the servers that take many bytes.
pub(super) const SINK: u16 = 9090;
/// Asked for where it must be hidden.
pub(super) const SECRET: &str = "/secret-of-a-hard-sender";
/// Asked for where anybody may see it.
const PUBLIC: &str = "/public";

pub(super) struct Watched {
    // Before the bed, whose namespaces they are in.
    pub(super) capture: Capture,
    _servers: Vec<Server>,
    pub(super) bed: Bed,
}

impl Watched {
    pub(super) fn new() -> Result<Self> {
        let bed = Bed::new(&Options::default())?;
        let mut servers = Vec::new();
        for name in ["client", "server", "far", "plain", "far-plain"] {
            let netns = &bed.pod(name).netns;
            servers.push(Server::start(netns, name, PORT, Service::Http)?);
            servers.push(Server::start(netns, name, SINK, Service::Sink)?);
        }
        let external = &bed.topology.external.netns;
        servers.push(Server::start(external, "external", PORT, Service::Http)?);
        let veth = &bed.pod("client").veth;
        let capture = Capture::start(&bed.topology.node.netns, &[veth, Node::UPLINK])?;
        Ok(Self {
            capture,
            _servers: servers,
            bed,
        })
    }

    pub(super) fn pod(&self, name: &str, v6: bool) -> SocketAddr {
        SocketAddr::new(self.bed.address(name, v6), PORT)
    }

    pub(super) fn external(&self, v6: bool) -> SocketAddr {
        let addresses = self.bed.topology.external.addresses.both();
        SocketAddr::new(addresses[usize::from(v6)], PORT)
    }

    pub(super) fn action(&self, action: &str) -> Result<u64> {
        let labels = [("action", action)];
        self.bed.metric("waysteer_packet_actions", &labels)
    }

    /// Asks over a connection: who answered, and as whom the client was seen.
    pub(super) fn ask(&self, stream: &TcpStream) -> Result<http::Seen> {
        Ok(http::get(stream, "any", PUBLIC)?.seen()?)
    }

    /// The same where nobody may see it.
    pub(super) fn ask_secretly(&self, stream: &TcpStream) -> Result<http::Seen> {
        Ok(http::get(stream, "any", SECRET)?.seen()?)
    }

    /// Asks over a connection that needs the tunnel: `far` answers, has seen the client's address,
    /// and nothing stood in the clear or went to `to` itself.
    pub(super) fn ask_far(&self, stream: &TcpStream, to: SocketAddr) -> Result<()> {
        let seen = self
            .ask_secretly(stream)
            .with_context(|| format!("to {to}"))?;
        ensure!(seen.server == "far", "{to}: {seen:?}");
        let client = self.bed.address("client", to.is_ipv6());
        ensure!(seen.client.ip().to_canonical() == client, "{to}: {seen:?}");
        let peer = stream.peer_addr()?;
        ensure!(peer.ip().to_canonical() == to.ip(), "{to}: {peer}");
        self.nothing_leaked(to)
    }

    /// Nothing of what went to `to` is on a wire.
    pub(super) fn nothing_leaked(&self, to: SocketAddr) -> Result<()> {
        let on_wire = self.capture.sum_to(to);
        ensure!(on_wire.packets == 0, "{to}: {on_wire:?}");
        let seen = self.capture.seen(SECRET.as_bytes());
        ensure!(seen.is_empty(), "{to}: in plaintext on {seen:?}");
        let broken = self.capture.broken_hbone();
        ensure!(broken.is_empty(), "{to}: {broken:?}");
        Ok(())
    }

    /// The verdict on a flow to `to` since `mark` steers or does not.
    pub(super) fn is_steered(&self, to: SocketAddr, mark: u64, steered: bool) -> Result<()> {
        let verdict = self.bed.flow_to(to, mark)?;
        ensure!(verdict.steered == steered, "{to}: {verdict:?}");
        Ok(())
    }
}

/// Sends so many bytes to a sink, with something done in the middle, and compares what arrived.
pub(super) fn transfer(
    stream: &TcpStream,
    bytes: u64,
    mut in_the_middle: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut block = Vec::new();
    bulk::send(&mut block, bytes)?;
    let sent = bulk::receive(block.as_slice())?;
    let (first, second) = block.split_at(block.len() / 2);
    (&*stream).write_all(first)?;
    in_the_middle()?;
    (&*stream).write_all(second)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; Checksum::SIZE];
    (&*stream).read_exact(&mut answer).context("the checksum")?;
    let received = Checksum::from_bytes(answer);
    ensure!(received == sent, "{received:?} of {sent:?}");
    Ok(())
}
