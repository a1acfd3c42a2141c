//! A tunnel's listeners, as the agent must find them; nobody accepts.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

/// Outbound, inbound plaintext, HBONE.
const PORTS: [u16; 3] = [15001, 15006, 15008];
const MARK: u32 = 0x539;

/// The three of one pod; closed when dropped.
#[derive(Debug)]
pub struct Listeners {
    _listeners: Vec<TcpListener>,
}

impl Listeners {
    /// Opens them in a namespace, on a thread that ends in there.
    pub fn open(netns: &OwnedFd) -> io::Result<Self> {
        let opened = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
                PORTS.into_iter().map(listen).collect::<io::Result<_>>()
            });
            inside.join()
        });
        let _listeners = opened.map_err(|_| io::Error::other("the thread panicked"))??;
        Ok(Self { _listeners })
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_mark(MARK)?;
    socket.set_ip_transparent_v4(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
