//! What the kernel counted, reported and remembers. Observation only: nothing here is ever an
//! input of configuration.

mod connections;
mod events;
mod pods;

use std::collections::BTreeMap;
use std::fmt;

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use thiserror::Error;
use waysteer_common::abi::value::{SynCookiesValue, TrafficValue};
use waysteer_common::verdict::{Class, PacketAction, Reason, counter_slot, traffic_slot};

pub use self::connections::OpenConnections;
pub(super) use self::connections::is_open;
pub use self::events::{DropReport, Event, EventError, EventStream, VerdictReport};
pub use self::pods::{PodTraffic, PodTrafficEntries, PodTrafficError};
use super::clock;
use super::maps::OpenError;
use super::wire::Wire;

#[derive(Debug, Error)]
#[error("cannot read map {map}")]
pub struct ObserveError {
    map: &'static str,
    #[source]
    source: MapError,
}

/// Counters since the programs were loaded, summed over CPUs.
pub struct Counters {
    verdicts: PerCpuArray<MapData, u64>,
    packets: PerCpuArray<MapData, u64>,
    traffic: PerCpuArray<MapData, Wire<TrafficValue>>,
    other: PerCpuArray<MapData, Wire<TrafficValue>>,
    cookies: Array<MapData, Wire<SynCookiesValue>>,
}

/// By class, and whether connections were steered.
pub type ClassTraffic = BTreeMap<(Class, bool), Traffic>;

/// What the connections of one class did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub opened: u64,
    pub closed: u64,
    /// Of closed connections, by the side that opened them.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub duration_ns: u64,
}

impl Counters {
    pub(super) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            verdicts: typed("COUNTERS", take)?,
            packets: typed("PACKET_COUNTERS", take)?,
            traffic: typed("TRAFFIC", take)?,
            other: typed("OTHER_TRAFFIC", take)?,
            cookies: typed("SYN_COOKIES", take)?,
        })
    }

    /// Every class with every reason, also where the count is 0.
    pub fn verdicts(&self) -> Result<BTreeMap<(Class, Reason), u64>, ObserveError> {
        let pairs = Class::ALL
            .iter()
            .flat_map(|c| Reason::ALL.iter().map(|r| (*c, *r)));
        pairs
            .map(|(class, reason)| {
                let slot = counter_slot(class, reason);
                Ok(((class, reason), sum("COUNTERS", &self.verdicts, slot)?))
            })
            .collect()
    }

    /// Every action, also where the count is 0.
    pub fn packets(&self) -> Result<BTreeMap<PacketAction, u64>, ObserveError> {
        let actions = PacketAction::ALL.iter();
        actions
            .map(|action| {
                let slot = u32::from(action.number());
                Ok((*action, sum("PACKET_COUNTERS", &self.packets, slot)?))
            })
            .collect()
    }

    /// Of all pods.
    pub fn traffic(&self) -> Result<ClassTraffic, ObserveError> {
        by_class("TRAFFIC", &self.traffic)
    }

    /// What of it no pod's entry had room for.
    pub fn other_traffic(&self) -> Result<ClassTraffic, ObserveError> {
        by_class("OTHER_TRAFFIC", &self.other)
    }

    /// Whether a listener of the tunnel may have given SYN cookies that are still good: as long as
    /// that is so, programs look up the socket of each packet.
    pub fn may_have_given_cookies(&self) -> Result<bool, ObserveError> {
        let value = self.cookies.get(&0, 0);
        let Wire(SynCookiesValue { until }) = value.map_err(|source| ObserveError {
            map: "SYN_COOKIES",
            source,
        })?;
        Ok(clock::monotonic() < until)
    }
}

fn by_class(
    map: &'static str,
    array: &PerCpuArray<MapData, Wire<TrafficValue>>,
) -> Result<ClassTraffic, ObserveError> {
    let pairs = Class::ALL
        .iter()
        .flat_map(|class| [(*class, false), (*class, true)]);
    pairs
        .map(|(class, steer)| {
            let values = array.get(&traffic_slot(class.number(), steer), 0);
            let values = values.map_err(|source| ObserveError { map, source })?;
            let mut total = Traffic::default();
            for Wire(value) in values.iter() {
                total.add(value);
            }
            Ok(((class, steer), total))
        })
        .collect()
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Traffic {
    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.add(&other.to_wire());
    }

    /// Of both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes_sent.wrapping_add(self.bytes_received)
    }

    fn to_wire(self) -> TrafficValue {
        let Self {
            opened,
            closed,
            bytes_sent,
            bytes_received,
            duration_ns,
        } = self;
        TrafficValue {
            opened,
            closed,
            bytes_sent,
            bytes_received,
            duration_ns,
        }
    }

    fn add(&mut self, value: &TrafficValue) {
        let TrafficValue {
            opened,
            closed,
            bytes_sent,
            bytes_received,
            duration_ns,
        } = value;
        self.opened = self.opened.wrapping_add(*opened);
        self.closed = self.closed.wrapping_add(*closed);
        self.bytes_sent = self.bytes_sent.wrapping_add(*bytes_sent);
        self.bytes_received = self.bytes_received.wrapping_add(*bytes_received);
        self.duration_ns = self.duration_ns.wrapping_add(*duration_ns);
    }
}

fn sum(
    map: &'static str,
    counters: &PerCpuArray<MapData, u64>,
    slot: u32,
) -> Result<u64, ObserveError> {
    let values = counters
        .get(&slot, 0)
        .map_err(|source| ObserveError { map, source })?;
    Ok(values
        .iter()
        .fold(0, |total, value| total.wrapping_add(*value)))
}

fn typed<M: TryFrom<Map, Error = MapError>>(
    map: &'static str,
    take: &mut dyn FnMut(&'static str) -> Option<Map>,
) -> Result<M, OpenError> {
    let found = take(map).ok_or(OpenError::Missing { map })?;
    M::try_from(found).map_err(|source| OpenError::Layout { map, source })
}
