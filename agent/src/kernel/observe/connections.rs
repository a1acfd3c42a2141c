//! Open connections that pods have begun, with their verdicts.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use aya::maps::{Array, Map, MapData};
use waysteer_common::abi::key::FlowKey;
use waysteer_common::abi::value::ConnectionValue;
use waysteer_common::verdict::Verdict;

use super::{ObserveError, typed};
use crate::address::socket_from_wire;
use crate::kernel::maps::OpenError;
use crate::kernel::wire::Wire;

const MAP: &str = "CONNECTIONS";

/// What `CONNECTIONS` holds. Cheap to clone.
#[derive(Clone)]
pub struct OpenConnections {
    slots: Arc<Array<MapData, Wire<ConnectionValue>>>,
}

impl fmt::Debug for OpenConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenConnections").finish_non_exhaustive()
    }
}

impl OpenConnections {
    pub(in crate::kernel) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            slots: Arc::new(typed(MAP, take)?),
        })
    }

    /// The verdict on the socket of this cookie, for the connection that it is believed to be. `None`
    /// where the kernel has none there, or one that no version knows.
    pub fn of_socket(&self, cookie: u64, flow: &FlowKey) -> Result<Option<Verdict>, ObserveError> {
        let found = self.slot(ConnectionValue::slot(cookie))?;
        let found = found.filter(|found| {
            found.cookie == cookie && found.tuple.in_netns(found.netns.get()) == *flow
        });
        Ok(found.and_then(|found| Verdict::from_wire(&found.verdict)))
    }

    /// The verdict of the connection from `source` to `destination`, both as the application in
    /// the netns of this cookie sees them. Looks at all there are.
    pub fn of_connection(
        &self,
        netns: u64,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Option<Verdict>, ObserveError> {
        for number in 0..ConnectionValue::SLOTS {
            if let Some(found) = self.slot(number)?
                && found.netns.get() == netns
                && is_between(&found, source, destination)
            {
                return Ok(Verdict::from_wire(&found.verdict));
            }
        }
        Ok(None)
    }

    fn slot(&self, number: u32) -> Result<Option<ConnectionValue>, ObserveError> {
        let value = self.slots.get(&number, 0);
        let Wire(value) = value.map_err(|source| ObserveError { map: MAP, source })?;
        Ok(is_open(&value).then_some(value))
    }
}

/// Of the other slots nothing is known, or not all yet.
pub(in crate::kernel) fn is_open(slot: &ConnectionValue) -> bool {
    slot.cookie != 0 && slot.cookie != ConnectionValue::BUSY && slot.is_open != 0
}

/// An application that was sent to an endpoint knows what it dialled.
fn is_between(found: &ConnectionValue, source: SocketAddr, destination: SocketAddr) -> bool {
    let ConnectionValue { tuple, verdict, .. } = found;
    let dialled = socket_from_wire(tuple.destination, tuple.destination_port.get());
    let meant = socket_from_wire(verdict.authority, verdict.authority_port.get());
    socket_from_wire(tuple.source, tuple.source_port.get()) == Some(source)
        && [dialled, meant].contains(&Some(destination))
}
