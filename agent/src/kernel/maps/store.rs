//! How the kernel keeps a table: a hash map, or a trie of prefixes.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::compile::CidrTableKey;
use crate::kernel::wire::Wire;

pub(super) trait Store<K, V> {
    /// In bytes.
    const KEY_SIZE: usize;

    /// A key as the kernel has it.
    fn read_key(bytes: &[u8]) -> Option<K>;
    fn find(&self, key: &K) -> Result<Option<V>, MapError>;
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn delete(&mut self, key: &K) -> Result<(), MapError>;
    fn entries(&self) -> Result<BTreeMap<K, V>, MapError>;
}

pub(super) type Hash<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
pub(super) type Trie<K, V> = LpmTrie<MapData, Wire<K>, Wire<V>>;

impl<K, V> Store<K, V> for Hash<K, V>
where
    K: FromBytes + IntoBytes + Immutable + Ord + Copy + 'static,
    V: FromBytes + IntoBytes + Immutable + Copy + 'static,
{
    const KEY_SIZE: usize = size_of::<K>();

    fn read_key(bytes: &[u8]) -> Option<K> {
        K::read_from_bytes(bytes).ok()
    }

    fn find(&self, key: &K) -> Result<Option<V>, MapError> {
        found(self.get(&Wire(*key), 0))
    }

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
    const KEY_SIZE: usize = size_of::<u32>() + size_of::<K>();

    fn read_key(bytes: &[u8]) -> Option<CidrTableKey<K>> {
        let (prefix, data) = u32::read_from_prefix(bytes).ok()?;
        let data = K::read_from_bytes(data).ok()?;
        Some(CidrTableKey { prefix, data })
    }

    /// A look-up finds the longest prefix, not this one, so it tells only of exact matches what
    /// else is there.
    fn find(&self, key: &CidrTableKey<K>) -> Result<Option<V>, MapError> {
        found(self.get(&trie_key(key), 0))
    }

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

fn found<V>(result: Result<Wire<V>, MapError>) -> Result<Option<V>, MapError> {
    match result {
        Ok(Wire(value)) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn trie_key<K>(key: &CidrTableKey<K>) -> Key<Wire<K>>
where
    K: FromBytes + IntoBytes + Immutable + Copy + 'static,
{
    Key::new(key.prefix, Wire(key.data))
}
