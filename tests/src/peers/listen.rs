//! Accepting.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::{Accepted, Shared, service};

/// How long the listener may sleep before it looks whether it should stop.
const PATIENCE_MS: u16 = 20;

/// Thousands of connections at once are a test.
const BACKLOG: i32 = 4096;
const STACK: usize = 512 * 1024;

/// A listener in the calling thread's namespace.
pub(super) fn open(address: &SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until told to stop; each connection gets a thread, in the same namespace.
pub(super) fn serve(shared: &Arc<Shared>, listeners: &[TcpListener]) {
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut polled: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
            .collect();
        let _ = poll(&mut polled, PollTimeout::from(PATIENCE_MS));
        for listener in listeners {
            while let Ok((stream, peer)) = listener.accept() {
                number += 1;
                if let Err(error) = start(shared, number, stream, peer) {
                    eprintln!("server {}: {peer}: {error}", shared.name);
                }
            }
        }
    }
}

fn start(shared: &Arc<Shared>, number: u64, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let accepted = Accepted { peer, local };
    let stream = Arc::new(stream);
    {
        let mut state = shared.state();
        state.accepted.push(accepted);
        state.open.insert(number, Arc::clone(&stream));
    }
    let server = Arc::clone(shared);
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        // A client that goes away is no failure of the server's.
        let _ = service::serve(&server.service, &server.name, &stream, accepted);
        server.state().open.remove(&number);
    });
    if thread.is_err() {
        shared.state().open.remove(&number);
    }
    thread.map(drop)
}
