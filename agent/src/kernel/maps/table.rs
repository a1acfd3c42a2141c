//! One map of the configuration, with a memory of what it could not take.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapError};
use nix::libc::{E2BIG, ENOENT, ENOSPC};

use super::store::Store;
use super::{MapsError, OpenError, TableError, TableFull};
use crate::compile::TableChanges;
use crate::kernel::load::io_error;

/// What becomes of an entry whose new value the map did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// The old value is wrong, none is safe.
    Remove,
    /// The old value is better than none.
    Keep,
}

pub(super) struct Table<S, K, V> {
    pub(super) name: &'static str,
    capacity: u32,
    stale: Stale,
    pub(super) store: S,
    /// The same map, for what aya has no way to do.
    pub(super) fd: OwnedFd,
    /// What should be in the map and is not.
    pub(super) pending: BTreeMap<K, V>,
}

impl<S: Store<K, V>, K: Ord + Copy + Debug, V: Copy> Table<S, K, V> {
    pub(super) fn new(
        name: &'static str,
        stale: Stale,
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError>
    where
        S: TryFrom<Map, Error = MapError>,
    {
        let map = take(name).ok_or(OpenError::Missing { map: name })?;
        let layout = |source| OpenError::Layout { map: name, source };
        let (Map::HashMap(data) | Map::LpmTrie(data)) = &map else {
            // Of aya's kinds, not ours.
            return Err(OpenError::Kind { map: name });
        };
        let capacity = data.info().map_err(layout)?.max_entries();
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|source| OpenError::Handle { map: name, source })?;
        let store = S::try_from(map).map_err(layout)?;
        Ok(Self {
            name,
            capacity,
            stale,
            store,
            fd,
            pending: BTreeMap::new(),
        })
    }

    /// Writes what the map takes, and says whether that is all.
    pub(super) fn upsert(&mut self, changes: &TableChanges<K, V>) -> bool {
        let mut all = true;
        for (key, value) in &changes.upserts {
            match self.store.put(key, value) {
                Ok(()) => drop(self.pending.remove(key)),
                Err(_) => {
                    self.pending.insert(*key, *value);
                    all = false;
                }
            }
        }
        all
    }

    /// Gets rid of old values where new ones should be.
    pub(super) fn displace(&mut self) {
        if self.stale == Stale::Remove {
            for key in self.pending.keys() {
                // Most have no old value.
                let _ = self.store.delete(key);
            }
        }
    }

    pub(super) fn remove(&mut self, changes: &TableChanges<K, V>) -> Option<TableError> {
        let mut failed = Vec::new();
        let mut first = None;
        for key in &changes.removals {
            self.pending.remove(key);
            match self.store.delete(key) {
                Ok(()) => {}
                Err(source) if code(&source) == Some(ENOENT) => {}
                Err(source) => {
                    failed.push(*key);
                    first.get_or_insert(source);
                }
            }
        }
        Some(self.error(failed.len(), failed.iter(), first?))
    }

    /// Tries again what was refused: there may be room by now.
    pub(super) fn retry(&mut self) -> Option<TableError> {
        let mut refusal = None;
        while let Some((key, value)) = self.pending.pop_first() {
            if let Err(source) = self.store.put(&key, &value) {
                self.pending.insert(key, value);
                refusal = Some(source);
                break;
            }
        }
        let source = refusal?;
        Some(self.error(self.pending.len(), self.pending.keys(), source))
    }

    /// What the writer has asked for: what the map has, and what it has yet to take.
    pub(super) fn read(&self) -> Result<BTreeMap<K, V>, MapsError> {
        let read = self.store.entries();
        let mut entries = read.map_err(|source| MapsError::Unreadable {
            map: self.name,
            source,
        })?;
        entries.extend(&self.pending);
        Ok(entries)
    }

    fn error<'a>(
        &self,
        failed: usize,
        keys: impl Iterator<Item = &'a K>,
        source: MapError,
    ) -> TableError
    where
        K: 'a,
    {
        let full = is_full(&source).then_some(TableFull {
            capacity: self.capacity,
        });
        let examples = keys
            .take(TableError::EXAMPLES)
            .map(|key| format!("{key:?}"))
            .collect();
        TableError {
            map: self.name,
            failed,
            examples,
            full,
            source,
        }
    }
}

/// Hash maps answer `E2BIG`, tries `ENOSPC`.
fn is_full(error: &MapError) -> bool {
    matches!(code(error), Some(E2BIG | ENOSPC))
}

fn code(error: &MapError) -> Option<i32> {
    io_error(error).and_then(|io| io.raw_os_error())
}
