//! The ways in which connections are made besides a plain `connect()`.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use waysteer_common::abi::names::{MARK_MASK, STEER_MARK};
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::dial::{Dial, disconnect};

use super::watched::Watched;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn connections_that_do_not_wait_are_steered() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        for to in [watched.pod("far", v6), Bed::service(bed::WEB, v6)] {
            let mark = watched.bed.mark()?;
            let connection = Dial::new().nonblocking().connect(client, to)?;
            watched.ask_far(&connection.stream, to)?;
            watched.is_steered(to, mark, true)?;
        }
    }
    Ok(())
}

#[test]
fn fast_open_is_steered_with_its_first_bytes() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    client.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    for v6 in [false, true] {
        let to = watched.pod("far", v6);
        // The first learns the cookie, if the listener gives one.
        for round in 0..2 {
            let mark = watched.bed.mark()?;
            let first = b"GET /secret-of-a-hard-sender HTTP/1.1\r\n";
            let dial = Dial::new().fast_open(first);
            let connection = dial.connect(client, to)?;
            // The rest of the head, and then a request of its own.
            let rest = b"host: any\r\nx: y\r\n\r\n";
            std::io::Write::write_all(&mut &connection.stream, rest)?;
            watched
                .ask_far(&connection.stream, to)
                .with_context(|| format!("round {round} to {to}"))?;
            watched.is_steered(to, mark, true)?;
        }
    }
    Ok(())
}

#[test]
fn a_socket_that_is_connected_again_is_judged_again() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let (far, external) = (watched.pod("far", v6), watched.external(v6));
        let socket = client.run(|| Socket::new(Domain::for_address(far), Type::STREAM, None))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = TcpStream::from(socket);
        for to in [far, external, far, external] {
            let mark = watched.bed.mark()?;
            SockRef::from(&stream)
                .connect(&to.into())
                .with_context(|| format!("to {to}"))?;
            let steered = to == far;
            if steered {
                watched.ask_far(&stream, to)?;
            } else {
                let seen = watched.ask(&stream).with_context(|| format!("to {to}"))?;
                ensure!(seen.server == "external", "{seen:?}");
            }
            watched.is_steered(to, mark, steered)?;
            let own = SockRef::from(&stream).mark()? & MARK_MASK;
            ensure!(
                own == if steered { STEER_MARK } else { 0 },
                "{to}: {own:#x}"
            );
            disconnect(&stream)?;
        }
    }
    Ok(())
}

#[test]
fn datagrams_are_left_alone() -> Result<()> {
    let watched = Watched::new()?;
    let netns = |name: &str| &watched.bed.pod(name).netns;
    for v6 in [false, true] {
        for (name, destination) in [
            ("far", watched.bed.address("far", v6)),
            ("server", watched.bed.address("server", v6)),
        ] {
            let server = netns(name).run(|| std::net::UdpSocket::bind((destination, 5353)))?;
            server.set_read_timeout(Some(PATIENCE))?;
            let client = netns("client").run(|| {
                let socket = std::net::UdpSocket::bind((watched.bed.address("client", v6), 0))?;
                socket.connect((destination, 5353)).map(|()| socket)
            })?;
            client.set_read_timeout(Some(PATIENCE))?;
            let mark = SockRef::from(&client).mark()?;
            ensure!(mark == 0, "{mark:#x}");
            client.send(b"ping")?;
            let mut buffer = [0; 16];
            let (_, from) = server.recv_from(&mut buffer)?;
            ensure!(from == client.local_addr()?, "{from}");
            server.send_to(b"pong", from)?;
            ensure!(client.recv(&mut buffer)? == 4);
        }
    }
    Ok(())
}

#[test]
fn multipath_tcp_is_steered() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    client.set_sysctl("net/mptcp/enabled", "1")?;
    for v6 in [false, true] {
        for to in [watched.pod("far", v6), Bed::service(bed::WEB, v6)] {
            let mark = watched.bed.mark()?;
            let stream = multipath(client, to).with_context(|| format!("to {to}"))?;
            watched.ask_far(&stream, to)?;
            watched.is_steered(to, mark, true)?;
        }
        let to = watched.external(v6);
        let stream = multipath(client, to)?;
        ensure!(watched.ask(&stream)?.server == "external");
    }
    Ok(())
}

fn multipath(netns: &waysteer_tests::netns::NetNs, to: SocketAddr) -> Result<TcpStream> {
    let socket =
        netns.run(|| Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::MPTCP)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}
