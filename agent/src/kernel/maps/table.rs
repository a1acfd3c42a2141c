//! One map of the configuration: typed, and with a memory of what it could not take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError};
use nix::libc::{E2BIG, ENOENT, ENOSPC};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{MapsError, OpenError, TableError, TableFull};
use crate::compile::{CidrTableKey, TableChanges};
use crate::kernel::load::io_error;
use crate::kernel::wire::Wire;

/// How the kernel keeps a table.
pub(super) trait Store<K, V> {
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn delete(&mut self, key: &K) -> Result<(), MapError>;
    fn entries(&self) -> Result<BTreeMap<K, V>, MapError>;
}

pub(super) type Hash<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
pub(super) type Trie<K, V> = LpmTrie<MapData, Wire<K>, Wire<V>>;

/// What becomes of an entry whose new value the map did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// The old value is wrong, none is safe.
    Remove,
    /// The old value is better than none.
    Keep,
}

pub(super) struct Table<S, K> {
    name: &'static str,
    capacity: u32,
    stale: Stale,
    store: S,
    /// What should be in the map and is not.
    pub(super) unwritten: BTreeSet<K>,
}

/// Entries that a map refused, with the first refusal.
pub(super) struct Refused<K, V> {
    entries: Vec<(K, V)>,
    source: MapError,
}

impl<S, K> Table<S, K> {
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
        let capacity = match &map {
            Map::HashMap(data) | Map::LpmTrie(data) => data.info().map_err(layout)?.max_entries(),
            // Of aya's kinds, not ours; the conversion refuses it.
            _ => 0,
        };
        let store = S::try_from(map).map_err(layout)?;
        Ok(Self {
            name,
            capacity,
            stale,
            store,
            unwritten: BTreeSet::new(),
        })
    }
}

impl<S, K: Ord + Copy + Debug> Table<S, K> {
    /// Writes what it can.
    pub(super) fn upsert<V: Copy>(&mut self, changes: &TableChanges<K, V>) -> Option<Refused<K, V>>
    where
        S: Store<K, V>,
    {
        let mut refused: Option<Refused<K, V>> = None;
        for (key, value) in &changes.upserts {
            match self.store.put(key, value) {
                Ok(()) => {
                    self.unwritten.remove(key);
                }
                Err(source) => {
                    self.unwritten.insert(*key);
                    let refused = refused.get_or_insert_with(|| Refused {
                        entries: Vec::new(),
                        source,
                    });
                    refused.entries.push((*key, *value));
                }
            }
        }
        refused
    }

    /// Gets rid of what stands where refused entries should, which may also make room for them: a
    /// full trie does not even take a new value of an old key before Linux 6.13.
    pub(super) fn retry<V: Copy>(&mut self, refused: Refused<K, V>) -> Option<TableError>
    where
        S: Store<K, V>,
    {
        for (key, value) in &refused.entries {
            let room = match self.stale {
                Stale::Remove => self.store.delete(key).is_ok(),
                Stale::Keep => false,
            };
            if room && self.store.put(key, value).is_ok() {
                self.unwritten.remove(key);
            }
        }
        let failed = refused.entries.iter().map(|(key, _)| *key);
        let failed: Vec<K> = failed.filter(|key| self.unwritten.contains(key)).collect();
        self.error(&failed, refused.source)
    }

    pub(super) fn remove<V>(&mut self, changes: &TableChanges<K, V>) -> Option<TableError>
    where
        S: Store<K, V>,
    {
        let mut failed = Vec::new();
        let mut first = None;
        for key in &changes.removals {
            self.unwritten.remove(key);
            match self.store.delete(key) {
                Ok(()) => {}
                Err(source) if code(&source) == Some(ENOENT) => {}
                Err(source) => {
                    failed.push(*key);
                    first.get_or_insert(source);
                }
            }
        }
        self.error(&failed, first?)
    }

    pub(super) fn read<V>(&self) -> Result<BTreeMap<K, V>, MapsError>
    where
        S: Store<K, V>,
    {
        let read = self.store.entries();
        read.map_err(|source| MapsError::Unreadable {
            map: self.name,
            source,
        })
    }

    fn error(&self, failed: &[K], source: MapError) -> Option<TableError> {
        if failed.is_empty() {
            return None;
        }
        let examples = failed.iter().take(TableError::EXAMPLES);
        Some(TableError {
            map: self.name,
            failed: failed.len(),
            examples: examples.map(|key| format!("{key:?}")).collect(),
            full: is_full(&source).then_some(TableFull {
                capacity: self.capacity,
            }),
            source,
        })
    }
}

/// Hash maps answer `E2BIG`, tries `ENOSPC`.
fn is_full(error: &MapError) -> bool {
    matches!(code(error), Some(E2BIG | ENOSPC))
}

fn code(error: &MapError) -> Option<i32> {
    io_error(error).and_then(|io| io.raw_os_error())
}

impl<K, V> Store<K, V> for Hash<K, V>
where
    K: FromBytes + IntoBytes + Immutable + Ord + Copy + 'static,
    V: FromBytes + IntoBytes + Immutable + Copy + 'static,
{
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(Wire(*key), Wire(*value), 0)
    }

    fn delete(&mut self, key: &K) -> Result<(), MapError> {
        HashMap::remove(self, &Wire(*key))
    }

    fn entries(&self) -> Result<BTreeMap<K, V>, MapError> {
        self.iter()
            .map(|entry| entry.map(|(Wire(key), Wire(value))| (key, value)))
            .collect()
    }
}

impl<K, V> Store<CidrTableKey<K>, V> for Trie<K, V>
where
    K: FromBytes + IntoBytes + Immutable + Ord + Copy + 'static,
    V: FromBytes + IntoBytes + Immutable + Copy + 'static,
{
    fn put(&mut self, key: &CidrTableKey<K>, value: &V) -> Result<(), MapError> {
        self.insert(&trie_key(key), Wire(*value), 0)
    }

    fn delete(&mut self, key: &CidrTableKey<K>) -> Result<(), MapError> {
        LpmTrie::remove(self, &trie_key(key))
    }

    fn entries(&self) -> Result<BTreeMap<CidrTableKey<K>, V>, MapError> {
        let table_key = |key: Key<Wire<K>>| {
            let Wire(data) = key.data();
            CidrTableKey {
                prefix: key.prefix_len(),
                data,
            }
        };
        self.iter()
            .map(|entry| entry.map(|(key, Wire(value))| (table_key(key), value)))
            .collect()
    }
}

fn trie_key<K>(key: &CidrTableKey<K>) -> Key<Wire<K>>
where
    K: FromBytes + IntoBytes + Immutable + Copy + 'static,
{
    Key::new(key.prefix, Wire(key.data))
}
