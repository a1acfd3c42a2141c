//! What the connections of each pod did: `POD_TRAFFIC`, read and tidied many entries at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData, MapError, PerCpuHashMap};
use aya::util::nr_cpus;
use nix::libc::ENOENT;
use thiserror::Error;
use waysteer_common::abi::key::TrafficKey;
use waysteer_common::abi::value::TrafficValue;
use zerocopy::{FromBytes, IntoBytes};

use super::Traffic;
use crate::kernel::maps::OpenError;
use crate::kernel::maps::batch::{Batch, Batches, Position};
use crate::kernel::wire::Wire;

const MAP: &str = "POD_TRAFFIC";

/// Entries that are read by one call.
const READ: u32 = 1024;

/// The map. Programs add entries and count in them; the agent takes out those of pods that left,
/// and writes only those with [`TrafficKey::LEFT`].
pub struct PodTraffic {
    map: OwnedFd,
    capacity: u32,
    cpus: usize,
}

#[derive(Debug, Error)]
pub enum PodTrafficError {
    #[error("cannot read map {MAP}")]
    Read(#[source] io::Error),
    #[error("cannot take an entry out of map {MAP}")]
    Remove(#[source] io::Error),
}

/// A connection's pod and destination, and what there was between them.
pub type PodTrafficEntries = BTreeMap<TrafficKey, Traffic>;

impl PodTraffic {
    pub(in crate::kernel) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        let map = take(MAP).ok_or(OpenError::Missing { map: MAP })?;
        let layout = |source| OpenError::Layout { map: MAP, source };
        let Map::PerCpuHashMap(data) = &map else {
            // Of aya's kinds, not ours.
            return Err(OpenError::Kind { map: MAP });
        };
        let capacity = data.info().map_err(layout)?.max_entries();
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|source| OpenError::Handle { map: MAP, source })?;
        let typed: Result<PerCpuHashMap<MapData, Wire<TrafficKey>, Wire<TrafficValue>>, MapError> =
            map.try_into();
        typed.map_err(layout)?;
        let cpus = nr_cpus().map_err(|(_, source)| OpenError::Handle { map: MAP, source })?;
        Ok(Self {
            map: fd,
            capacity,
            cpus,
        })
    }

    /// How many entries there may be.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// All entries, summed over CPUs.
    pub fn read(&self) -> Result<PodTrafficEntries, PodTrafficError> {
        let mut position = Position::default();
        let mut entries = PodTrafficEntries::new();
        while position != Position::End {
            let batch = self.batches().read(&mut position, READ);
            let batch = batch.map_err(PodTrafficError::Read)?;
            let keys = batch.keys.chunks_exact(size_of::<TrafficKey>());
            let values = batch.values.chunks_exact(self.value_size());
            for (key, values) in keys.zip(values) {
                let Ok(key) = TrafficKey::read_from_bytes(key) else {
                    continue;
                };
                let mut total = Traffic::default();
                for value in values.chunks_exact(size_of::<TrafficValue>()) {
                    if let Ok(value) = TrafficValue::read_from_bytes(value) {
                        total.add(&value);
                    }
                }
                entries.insert(key, total);
            }
        }
        Ok(entries)
    }

    /// Writes entries that programs do not count in, and says which were refused.
    pub(crate) fn put(&self, entries: &PodTrafficEntries) -> Vec<(TrafficKey, io::Error)> {
        let mut batch = Batch::default();
        for (key, traffic) in entries {
            batch.keys.extend_from_slice(key.as_bytes());
            let mut values = vec![TrafficValue::default(); self.cpus];
            if let Some(first) = values.first_mut() {
                *first = traffic.to_wire();
            }
            batch.values.extend_from_slice(values.as_bytes());
        }
        let refused = self.batches().update(&batch).refused.into_iter();
        let key = |number| entries.keys().nth(number).copied();
        refused
            .filter_map(|(number, error)| Some((key(number)?, error)))
            .collect()
    }

    /// Takes entries out.
    pub(crate) fn remove(&self, keys: &[TrafficKey]) -> Result<(), PodTrafficError> {
        let refused = self.batches().delete(keys.as_bytes()).refused;
        let mut errors = refused.into_iter().map(|(_, error)| error);
        match errors.find(|error| error.raw_os_error() != Some(ENOENT)) {
            Some(error) => Err(PodTrafficError::Remove(error)),
            None => Ok(()),
        }
    }

    fn value_size(&self) -> usize {
        size_of::<TrafficValue>() * self.cpus
    }

    fn batches(&self) -> Batches<'_> {
        Batches {
            map: self.map.as_fd(),
            key: size_of::<TrafficKey>(),
            value: self.value_size(),
        }
    }
}

impl fmt::Debug for PodTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capacity = self.capacity;
        f.debug_struct("PodTraffic")
            .field("capacity", &capacity)
            .finish_non_exhaustive()
    }
}
