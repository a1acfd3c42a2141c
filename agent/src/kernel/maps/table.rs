//! One map of the configuration, with a memory of what it could not take.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapError};
use aya::sys::SyscallError;
use nix::libc::{E2BIG, ENOENT, ENOSPC};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::batch::{Batch, Batches, Position, Written};
use super::store::Store;
use super::{MapsError, OpenError, TableError, TableFull, Tally};
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

/// Entries that are read by one call.
const READ: u32 = 4096;

pub(super) struct Table<S, K, V> {
    pub(super) name: &'static str,
    capacity: u32,
    stale: Stale,
    pub(super) store: S,
    /// The same map, for what aya has no way to do.
    pub(super) fd: OwnedFd,
    /// What should be in the map and is not.
    pub(super) pending: BTreeMap<K, V>,
    pub(super) tally: Tally,
}

impl<S, K, V> Table<S, K, V>
where
    S: Store<K, V>,
    K: Ord + Copy + Debug,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
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
            tally: Tally::of(name),
        })
    }

    /// Writes what the map takes, and says whether that is all.
    pub(super) fn upsert(&mut self, changes: &TableChanges<K, V>) -> bool {
        let mut all = true;
        for piece in changes.upserts.chunks(Batches::WRITTEN) {
            let refused = self.put(piece);
            if !self.pending.is_empty() {
                for (key, _) in piece {
                    self.pending.remove(key);
                }
            }
            let refused = refused.iter().filter_map(|(number, _)| piece.get(*number));
            for (key, value) in refused {
                self.pending.insert(*key, *value);
                all = false;
            }
        }
        all
    }

    /// Gets rid of old values where new ones should be.
    pub(super) fn displace(&mut self) {
        if self.stale == Stale::Remove {
            let keys: Vec<K> = self.pending.keys().copied().collect();
            for piece in keys.chunks(Batches::WRITTEN) {
                // Most have no old value.
                self.delete(piece);
            }
        }
    }

    pub(super) fn remove(&mut self, changes: &TableChanges<K, V>) -> Option<TableError> {
        let mut failed = Vec::new();
        let mut first = None;
        for piece in changes.removals.chunks(Batches::WRITTEN) {
            for key in piece {
                self.pending.remove(key);
            }
            for (number, source) in self.delete(piece) {
                if source.raw_os_error() != Some(ENOENT) {
                    failed.extend(piece.get(number));
                    first.get_or_insert(source);
                }
            }
        }
        let source = syscall("BPF_MAP_DELETE_BATCH", first?);
        Some(self.error(failed.len(), failed.iter(), source))
    }

    /// Tries again what was refused: there may be room by now.
    pub(super) fn retry(&mut self) -> Option<TableError> {
        let mut refusal = None;
        while let Some((key, value)) = self.pending.pop_first() {
            if let Some((_, source)) = self.put(&[(key, value)]).pop() {
                self.pending.insert(key, value);
                refusal = Some(source);
                break;
            }
        }
        let source = syscall("BPF_MAP_UPDATE_BATCH", refusal?);
        Some(self.error(self.pending.len(), self.pending.keys(), source))
    }

    /// What the writer has asked for: what the map has, and what it has yet to take.
    pub(super) fn read(&self) -> Result<BTreeMap<K, V>, MapsError> {
        let mut entries = BTreeMap::new();
        let mut position = Position::Start;
        while position != Position::End {
            let read = self.batches().read(&mut position, READ);
            let batch = read.map_err(|source| MapsError::Unlisted {
                map: self.name,
                source,
            })?;
            entries.extend(Self::entries(&batch));
        }
        entries.extend(&self.pending);
        Ok(entries)
    }

    pub(super) fn batches(&self) -> Batches<'_> {
        Batches {
            map: self.fd.as_fd(),
            key: S::KEY_SIZE,
            value: size_of::<V>(),
        }
    }

    /// The entries of a batch that was read.
    pub(super) fn entries(batch: &Batch) -> impl Iterator<Item = (K, V)> {
        let keys = batch.keys.chunks_exact(S::KEY_SIZE);
        let values = batch.values.chunks_exact(size_of::<V>());
        keys.zip(values).filter_map(|(key, value)| {
            let value = V::read_from_bytes(value).ok()?;
            Some((S::read_key(key)?, value))
        })
    }

    /// Which of these were refused.
    fn put(&mut self, entries: &[(K, V)]) -> Vec<(usize, io::Error)> {
        let mut batch = Batch {
            keys: Vec::with_capacity(entries.len() * S::KEY_SIZE),
            values: Vec::with_capacity(entries.len() * size_of::<V>()),
        };
        for (key, value) in entries {
            S::write_key(key, &mut batch.keys);
            batch.values.extend_from_slice(value.as_bytes());
        }
        let Written { refused, syscalls } = self.batches().update(&batch);
        self.tally.puts += (entries.len() - refused.len()) as u64;
        self.tally.syscalls += syscalls;
        refused
    }

    /// Which of these were refused, or not there.
    fn delete(&mut self, keys: &[K]) -> Vec<(usize, io::Error)> {
        let mut bytes = Vec::with_capacity(size_of_val(keys));
        for key in keys {
            S::write_key(key, &mut bytes);
        }
        let Written { refused, syscalls } = self.batches().delete(&bytes);
        self.tally.deletes += (keys.len() - refused.len()) as u64;
        self.tally.syscalls += syscalls;
        refused
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

fn syscall(call: &'static str, io_error: io::Error) -> MapError {
    MapError::SyscallError(SyscallError { call, io_error })
}

fn code(error: &MapError) -> Option<i32> {
    io_error(error).and_then(|io| io.raw_os_error())
}
