//! Entries that were not accepted.

use super::entry::{Entry, Key, Read};
use crate::model::{Policy, PolicyScope, Rejection};

/// An entry that could not be accepted.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Whose last good version stays; `None` if it has no name of its own.
    pub key: Option<Key>,
    pub rejection: Rejection,
    /// What to assume in place of a policy without a last good version.
    pub stand_in: Option<Policy>,
}

pub(super) fn reject<T: Read>(entry: &Entry<T>) -> Rejected {
    Rejected {
        key: entry.key.clone(),
        rejection: Rejection {
            entry: entry.problems.entry().to_owned(),
            error: entry.problems.error_text(),
            addresses: entry.value.addresses(),
            addresses_unknown: entry.lacks_addresses,
        },
        stand_in: None,
    }
}

impl Rejected {
    /// A policy that cannot be read must not be taken for one that allows: it counts with the
    /// scope that could be read, and with the whole mesh where workloads could not name it.
    pub(super) fn with_stand_in(mut self, read: Policy) -> Self {
        let mut policy = read;
        if policy.name.name.is_empty() {
            policy.name.name.clone_from(&self.rejection.entry);
            policy.scope = PolicyScope::Global;
        }
        self.stand_in = Some(policy);
        self
    }
}
