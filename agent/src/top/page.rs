//! What the agent tells, see `admin/top.rs`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::state::{PodState, Tally};

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page {
    pub(super) version: String,
    pub(super) node: String,
    pub(super) synced: bool,
    pub(super) pods_known: bool,
    pub(super) map_error: Option<String>,
    pub(super) drift: usize,
    pub(super) pods: Vec<Pod>,
    pub(super) traffic: Vec<Traffic>,
    pub(super) packets: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pod {
    pub(super) pod: String,
    pub(super) state: PodState,
    pub(super) drift: Vec<String>,
    pub(super) repaired: u64,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) verdicts: BTreeMap<String, Tally>,
    pub(super) traffic: Vec<Traffic>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Traffic {
    pub(super) class: String,
    pub(super) steered: bool,
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// A verdict.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Flow {
    pub(super) pod: String,
    pub(super) destination: String,
    pub(super) class: String,
    pub(super) reason: String,
    pub(super) steered: bool,
    pub(super) next_hop: Option<String>,
}

impl Pod {
    /// Verdicts of one class.
    pub(super) fn of(&self, class: &str) -> u64 {
        let tally = self.verdicts.get(class).copied().unwrap_or_default();
        tally.steered + tally.bypassed
    }

    pub(super) fn steered(&self) -> u64 {
        self.verdicts.values().map(|tally| tally.steered).sum()
    }

    pub(super) fn bypassed(&self) -> u64 {
        self.verdicts.values().map(|tally| tally.bypassed).sum()
    }

    pub(super) fn all(&self) -> u64 {
        self.steered() + self.bypassed()
    }
}

impl Pod {
    /// Bytes that went into the tunnel, or past it.
    pub(super) fn bytes(&self, steered: bool) -> u64 {
        let traffic = self.traffic.iter();
        let wanted = traffic.filter(|traffic| traffic.steered == steered);
        wanted.map(Traffic::bytes).fold(0, u64::wrapping_add)
    }
}

impl Traffic {
    pub(super) fn bytes(&self) -> u64 {
        self.sent_bytes.wrapping_add(self.received_bytes)
    }
}
