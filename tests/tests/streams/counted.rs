//! Bytes are counted as they were sent.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::bulk;
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use super::paths;

const BYTES: u64 = 1_234_567;

/// How the client takes its leave.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leave {
    /// Before the server, whose end it waits for.
    First,
    /// Before the server, and is gone when the server ends.
    AtOnce,
    /// With a reset.
    Reset,
}

fn sinks(bed: &Bed) -> Result<Vec<Server>> {
    let listening = paths(bed, false).map(|path| path.server);
    let start =
        |(pod, port): (&str, u16)| Server::start(&bed.pod(pod).netns, pod, port, Service::Echo);
    let mut servers = Vec::new();
    for (index, server) in listening.into_iter().enumerate() {
        // Two ways lead to one.
        if !listening[..index].contains(&server) {
            servers.push(start(server)?);
        }
    }
    Ok(servers)
}

/// Sends, gets as much back, and leaves.
fn exchange(connection: Connection, leave: Leave) -> Result<()> {
    exchange_bytes(connection, leave, BYTES)
}

pub(super) fn exchange_bytes(connection: Connection, leave: Leave, bytes: u64) -> Result<()> {
    let stream = &connection.stream;
    let mut answer = vec![0; usize::try_from(bytes)?];
    std::thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| bulk::send(stream, bytes));
        (&*stream).read_exact(&mut answer)?;
        sender.join().expect("no panic")?;
        Ok(())
    })?;
    match leave {
        Leave::First => {
            stream.shutdown(Shutdown::Write)?;
            let rest = (&*stream).read(&mut [0])?;
            ensure!(rest == 0);
        }
        Leave::AtOnce => {}
        Leave::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO))?,
    }
    Ok(())
}

#[test]
fn bytes_are_counted_exactly_on_every_path() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let _servers = sinks(&bed)?;
    let metric = |name: &str| bed.metric(name, &[]);
    for path in [false, true].into_iter().flat_map(|v6| paths(&bed, v6)) {
        for leave in [Leave::First, Leave::AtOnce, Leave::Reset] {
            let closed = metric("waysteer_connections_closed")?;
            let sent = metric("waysteer_sent_bytes")?;
            let received = metric("waysteer_received_bytes")?;
            let connection = Dial::new().connect(&bed.pod("client").netns, path.to)?;
            let what = || format!("{}, leaves {leave:?}", path.name);
            exchange(connection, leave).with_context(what)?;
            wait_until(Duration::from_secs(5), "the connection is counted", || {
                metric("waysteer_connections_closed").is_ok_and(|now| now == closed + 1)
            })?;
            let sent = metric("waysteer_sent_bytes")? - sent;
            let received = metric("waysteer_received_bytes")? - received;
            ensure!(
                (sent, received) == (BYTES, BYTES),
                "{}: {sent} sent, {received} received",
                what()
            );
        }
    }
    Ok(())
}

/// The server ends first: the client's end is the last that is said.
#[test]
fn bytes_are_counted_exactly_when_the_server_ends_first() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let source = Service::Source(BYTES);
    let _server = Server::start(&bed.pod("far").netns, "far", 80, source)?;
    for v6 in [false, true] {
        let before = bed.metric("waysteer_received_bytes", &[])?;
        let to = SocketAddr::new(bed.address("far", v6), 80);
        let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
        let mut bytes = Vec::new();
        (&connection.stream).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == BYTES);
        drop(connection);
        let mut received = 0;
        let counted = wait_until(Duration::from_secs(5), "all is counted", || {
            let now = bed.metric("waysteer_received_bytes", &[]).unwrap_or(before);
            received = now - before;
            received > 0
        });
        counted?;
        ensure!(received == BYTES, "{received} received");
        ensure!(bed.metric("waysteer_sent_bytes", &[])? == 0);
    }
    Ok(())
}
