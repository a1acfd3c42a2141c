//! Comparing what the kernel has with what was written, a bounded piece at a time.
//!
//! The writer looks between two of its writes, so what differs then was changed by somebody else,
//! or never arrived.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::fd::AsFd;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;
use zerocopy::FromBytes;

use super::batch::{Batches, Position};
use super::store::Store;
use super::table::Table;
use super::{Maps, MapsError};
use crate::compile::{Changes, TableChanges, Tables};

/// Entries of a piece.
const PIECE: u32 = 8192;

/// How far a round over all tables has come. A new one is at the start.
#[derive(Debug, Default)]
pub struct Round {
    /// Tables that are done.
    tables: usize,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    /// Is what the kernel has right? With the number of entries that are.
    Kernel { position: Position, right: usize },
    /// Is everything there, from this entry on?
    Wanted { looked_at: usize },
}

/// What differs.
#[derive(Debug, Default)]
pub struct Differences {
    /// In words, one an entry; the first of them.
    pub examples: Vec<String>,
    pub count: usize,
    /// What puts it right.
    pub repair: Changes,
}

impl Differences {
    /// Entries that are named.
    pub const EXAMPLES: usize = 16;

    fn describe<K: Debug, V>(&mut self, map: &str, changes: &TableChanges<K, V>) {
        for (key, _) in &changes.upserts {
            self.add(map, key, "is missing or another");
        }
        for key in &changes.removals {
            self.add(map, key, "is not ours");
        }
    }

    fn add<K: Debug>(&mut self, map: &str, key: &K, what: &str) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(format!("{map}: {key:?} {what}"));
        }
    }
}

impl Maps {
    /// Looks at the next piece, and whether the round is over with it. `wanted` is what was written
    /// last.
    pub fn verify_piece(
        &self,
        round: &mut Round,
        wanted: &Tables,
    ) -> Result<(Differences, bool), MapsError> {
        let mut differences = Differences::default();
        differences.repair.old_settings = wanted.settings;
        differences.repair.settings = wanted.settings;
        let mut left = PIECE as usize;
        let mut number = 0;
        macro_rules! look {
            ($($table:ident),*) => {$(
                if round.tables == number {
                    let mut changes = TableChanges::default();
                    let (table, wanted) = (&self.$table, &wanted.$table);
                    let done = table.look(&mut round.stage, &mut left, wanted, &mut changes)?;
                    differences.describe(table.name, &changes);
                    differences.repair.$table = changes;
                    if !done {
                        return Ok((differences, false));
                    }
                    round.stage = Stage::Start;
                    round.tables += 1;
                }
                number += 1;
            )*};
        }
        look!(
            pods,
            pod_addresses,
            workloads,
            services,
            service_cidrs,
            service_ports,
            endpoints,
            waypoints,
            waypoint_members,
            mesh_cidrs
        );
        // That many there are.
        let _all = number;
        if self.settings()? != self.written {
            differences.add("SETTINGS", &self.written, "is not what was written");
        }
        *round = Round::default();
        Ok((differences, true))
    }

    /// Looks at the entries of one pod.
    pub fn verify_pod(
        &self,
        netns: PodKey,
        addresses: &[AddressKey],
        wanted: &Tables,
    ) -> Result<Differences, MapsError> {
        let mut differences = Differences::default();
        differences.repair.old_settings = wanted.settings;
        differences.repair.settings = wanted.settings;
        let mut pods = TableChanges::default();
        self.pods.look_for(&netns, &wanted.pods, &mut pods)?;
        let mut pod_addresses = TableChanges::default();
        for address in addresses {
            let table = &self.pod_addresses;
            table.look_for(address, &wanted.pod_addresses, &mut pod_addresses)?;
        }
        differences.describe(self.pods.name, &pods);
        differences.describe(self.pod_addresses.name, &pod_addresses);
        differences.repair.pods = pods;
        differences.repair.pod_addresses = pod_addresses;
        Ok(differences)
    }

