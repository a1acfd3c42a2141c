//! What the programs of one generation have said of sockets.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use waysteer_common::abi::value::{ConnectionValue, VerdictValue};
use zerocopy::FromBytes as _;

use crate::kernel::bpf;
use crate::kernel::pins::Generation;

/// Each is missing where the generation does not have it.
#[derive(Debug)]
pub struct Verdicts {
    /// `SOCKETS`.
    storage: Option<OwnedFd>,
    /// `CONNECTIONS`, since ABI 7. That of ABI 6 was another one, of sockets that have a mark.
    connections: Option<OwnedFd>,
}

impl Verdicts {
    pub fn of(generation: &Generation) -> io::Result<Self> {
        Ok(Self {
            storage: generation.find_map("SOCKETS")?,
            connections: match generation.find_map("CONNECTIONS")? {
                Some(map) if is_of_now(map.as_fd())? => Some(map),
                _ => None,
            },
        })
    }

    /// The map of what is stored on sockets.
    pub(super) fn on_sockets(&self) -> Option<BorrowedFd<'_>> {
        self.storage.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether the socket of this cookie is of a connection that goes into the tunnel, as far as
    /// that is said elsewhere than on the socket.
    pub(super) fn is_steered(&self, cookie: u64) -> io::Result<bool> {
        let Some(map) = &self.connections else {
            return Ok(false);
        };
        let slot = ConnectionValue::slot(cookie);
        let value = bpf::value(map.as_fd(), &slot.to_ne_bytes())?;
        let value = ConnectionValue::read_from_bytes(&value);
        let value = value.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(value.cookie == cookie && value.verdict.flags & VerdictValue::STEER != 0)
    }
}

fn is_of_now(map: BorrowedFd<'_>) -> io::Result<bool> {
    let (key, value) = bpf::sizes(map)?;
    Ok(key as usize == size_of::<u32>() && value as usize == size_of::<ConnectionValue>())
}
