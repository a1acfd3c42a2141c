//! A map of few entries.

use std::borrow::Borrow;

/// Entries in the order of their keys, in just the memory that they need: nearly every workload has
/// one of these, with one entry or none, for which a tree takes room for eleven. A change copies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedMap<K, V>(Box<[(K, V)]>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In return the value that the key had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut entries = std::mem::take(&mut self.0).into_vec();
        let place = entries.binary_search_by(|(known, _)| known.cmp(&key));
        let before = match place {
            Ok(place) => {
                let known = entries.get_mut(place);
                known.map(|(_, known)| std::mem::replace(known, value))
            }
            Err(place) => {
                entries.insert(place, (key, value));
                None
            }
        };
        self.0 = entries.into_boxed_slice();
        before
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        let mut entries = std::mem::take(&mut self.0).into_vec();
        let (_, value) = entries.remove(place);
        self.0 = entries.into_boxed_slice();
        Some(value)
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0
            .binary_search_by(|(known, _)| known.borrow().cmp(key))
    }
}

/// Of entries with the same key the last counts.
impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.reverse();
        // Stable: what came last comes first.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        Self(entries.into_boxed_slice())
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SortedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(
            first in proptest::collection::vec((0_u8..20, any::<u8>()), 0..12),
            then in proptest::collection::vec((0_u8..20, proptest::option::of(any::<u8>())), 0..12),
        ) {
            let mut tree: BTreeMap<u8, u8> = first.iter().copied().collect();
            let mut map: SortedMap<u8, u8> = first.into_iter().collect();
            for (key, value) in then {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), tree.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                }
                prop_assert!(map.iter().eq(tree.iter()) && map.keys().eq(tree.keys()));
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(map.contains_key(&7), tree.contains_key(&7));
            }
        }
    }
}
