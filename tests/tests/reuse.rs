//! Source ports that are used again at once: what is left of the connection before must not hold
//! up the next one, and the next one must not go astray.

use std::io::{ErrorKind, Read as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::bulk;
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::{wait_for, wait_until};

const ROUNDS: u32 = 200;
const BYTES: u64 = 3_000;
const PORT: u16 = 8080;

/// A server that closes first, which leaves TIME_WAIT in the tunnel's socket.
const SOURCE: Service = Service::Source(BYTES);

/// From one source port again and again, until the time is over.
struct Client<'a> {
    netns: &'a NetNs,
    from: SocketAddr,
    to: SocketAddr,
}

impl Client<'_> {
    fn connect(&self) -> Result<Connection> {
        let dial = Dial::new()
            .source(self.from)
            .timeout(Duration::from_secs(90));
        wait_for(
            Duration::from_secs(5),
            &format!("port {} is free again", self.from.port()),
            || match dial.connect(self.netns, self.to) {
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => None,
                connected => Some(connected),
            },
        )?
        .with_context(|| format!("from {} to {}", self.from, self.to))
    }

    /// One connection after the other; the longest time that one took to be made.
    fn repeat(
        &self,
        rounds: u32,
        exchange: impl Fn(&Connection) -> Result<()>,
    ) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        for round in 0..rounds {
            let start = Instant::now();
            let connection = self.connect().with_context(|| format!("round {round}"))?;
            longest = longest.max(start.elapsed());
            exchange(&connection).with_context(|| format!("round {round}"))?;
        }
        Ok(longest)
    }
}

/// Reads what a [`SOURCE`] sends, to its end.
fn read_all(connection: &Connection) -> Result<()> {
    let mut bytes = Vec::new();
    (&connection.stream).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == BYTES, "{} bytes", bytes.len());
    Ok(())
}

/// Ends first, and reads to the end what comes back.
fn end_first(connection: &Connection) -> Result<()> {
    connection.stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    (&connection.stream).read_to_end(&mut rest)?;
    ensure!(rest.is_empty(), "{} bytes", rest.len());
    Ok(())
}

/// Nobody waits for a retransmitted SYN.
fn at_once(longest: Duration) -> Result<()> {
    ensure!(longest < Duration::from_millis(800), "one took {longest:?}");
    Ok(())
}

fn reused(bed: &Bed) -> Result<u64> {
    bed.metric("waysteer_packet_actions", &[("action", "port_reused")])
}

#[test]
fn the_server_closes_first() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _server = Server::start(&bed.pod("far").netns, "far", PORT, SOURCE)?;
    // Of the same port number: what goes astray comes here.
    let astray = Server::start(&bed.pod("client").netns, "astray", 80, Service::Echo)?;
    for v6 in [false, true] {
        let before = reused(&bed)?;
        let client = Client {
            netns: &bed.pod("client").netns,
            from: SocketAddr::new(bed.address("client", v6), 40_001),
            to: Bed::service(bed::WEB, v6),
        };
        at_once(client.repeat(ROUNDS, read_all)?)?;
        // The first one only is not a second one.
        let met = reused(&bed)? - before;
        ensure!(met == u64::from(ROUNDS) - 1, "{met} met TIME_WAIT");
    }
    ensure!(astray.accepted().is_empty(), "{:?}", astray.accepted());
    Ok(())
}

#[test]
fn the_client_closes_first() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _server = Server::start(&bed.pod("far").netns, "far", PORT, Service::Echo)?;
    let netns = &bed.pod("client").netns;
    forget_quickly(netns)?;
    for v6 in [false, true] {
        let client = Client {
            netns,
            from: SocketAddr::new(bed.address("client", v6), 40_001),
            to: Bed::service(bed::WEB, v6),
        };
        at_once(client.repeat(ROUNDS, end_first)?)?;
    }
    Ok(())
}

