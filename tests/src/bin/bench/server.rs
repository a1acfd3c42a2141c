//! Who is dialled: as little of a server as can answer, so that what is measured is the way to it.
//!
//! The first byte that a client sends says what it wants of the connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{Shutdown as How, shutdown};
use socket2::{Domain, Protocol, Socket, Type};
use waysteer_common::abi::names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, TUNNEL_MARK};

use crate::worker::Place;

/// Of requests and their answers.
pub(crate) const MESSAGE: usize = 64;
/// Wants each message back; served by the thread that accepts, one connection after the other.
pub(crate) const ECHO: u8 = b'e';
/// Sends until its end, and then wants the number of bytes.
pub(crate) const SINK: u8 = b's';
/// Wants nothing but to stay.
pub(crate) const IDLE: u8 = b'i';

const BACKLOG: i32 = 8192;
const STACK: usize = 128 * 1024;
const BLOCK: usize = 256 * 1024;

/// A listener with a thread; dropped, it stops.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Arc<TcpListener>,
    idle: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

/// A tunnel's listeners in a pod, of which the outbound one is served, without any tunnel behind.
#[derive(Debug)]
pub(crate) struct StandIn {
    _outbound: Server,
    _others: Vec<TcpListener>,
}

impl Server {
    /// Listens on a port of all addresses.
    pub(crate) fn start(place: &Place<'_>, port: u16) -> Result<Self> {
        let listener = place.netns.run(|| listen(port, false));
        Self::serve(
            place,
            listener.with_context(|| format!("listening on {port}"))?,
        )
    }

    fn serve(place: &Place<'_>, listener: TcpListener) -> Result<Self> {
        let listener = Arc::new(listener);
        let idle = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (accepting, kept) = (Arc::clone(&listener), Arc::clone(&idle));
        let thread = place.spawn("server", move || {
            // It ends when the listener is shut down.
            while let Ok((stream, _)) = accepting.accept() {
                // A client that goes away is no failure of the server's.
                let _ = begin(stream, &kept);
            }
        })?;
        Ok(Self {
            listener,
            idle,
            thread: Some(thread),
        })
    }

    /// How many are idle.
    pub(crate) fn idle(&self) -> usize {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Closes these.
    pub(crate) fn close_idle(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), How::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl StandIn {
    pub(crate) fn start(place: &Place<'_>) -> Result<Self> {
        let open = |port| place.netns.run(|| listen(port, true));
        let outbound = open(OUTBOUND_PORT).context("in the tunnel's place")?;
        Ok(Self {
            _outbound: Server::serve(place, outbound)?,
            _others: vec![open(INBOUND_PLAINTEXT_PORT)?, open(HBONE_PORT)?],
        })
    }
}

fn listen(port: u16, as_tunnel: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    if as_tunnel {
        socket.set_mark(TUNNEL_MARK)?;
        socket.set_ip_transparent_v4(true)?;
        socket.set_reuse_port(true)?;
    }
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn begin(mut stream: TcpStream, idle: &Mutex<Vec<TcpStream>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message)?;
    match message[0] {
        ECHO => {
            stream.write_all(&message)?;
            echo(stream, message)?;
        }
        SINK => {
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn(move || drop(sink(stream)))?;
        }
        IDLE => {
            stream.write_all(&message)?;
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(stream);
        }
        other => bail!("a connection of no kind: {other}"),
    }
    Ok(())
}

fn echo(mut stream: TcpStream, mut message: [u8; MESSAGE]) -> io::Result<()> {
    loop {
        match stream.read(&mut message)? {
            0 => return Ok(()),
            // A message is too small to come in parts over any way there is.
            size => stream.write_all(message.get(..size).unwrap_or_default())?,
        }
    }
}

fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut bytes = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => break,
            size => bytes += size as u64,
        }
    }
    stream.write_all(&bytes.to_be_bytes())?;
    stream.shutdown(Shutdown::Write)
}
