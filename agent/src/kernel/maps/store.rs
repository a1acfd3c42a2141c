//! How the kernel keeps a table: a hash map, or a trie of prefixes.

use std::io;
use std::os::fd::BorrowedFd;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use nix::libc::ENOSPC;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::compile::CidrTableKey;
use crate::kernel::bpf;
use crate::kernel::wire::Wire;

/// A handle by which single entries are read, and the keys as the kernel has them.
pub(super) trait Store<K, V> {
    /// In bytes.
    const KEY_SIZE: usize;

    fn read_key(bytes: &[u8]) -> Option<K>;
    fn write_key(key: &K, to: &mut Vec<u8>);
    /// Whether the kernel has this entry with this value.
    fn holds(&self, map: BorrowedFd<'_>, key: &K, value: &V) -> Result<bool, MapError>;
}

pub(super) type Hash<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
pub(super) type Trie<K, V> = LpmTrie<MapData, Wire<K>, Wire<V>>;

impl<K, V> Store<K, V> for Hash<K, V>
where
    K: FromBytes + IntoBytes + Immutable + Copy + 'static,
    V: FromBytes + IntoBytes + Immutable + Copy + PartialEq + 'static,
{
    const KEY_SIZE: usize = size_of::<K>();

    fn read_key(bytes: &[u8]) -> Option<K> {
        K::read_from_bytes(bytes).ok()
    }

    fn write_key(key: &K, to: &mut Vec<u8>) {
        to.extend_from_slice(key.as_bytes());
    }

    fn holds(&self, _map: BorrowedFd<'_>, key: &K, value: &V) -> Result<bool, MapError> {
        has(self.get(&Wire(*key), 0), value)
    }
}

impl<K, V> Store<CidrTableKey<K>, V> for Trie<K, V>
where
    K: FromBytes + IntoBytes + Immutable + Copy + 'static,
    V: FromBytes + IntoBytes + Immutable + Copy + PartialEq + 'static,
{
    const KEY_SIZE: usize = size_of::<u32>() + size_of::<K>();

    fn read_key(bytes: &[u8]) -> Option<CidrTableKey<K>> {
        let (prefix, data) = u32::read_from_prefix(bytes).ok()?;
        let data = K::read_from_bytes(data).ok()?;
        Some(CidrTableKey { prefix, data })
    }

    fn write_key(key: &CidrTableKey<K>, to: &mut Vec<u8>) {
        to.extend_from_slice(key.prefix.as_bytes());
        to.extend_from_slice(key.data.as_bytes());
    }

    /// What a look-up has found may be a shorter prefix's. That the entry is there shows when it is
    /// given the value that it has.
    fn holds(
        &self,
        map: BorrowedFd<'_>,
        key: &CidrTableKey<K>,
        value: &V,
    ) -> Result<bool, MapError> {
        if !has(self.get(&Key::new(key.prefix, Wire(key.data)), 0), value)? {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(Self::KEY_SIZE);
        Self::write_key(key, &mut bytes);
        // SAFETY: the map is this one, whose keys and values aya has found to be of these sizes.
        match unsafe { bpf::replace(map, &bytes, value.as_bytes()) } {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Kernels before 6.12 refuse this to a full trie.
            Err(error) if error.raw_os_error() == Some(ENOSPC) => Ok(true),
            Err(error) => Err(MapError::IoError(error)),
            Ok(()) => Ok(true),
        }
    }
}

fn has<V: PartialEq>(found: Result<Wire<V>, MapError>, value: &V) -> Result<bool, MapError> {
    match found {
        Ok(Wire(found)) => Ok(found == *value),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
