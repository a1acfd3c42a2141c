//! What the agent tells, see `admin/top.rs`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::state::{PodState, Tally};
use crate::traffic::Counted;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page {
    pub(super) version: String,
    pub(super) node: String,
    pub(super) synced: bool,
    pub(super) pods_known: bool,
    pub(super) map_error: Option<String>,
    pub(super) drift: usize,
    pub(super) pods: Vec<Pod>,
    pub(super) traffic: Vec<Counted>,
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
    pub(super) traffic: Vec<Counted>,
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

    /// Bytes that went into the tunnel, or past it.
    pub(super) fn bytes(&self, steered: bool) -> u64 {
        let traffic = self.traffic.iter();
        let wanted = traffic.filter(|traffic| traffic.steered == steered);
        wanted.map(Counted::bytes).fold(0, u64::wrapping_add)
    }
}
