//! What is found to differ from what should be, and when it is repaired: the book that is kept of
//! each pod, and one of the node. Nothing here looks or repairs.
//!
//! A drift counts when it appears, not each time it is seen. Who undoes our repairs again and
//! again is answered ever more slowly, so that two parties at odds do not keep the node busy; what
//! then stands is reported as standing.

mod book;

#[cfg(test)]
mod tests;

use std::fmt;

pub use book::{Book, Entry, News};

/// What kind of thing is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// A program of ours is not attached, or another version of it is.
    Program,
    /// A program of somebody else runs before ours.
    Order,
    Rule,
    Route,
    Sysctl,
    /// `lo` is down.
    Loopback,
    /// A device is new, gone or has another name.
    Device,
    Address,
    /// An entry of a map.
    Map,
    /// The tunnel does not listen.
    Listener,
    /// The pod's path names another network namespace.
    Netns,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    pub kind: DriftKind,
    /// In words, the same for the same thing.
    pub what: String,
}

impl DriftKind {
    pub const ALL: [Self; 11] = [
        Self::Program,
        Self::Order,
        Self::Rule,
        Self::Route,
        Self::Sysctl,
        Self::Loopback,
        Self::Device,
        Self::Address,
        Self::Map,
        Self::Listener,
        Self::Netns,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Order => "order",
            Self::Rule => "rule",
            Self::Route => "route",
            Self::Sysctl => "sysctl",
            Self::Loopback => "loopback",
            Self::Device => "device",
            Self::Address => "address",
            Self::Map => "map",
            Self::Listener => "listener",
            Self::Netns => "netns",
        }
    }

    /// Whether a pod with it counts as enrolled all the same: who is before us and passes packets
    /// on takes nothing away.
    pub fn is_harmless(self) -> bool {
        match self {
            Self::Order => true,
            Self::Program
            | Self::Rule
            | Self::Route
            | Self::Sysctl
            | Self::Loopback
            | Self::Device
            | Self::Address
            | Self::Map
            | Self::Listener
            | Self::Netns => false,
        }
    }
}

impl Drift {
    pub fn new(kind: DriftKind, what: impl fmt::Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
