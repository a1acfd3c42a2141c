//! One entry of a file, from node to value.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use super::fields::Field;
use super::problems::{Problems, quoted};
use super::yaml::{Node, Value};
use crate::model::{NamespacedName, Uid};

/// What an entry is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Workload(Uid),
    Service(NamespacedName),
    Policy(NamespacedName),
}

impl Key {
    /// The field that makes it unique.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Workload(_) => "uid",
            Self::Service(_) => "hostname",
            Self::Policy(_) => "name",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(uid) => uid.fmt(f),
            Self::Service(name) | Self::Policy(name) => name.fmt(f),
        }
    }
}

/// An entry as far as it could be read.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) line: usize,
    /// `None` if the names could not be read.
    pub(super) key: Option<Key>,
    /// Not to be used if there are errors in `problems`: the fields in error have a default then.
    pub(super) value: T,
    pub(super) problems: Problems,
    /// Whether `value` may lack addresses that the entry has.
    pub(super) lacks_addresses: bool,
}

/// What a kind of entries needs to be read.
pub(super) trait Read: Sized {
    /// What it is called in messages: kind and name.
    fn label(node: &Node<'_>) -> Option<String>;

    /// Reads all fields; what is wrong goes to `problems`.
    fn read(root: &Field<'_, '_>, problems: &mut Problems) -> Draft<Self>;

    /// Through which addresses it can be reached.
    fn addresses(&self) -> Vec<IpAddr>;
}

/// What [`Read::read`] could make of an entry.
#[derive(Debug)]
pub(super) struct Draft<T> {
    pub(super) key: Option<Key>,
    pub(super) value: T,
    pub(super) lacks_addresses: bool,
}

/// Reads the entry at `index` of `section`.
pub(super) fn read<T: Read>(
    file: &Rc<str>,
    section: &str,
    index: usize,
    node: &Node<'_>,
) -> Entry<T> {
    let label = T::label(node).unwrap_or_else(|| format!("{section}[{index}]"));
    let mut problems = Problems::new(file.clone(), label);
    let twice = duplicate_key(node);
    if let Some((key, line, first)) = twice {
        let message = format!("duplicate key {}, first at line {first}", quoted(key));
        problems.error(line, "", message);
    }
    let Draft {
        key,
        value,
        lacks_addresses,
    } = T::read(&Field::root(node), &mut problems);
    Entry {
        line: node.line,
        key,
        value,
        problems,
        lacks_addresses: lacks_addresses || twice.is_some(),
    }
}

impl<T> Entry<T> {
    pub(super) fn is_valid(&self) -> bool {
        !self.problems.has_errors()
    }
}

/// A scalar of the entry, for its label.
pub(super) fn peek<'n>(node: &'n Node<'_>, key: &str) -> Option<&'n str> {
    let Value::Map(pairs) = &node.value else {
        return None;
    };
    let value = &pairs.iter().find(|pair| pair.key == key)?.value;
    match &value.value {
        Value::Scalar { text, .. } if !value.is_null() => Some(text),
        Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
    }
}

/// The first key that stands twice in a map of this entry: its second and its first line.
fn duplicate_key<'n>(node: &'n Node<'_>) -> Option<(&'n str, usize, usize)> {
    match &node.value {
        Value::Scalar { .. } => None,
        Value::List(items) => items.iter().find_map(duplicate_key),
        Value::Map(pairs) => {
            let mut seen = BTreeMap::new();
            let twice = pairs.iter().find_map(|pair| {
                let first = seen.insert(pair.key.as_ref(), pair.line)?;
                Some((pair.key.as_ref(), pair.line, first))
            });
            twice.or_else(|| pairs.iter().find_map(|pair| duplicate_key(&pair.value)))
        }
    }
}
