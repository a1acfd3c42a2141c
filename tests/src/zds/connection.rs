//! The socket.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    send, socket,
};

use super::LONGEST;
use super::wire::HELLO;

/// A connection to the agent, after the hello.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

/// One packet of the agent's.
#[derive(Debug)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
    /// It, or its descriptors, did not fit.
    pub is_cut: bool,
}

impl Connection {
    /// Connects and says hello.
    pub fn open(path: &Path) -> io::Result<Self> {
        let connection = Self::open_silently(path)?;
        connection.send(&HELLO)?;
        Ok(connection)
    }

    /// Connects only.
    pub fn open_silently(path: &Path) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { socket })
    }

    /// One packet.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// The next packet; `None` once the agent has closed.
    pub fn receive(&self) -> io::Result<Option<Packet>> {
        // Room for more than is allowed, so that it is seen.
        let mut bytes = vec![0; LONGEST + 1];
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; 8]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<UnixAddr>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let is_cut = message
            .flags
            .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let size = message.bytes;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: the kernel has just made these descriptors for this process, and nobody
                // else knows of them.
                descriptors.extend(
                    received
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        bytes.truncate(size);
        // No request is empty, so nothing is the end.
        let is_end = bytes.is_empty() && descriptors.is_empty();
        Ok((!is_end).then_some(Packet {
            bytes,
            descriptors,
            is_cut,
        }))
    }

    /// Whether a packet, or the end, is there within a time.
    pub fn is_readable(&self, within: Duration) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut polled, within), Ok(1..))
    }
}
