//! Entries that were not accepted.

use std::net::IpAddr;

use super::entry::{Entry, Key, Read};
use crate::model::{Policy, PolicyScope, Rejection};

/// An entry that could not be accepted.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Whose last good version stays; `None` if it has no name of its own.
    pub key: Option<Key>,
    pub rejection: Rejection,
    /// Virtual addresses of the services it may be an endpoint of: they reach it too.
    pub vips: Vec<IpAddr>,
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
        vips: Vec::new(),
        stand_in: None,
    }
}

impl Rejected {
    /// A policy that cannot be read must not be taken for one that allows: it counts with the
    /// scope that could be read, and with the whole mesh where workloads cannot name it: without
    /// a name, or with that of another.
    pub(super) fn with_stand_in(mut self, read: Policy, line: usize) -> Self {
        let mut policy = Policy::unreadable(read.name, read.scope);
        if self.key.is_none() {
            policy.name.name = format!("{} at line {line}", self.rejection.entry).into();
            match policy.scope {
                PolicyScope::Global | PolicyScope::Namespace => {}
                PolicyScope::WorkloadSelector => policy.scope = PolicyScope::Global,
            }
        }
        self.stand_in = Some(policy);
        self
    }
}
