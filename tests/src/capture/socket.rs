//! Packet sockets.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::filter::Filter;
use super::frame::{self, Segment};

/// How long the reader may sleep before it looks whether it should stop.
const PATIENCE_MS: u16 = 20;

/// What the kernel may queue for one interface: a burst of a bulk transfer.
const QUEUE: usize = 32 * 1024 * 1024;

/// The largest frame that offloads make, with its headers.
const FRAME: usize = 128 * 1024;

/// A socket that gets every frame of one interface, in both directions.
#[derive(Debug)]
pub(super) struct Tap {
    interface: String,
    socket: Socket,
}

impl Tap {
    /// In the calling thread's namespace.
    pub(super) fn open(interface: &str, filter: Option<&Filter>) -> Result<Self> {
        let index = if_nametoindex(interface).context("no such interface")?;
        // Without a protocol until it is bound, or it would get every interface's frames.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)
            .context("a packet socket needs root")?;
        force_queue(&socket).context("SO_RCVBUFFORCE")?;
        if let Some(filter) = filter {
            filter.attach(&socket).context("SO_ATTACH_FILTER")?;
        }
        bind(&socket, index).context("the packet socket could not be bound")?;
        Ok(Self {
            interface: interface.to_owned(),
            socket,
        })
    }

    pub(super) fn interface(&self) -> &str {
        &self.interface
    }

    /// Gives out everything that is queued.
    pub(super) fn read(&self, mut each: impl FnMut(&Segment<'_>)) {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); FRAME];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            let received = buffer.get(..size).unwrap_or_default();
            // SAFETY: recv(2) has initialised the first `size` bytes, and the types have one layout.
            let bytes = unsafe { &*(std::ptr::from_ref(received) as *const [u8]) };
            if let Some(segment) = frame::parse(bytes) {
                each(&segment);
            }
        }
    }

    /// Frames that did not fit into the queue since the last call.
    pub(super) fn lost(&self) -> u64 {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointers are to locals of the sizes given, which outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            0
        } else {
            u64::from(statistics.tp_drops)
        }
    }
}

/// Sleeps until there is something to read, or for a moment.
pub(super) fn wait(taps: &[Tap]) {
    let mut polled: Vec<PollFd<'_>> = taps
        .iter()
        .map(|tap| PollFd::new(tap.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    let _ = poll(&mut polled, PollTimeout::from(PATIENCE_MS));
}

/// Above the machine's `rmem_max`, which is for the unprivileged.
fn force_queue(socket: &Socket) -> io::Result<()> {
    let size = libc::c_int::try_from(QUEUE).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to a local of the size given, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn bind(socket: &Socket, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: libc::c_int::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a local of the size given, which outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
