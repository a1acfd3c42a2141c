//! Several values a key, in order; most keys have one.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub(super) struct Multimap<K, V>(BTreeMap<K, Values<V>>);

#[derive(Debug, Clone)]
enum Values<V> {
    One(V),
    /// At least two.
    Many(BTreeSet<V>),
}

impl<K, V> Default for Multimap<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Ord> Values<V> {
    fn insert(self, value: V) -> Self {
        match self {
            Self::One(one) if one == value => Self::One(one),
            Self::One(one) => Self::Many(BTreeSet::from([one, value])),
            Self::Many(mut many) => {
                many.insert(value);
                Self::Many(many)
            }
        }
    }

    fn remove(self, value: &V) -> Option<Self> {
        match self {
            Self::One(one) => (one != *value).then_some(Self::One(one)),
            Self::Many(mut many) => {
                many.remove(value);
                match many.len() {
                    1 => many.pop_first().map(Self::One),
                    _ => Some(Self::Many(many)),
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &V> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl<K: Ord + Clone, V: Ord> Multimap<K, V> {
    /// Adds a value, or takes it away.
    pub(super) fn set(&mut self, key: &K, value: V, present: bool) {
        let values = self.0.remove(key);
        let values = match (values, present) {
            (None, true) => Some(Values::One(value)),
            (None, false) => None,
            (Some(values), true) => Some(values.insert(value)),
            (Some(values), false) => values.remove(&value),
        };
        if let Some(values) = values {
            self.0.insert(key.clone(), values);
        }
    }

    pub(super) fn get<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.0.get(key).into_iter().flat_map(Values::iter)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}