#[test]
fn from_outside() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let server = Server::start(&bed.pod("server").netns, "server", PORT, SOURCE)?;
    let echo = Server::start(&bed.pod("other").netns, "other", PORT, Service::Echo)?;
    let external = &bed.topology.external;
    forget_quickly(&external.netns)?;
    for v6 in [false, true] {
        let from = SocketAddr::new(external.addresses.both()[usize::from(v6)], 40_001);
        let client = |pod: &str| Client {
            netns: &external.netns,
            from,
            to: SocketAddr::new(bed.address(pod, v6), PORT),
        };
        at_once(client("server").repeat(ROUNDS, read_all)?)?;
        at_once(client("other").repeat(ROUNDS, end_first)?)?;
    }
    for (server, accepted) in [("server", server.accepted()), ("other", echo.accepted())] {
        ensure!(accepted.len() == 2 * ROUNDS as usize, "{server}");
    }
    let direct = bed.metric("waysteer_tunnel_inbound_plain", &[])?;
    ensure!(direct == 4 * u64::from(ROUNDS), "{direct} by the tunnel");
    Ok(())
}

/// The tunnel stands in for the client with the client's address and a port of its own. Were it the
/// client's port, the tunnel's SYN would meet the client's connection.
#[test]
fn the_tunnel_does_not_take_the_client_s_port() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let pod = bed.pod("server");
    let _server = Server::start(&pod.netns, "server", PORT, SOURCE)?;
    // All that the kernel would choose from.
    pod.netns
        .set_sysctl("net/ipv4/ip_local_port_range", "40001 40001")?;
    let external = &bed.topology.external;
    for v6 in [false, true] {
        let client = Client {
            netns: &external.netns,
            from: SocketAddr::new(external.addresses.both()[usize::from(v6)], 40_001),
            to: SocketAddr::new(bed.address("server", v6), PORT),
        };
        at_once(client.repeat(ROUNDS, read_all)?)?;
    }
    Ok(())
}

/// From outside an old sequence number does not end TIME_WAIT; the client's own stack does, and
/// its second SYN, which follows at once, finds the way free.
#[test]
fn an_old_sequence_number_from_outside_takes_two_syns() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let server = Server::start(&bed.pod("server").netns, "server", PORT, SOURCE)?;
    let external = &bed.topology.external;
    for v6 in [false, true] {
        let client = Client {
            netns: &external.netns,
            from: SocketAddr::new(external.addresses.both()[usize::from(v6)], 40_002),
            to: SocketAddr::new(bed.address("server", v6), PORT),
        };
        // Far more than the 16 MB a second by which the kernel's initial sequence numbers grow.
        client.repeat(1, |connection| {
            read_all(connection)?;
            bulk::send(&connection.stream, 256 << 20)?;
            connection.stream.shutdown(Shutdown::Write)?;
            let open = || server.open() == 0;
            wait_until(Duration::from_secs(5), "all is read", open)
        })?;
        let wire = Capture::start(&bed.topology.node.netns, &[&bed.pod("server").veth])?;
        at_once(client.repeat(1, read_all)?)?;
        let syns = wire.sum_to(client.to).syns;
        ensure!(syns == 2, "{syns} SYNs");
    }
    Ok(())
}

/// Where nobody may end TIME_WAIT, a connection is held, and still goes to nobody else.
#[test]
fn what_cannot_be_ended_is_held() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _server = Server::start(&bed.pod("far").netns, "far", PORT, SOURCE)?;
    let netns = &bed.pod("client").netns;
    let astray = Server::start(netns, "astray", 80, Service::Echo)?;
    netns.set_sysctl("net/ipv4/tcp_rfc1337", "1")?;
    for v6 in [false, true] {
        let client = Client {
            netns,
            from: SocketAddr::new(bed.address("client", v6), 40_001),
            to: Bed::service(bed::WEB, v6),
        };
        client.repeat(1, read_all)?;
        let counted = || bed.metric("waysteer_packet_actions", &[("action", "time_wait_held")]);
        let before = counted()?;
        let dial = Dial::new()
            .source(client.from)
            .timeout(Duration::from_secs(4));
        let held = dial.connect(netns, client.to);
        ensure!(
            matches!(&held, Err(error) if error.kind() == ErrorKind::TimedOut),
            "{held:?}"
        );
        // Sent again, and held again.
        let counted = counted()? - before;
        ensure!(counted >= 2, "{counted}");
    }
    ensure!(astray.accepted().is_empty(), "{:?}", astray.accepted());
    Ok(())
}

/// A client that closes first is in TIME_WAIT itself, with or without a tunnel; its kernel lets it
/// go on at once only when told so.
fn forget_quickly(netns: &NetNs) -> Result<()> {
    netns.set_sysctl("net/ipv4/tcp_tw_reuse", "1")?;
    netns.set_sysctl("net/ipv4/tcp_tw_reuse_delay", "1")
}
