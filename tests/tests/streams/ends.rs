//! How connections begin and end, on every path: who speaks first, who ends first, and resets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::netns::NetNs;
use waysteer_tests::wait::wait_for;

use super::{Path, paths};

const PATIENCE: Duration = Duration::from_secs(5);

/// Both ends of a connection on a path. The far end is accepted here, so that a test can do
/// anything with it.
fn both_ends(bed: &Bed, path: &Path) -> Result<(Connection, TcpStream)> {
    let (pod, port) = path.server;
    let listener = listen(&bed.pod(pod).netns, port)?;
    let connection = Dial::new().connect(&bed.pod("client").netns, path.to)?;
    let (stream, _) = wait_for(PATIENCE, "the connection arrives", || {
        listener.accept().ok()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok((connection, stream))
}

/// For both families: the waypoints map everything to v4.
fn listen(netns: &NetNs, port: u16) -> Result<TcpListener> {
    let any: SocketAddr = format!("[::]:{port}").parse()?;
    let listener = netns.run(|| TcpListener::bind(any))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn on_every_path(check: impl Fn(Connection, TcpStream) -> Result<()>) -> Result<()> {
    on_paths(|_| true, check)
}

fn on_paths(
    wanted: impl Fn(&Path) -> bool,
    check: impl Fn(Connection, TcpStream) -> Result<()>,
) -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    for v6 in [false, true] {
        for path in paths(&bed, v6).into_iter().filter(&wanted) {
            let what = || format!("{}, {}", path.name, path.to);
            let (client, server) = both_ends(&bed, &path).with_context(what)?;
            check(client, server).with_context(what)?;
        }
    }
    Ok(())
}

fn expect(mut from: &TcpStream, bytes: &[u8]) -> Result<()> {
    let mut found = vec![0; bytes.len()];
    from.read_exact(&mut found)
        .with_context(|| format!("reading {:?}", String::from_utf8_lossy(bytes)))?;
    ensure!(found == bytes, "{found:?}");
    Ok(())
}

fn expect_end(mut from: &TcpStream) -> Result<()> {
    let read = from.read(&mut [0]).context("waiting for the end")?;
    ensure!(read == 0, "more bytes");
    Ok(())
}

fn expect_reset(mut from: &TcpStream) -> Result<()> {
    match from.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => anyhow::bail!("{other:?} instead of a reset"),
    }
}

fn reset(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

#[test]
fn the_server_speaks_first() -> Result<()> {
    on_every_path(|client, mut server| {
        server.write_all(b"220 ready\r\n")?;
        expect(&client.stream, b"220 ready\r\n")?;
        (&client.stream).write_all(b"HELO\r\n")?;
        expect(&server, b"HELO\r\n")
    })
}

#[test]
fn the_client_ends_first_and_reads_on() -> Result<()> {
    on_every_path(|client, mut server| {
        (&client.stream).write_all(b"question")?;
        client.stream.shutdown(Shutdown::Write)?;
        expect(&server, b"question")?;
        expect_end(&server)?;
        server.write_all(b"answer")?;
        expect(&client.stream, b"answer")?;
        server.write_all(b"and more")?;
        drop(server);
        expect(&client.stream, b"and more")?;
        expect_end(&client.stream)
    })
}

#[test]
fn the_server_ends_first_and_reads_on() -> Result<()> {
    on_every_path(|client, mut server| {
        server.write_all(b"all I have")?;
        server.shutdown(Shutdown::Write)?;
        expect(&client.stream, b"all I have")?;
        expect_end(&client.stream)?;
        (&client.stream).write_all(b"thank you")?;
        expect(&server, b"thank you")?;
        (&client.stream).write_all(b"goodbye")?;
        drop(client);
        expect(&server, b"goodbye")?;
        expect_end(&server)
    })
}

#[test]
fn the_client_s_reset_reaches_the_server() -> Result<()> {
    on_every_path(|client, server| {
        (&client.stream).write_all(b"half a")?;
        expect(&server, b"half a")?;
        reset(client.stream)?;
        expect_reset(&server)
    })
}

#[test]
fn the_server_s_reset_reaches_the_client() -> Result<()> {
    on_paths(
        |path| !path.hides_resets(),
        |client, mut server| {
            server.write_all(b"half a")?;
            expect(&client.stream, b"half a")?;
            reset(server)?;
            expect_reset(&client.stream)
        },
    )
}
