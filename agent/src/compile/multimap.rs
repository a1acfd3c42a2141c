//! Several values a key, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

#[derive(Debug, Clone)]
pub(super) struct Multimap<K, V>(BTreeMap<K, BTreeSet<V>>);

impl<K, V> Default for Multimap<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, V: Ord> Multimap<K, V> {
    /// Adds a value, or takes it away.
    pub(super) fn set(&mut self, key: &K, value: V, present: bool) {
        if present {
            // Not `entry`, which would clone the key also where it is known.
            match self.0.get_mut(key) {
                Some(values) => {
                    values.insert(value);
                }
                None => {
                    self.0.insert(key.clone(), BTreeSet::from([value]));
                }
            }
        } else if let Some(values) = self.0.get_mut(key) {
            values.remove(&value);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    pub(super) fn get<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let groups = self.0.range(range);
        groups.flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
    }
}