    /// Writes what [`Self::verify_piece`] and [`Self::verify_pod`] have found to be different, in
    /// the order of [`Maps::apply`].
    pub fn repair(&mut self, differences: &Differences, host_netns: u64) -> Result<(), MapsError> {
        // Whatever it is that stands there, it is written anew.
        self.written = self.settings()?;
        self.apply(&differences.repair, host_netns)
    }
}

impl<S: Store<K, V>, K: Ord + Copy + Debug, V: FromBytes + Copy + PartialEq> Table<S, K, V> {
    /// Whether the table is done with this piece.
    fn look(
        &self,
        stage: &mut Stage,
        left: &mut usize,
        wanted: &BTreeMap<K, V>,
        changes: &mut TableChanges<K, V>,
    ) -> Result<bool, MapsError> {
        if let Stage::Start = stage {
            *stage = Stage::Kernel {
                position: Position::Start,
                right: 0,
            };
        }
        if let Stage::Kernel { position, right } = stage {
            while *position != Position::End {
                if *left == 0 {
                    return Ok(false);
                }
                let found = self.look_at_kernel(position, left, wanted, changes)?;
                *right += found;
            }
            // Whatever else is there was found to be wrong.
            if *right + changes.upserts.len() + self.pending.len() == wanted.len() {
                return Ok(true);
            }
            *stage = Stage::Wanted { looked_at: 0 };
        }
        if let Stage::Wanted { looked_at } = stage {
            for (key, value) in wanted.iter().skip(*looked_at) {
                if *left == 0 {
                    return Ok(false);
                }
                *left -= 1;
                *looked_at += 1;
                let is_known = changes.upserts.iter().any(|(known, _)| known == key);
                if !is_known && self.lacks(key, value)? {
                    changes.upserts.push((*key, *value));
                }
            }
        }
        Ok(true)
    }

    fn look_at_kernel(
        &self,
        position: &mut Position,
        left: &mut usize,
        wanted: &BTreeMap<K, V>,
        changes: &mut TableChanges<K, V>,
    ) -> Result<usize, MapsError> {
        let batches = Batches {
            map: self.fd.as_fd(),
            key: S::KEY_SIZE,
            value: size_of::<V>(),
        };
        let entries = u32::try_from(*left).unwrap_or(PIECE).min(PIECE);
        let read = batches.read(position, entries);
        let batch = read.map_err(|source| MapsError::Unlisted {
            map: self.name,
            source,
        })?;
        let mut right = 0;
        let keys = batch.keys.chunks_exact(S::KEY_SIZE);
        let values = batch.values.chunks_exact(size_of::<V>());
        for (key, value) in keys.zip(values) {
            *left = left.saturating_sub(1);
            let (Some(key), Ok(value)) = (S::read_key(key), V::read_from_bytes(value)) else {
                continue;
            };
            match wanted.get(&key) {
                Some(wanted) if *wanted == value => right += 1,
                // It may be the old value, which is better than none.
                _ if self.pending.contains_key(&key) => {}
                Some(wanted) => changes.upserts.push((key, *wanted)),
                None => changes.removals.push(key),
            }
        }
        Ok(right)
    }

    fn look_for(
        &self,
        key: &K,
        wanted: &BTreeMap<K, V>,
        changes: &mut TableChanges<K, V>,
    ) -> Result<(), MapsError> {
        if let Some(value) = wanted.get(key)
            && self.lacks(key, value)?
        {
            changes.upserts.push((*key, *value));
        }
        Ok(())
    }

    /// Whether the kernel has another value, or none, and not because it refused this one.
    fn lacks(&self, key: &K, value: &V) -> Result<bool, MapsError> {
        let found = self.store.find(key);
        let found = found.map_err(|source| MapsError::Unreadable {
            map: self.name,
            source,
        })?;
        Ok(found != Some(*value) && !self.pending.contains_key(key))
    }
}
