//! `SOCK_SEQPACKET` on a unix socket: packets stay apart, and a file descriptor may go with one.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, MsgFlags, getsockopt, recv, sendmsg, sockopt::PeerCredentials,
};
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::Closed;
use super::message::PACKET_MAX;

#[derive(Debug)]
pub(super) struct Listener {
    socket: AsyncFd<Socket>,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: AsyncFd<Socket>,
}

impl Listener {
    /// Of a socket that listens.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        let socket = register(socket)?;
        Ok(Self { socket })
    }

    pub(super) async fn accept(&self) -> Connection {
        loop {
            let accepted = self
                .socket
                .async_io(Interest::READABLE, |socket| socket.accept())
                .await;
            let made = accepted.and_then(|(socket, _)| Connection::new(socket));
            match made {
                Ok(connection) => return connection,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of ztunnel");
                    // Out of file descriptors, most likely: trying again at once would only spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Connection {
    fn new(socket: Socket) -> io::Result<Self> {
        let socket = register(socket)?;
        Ok(Self { socket })
    }

    /// The other side's process, as the kernel saw it connect.
    pub(super) fn pid(&self) -> Option<i32> {
        let credentials = getsockopt(self.socket.get_ref(), PeerCredentials).ok()?;
        Some(credentials.pid()).filter(|pid| *pid != 0)
    }

    pub(super) async fn send(&self, packet: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = ControlMessage::ScmRights(&fds);
        let control = if fds.is_empty() {
            &[][..]
        } else {
            std::slice::from_ref(&rights)
        };
        let send = |socket: &Socket| {
            sendmsg::<()>(
                socket.as_raw_fd(),
                &[IoSlice::new(packet)],
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            )
            .map_err(io::Error::from)
        };
        // A packet is sent whole or not at all.
        self.socket.async_io(Interest::WRITABLE, send).await?;
        Ok(())
    }

    /// The next packet. Nothing is lost when it is not waited for to the end.
    pub(super) async fn receive(&self) -> Result<Vec<u8>, Closed> {
        let mut buffer = vec![0; PACKET_MAX];
        let length = self
            .socket
            .async_io(Interest::READABLE, |socket| read(socket, &mut buffer))
            .await;
        packet(buffer, length)
    }

    /// Whether a packet, or the end, is there already.
    pub(super) fn is_readable(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket.get_ref().as_raw_fd(), &mut byte, flags).is_ok()
    }
}

fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    socket.set_nonblocking(true)?;
    // SAFETY: a socket is one descriptor, which it owns and never exchanges, and it is moved in.
    let registered = unsafe { AsyncFd::register(socket) };
    Ok(registered?)
}

/// The length that the packet has, which may be more than what fits. File descriptors that came
/// with it are closed by the kernel, as no room is made for them.
fn read(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    recv(socket.as_raw_fd(), buffer, flags).map_err(io::Error::from)
}

fn packet(mut buffer: Vec<u8>, length: io::Result<usize>) -> Result<Vec<u8>, Closed> {
    match length {
        // An empty packet looks the same, and means nothing else.
        Ok(0) => Err(Closed::Gone),
        Ok(length) if length <= buffer.len() => {
            buffer.truncate(length);
            Ok(buffer)
        }
        Ok(length) => Err(Closed::Oversize { length }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Closed::Gone),
        Err(error) => Err(Closed::Io(error)),
    }
}
