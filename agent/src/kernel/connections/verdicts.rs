//! What the programs of one generation have said of sockets.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use waysteer_common::abi::key::{CookieKey, TrafficKey};
use waysteer_common::abi::value::ConnectionValue;
use zerocopy::network_endian::U64;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::kernel::bpf;
use crate::kernel::pins::Generation;

/// Each is missing where the generation does not have it.
#[derive(Debug)]
pub struct Verdicts {
    /// `SOCKETS`.
    storage: Option<OwnedFd>,
    /// `CONNECTIONS`, since ABI 6.
    connections: Option<OwnedFd>,
}

impl Verdicts {
    pub fn of(generation: &Generation) -> io::Result<Self> {
        Ok(Self {
            storage: generation.find_map("SOCKETS")?,
            connections: generation.find_map("CONNECTIONS")?,
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
        let cookie = U64::new(cookie);
        let value = match bpf::value(map.as_fd(), CookieKey { cookie }.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            value => value?,
        };
        let value = ConnectionValue::read_from_bytes(&value);
        let value = value.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(value.traffic.flags & TrafficKey::STEER != 0)
    }
}
