//! Comparing what the kernel has with what was written, a bounded piece at a time.
//!
//! The writer looks between two of its writes, so what differs then was changed by somebody else,
//! or never arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound;
use std::os::fd::AsFd;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::batch::Position;
use super::store::Store;
use super::table::Table;
use super::{Maps, MapsError};
use crate::compile::{Changes, TableChanges, Tables};

/// Entries of a piece: about a millisecond, for which a change may have to wait.
const PIECE: u32 = 1024;

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
    /// Is everything there, after the entry with this key? As the kernel has keys.
    Wanted { after: Option<Vec<u8>> },
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
            policies,
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

impl<S, K, V> Table<S, K, V>
where
    S: Store<K, V>,
    K: Ord + Copy + Debug,
    V: FromBytes + IntoBytes + Immutable + Copy + PartialEq,
{
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
            *stage = Stage::Wanted { after: None };
        }
        if let Stage::Wanted { after } = stage {
            return self.look_for_wanted(after, left, wanted, changes);
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
        let entries = u32::try_from(*left).unwrap_or(PIECE).min(PIECE);
        let read = self.batches().read(position, entries);
        let batch = read.map_err(|source| MapsError::Unlisted {
            map: self.name,
            source,
        })?;
        let mut right = 0;
        for (key, value) in Self::entries(&batch) {
            *left = left.saturating_sub(1);
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

    /// What is not in the kernel at all. The table may have changed since the last piece: so it is a
    /// key that is remembered, and nothing is counted from the start.
    fn look_for_wanted(
        &self,
        after: &mut Option<Vec<u8>>,
        left: &mut usize,
        wanted: &BTreeMap<K, V>,
        changes: &mut TableChanges<K, V>,
    ) -> Result<bool, MapsError> {
        let known: BTreeSet<K> = changes.upserts.iter().map(|(key, _)| *key).collect();
        let last = after.as_deref().and_then(S::read_key);
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (key, value) in wanted.range((from, Bound::Unbounded)) {
            if *left == 0 {
                if let Some(last) = &last {
                    let bytes = after.get_or_insert_default();
                    bytes.clear();
                    S::write_key(last, bytes);
                }
                return Ok(false);
            }
            *left -= 1;
            last = Some(*key);
            if !known.contains(key) && self.lacks(key, value)? {
                changes.upserts.push((*key, *value));
            }
        }
        Ok(true)
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
        let holds = self.store.holds(self.fd.as_fd(), key, value);
        let holds = holds.map_err(|source| MapsError::Unreadable {
            map: self.name,
            source,
        })?;
        Ok(!holds && !self.pending.contains_key(key))
    }
}
