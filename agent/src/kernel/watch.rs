//! Being told that something changed in a pod's netns: one netlink socket each, which hears of
//! devices, addresses, rules, routes, qdiscs and what netconf tells of parameters.
//!
//! What changed is not read: it is the same look at everything that follows. Programs that are
//! detached, maps and most parameters raise no event; those the timer finds.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::netns::{NetnsError, PodNetns};

/// `RTNLGRP_*` of linux/rtnetlink.h, counted from 1.
const GROUPS: [u32; 10] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_TC,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_IPV4_NETCONF,
    libc::RTNLGRP_IPV6_NETCONF,
];

/// Messages are thrown away, so the rest of a long one may be too.
const SCRATCH: usize = 256;

/// Messages that are thrown away in one go, however fast they come.
const AT_ONCE: usize = 4096;

/// A socket that lives in a pod's netns. It is woken from any thread.
#[derive(Debug)]
pub struct NetnsWatch {
    socket: AsyncFd<Socket>,
}

/// What a watch is made of where no runtime is.
#[derive(Debug)]
pub struct Subscription {
    socket: Socket,
}

#[derive(Debug, Error)]
pub enum WatchError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("netlink: cannot subscribe to what changes in a network namespace")]
    Subscribe(#[source] io::Error),
    #[error("netlink: cannot hear of what changes in a network namespace")]
    Listen(#[source] io::Error),
}

impl NetnsWatch {
    /// Hears of everything from the return on. Blocks, see [`PodNetns::run`]; within a runtime.
    pub fn open(netns: &PodNetns) -> Result<Self, WatchError> {
        Self::new(netns.run(Subscription::here)??)
    }

    /// Within a runtime.
    pub fn new(subscription: Subscription) -> Result<Self, WatchError> {
        let Subscription { socket } = subscription;
        // SAFETY: the socket owns its descriptor, and keeps it until the `AsyncFd` is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| WatchError::Subscribe(error.into()))?;
        Ok(Self { socket })
    }

    /// Waits until something has changed, and forgets everything that has until then.
    pub async fn changed(&self) -> Result<(), WatchError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(WatchError::Listen)?;
            let drained = ready.try_io(|socket| drain(socket.get_ref()));
            match drained {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => return Err(WatchError::Listen(error)),
                // Somebody else was meant.
                Err(_would_block) => {}
            }
        }
    }
}

impl Subscription {
    /// Of everything in the calling thread's netns, from the return on.
    pub fn here() -> Result<Self, WatchError> {
        let socket = subscribe().map_err(WatchError::Subscribe)?;
        Ok(Self { socket })
    }
}

/// In the calling thread's netns, to which the socket then belongs.
fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    let groups = GROUPS.iter().fold(0, |mask, group| mask | 1 << (group - 1));
    socket.bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

/// `WouldBlock` where there was nothing.
fn drain(socket: &Socket) -> io::Result<()> {
    let mut any = false;
    for _ in 0..AT_ONCE {
        let mut scratch = [0u8; SCRATCH];
        match socket.recv(&mut &mut scratch[..], 0) {
            Ok(_) => any = true,
            // Too many at once: some were dropped, so something changed.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The readiness that is left is cleared by the next call, which finds nothing.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && any => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    // More is there, and will wake again.
    Ok(())
}
