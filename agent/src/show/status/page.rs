//! What the agent answers to `waysteer status`.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::kernel::programs::ProgramReport;
use crate::names::pods::named;
use crate::state::PodState;
use crate::traffic::Counted;

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) node: String,
    pub(super) source: Source,
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) diagnostics: Vec<String>,
    pub(super) map_error: Option<String>,
    pub(super) pods: Vec<Pod>,
    pub(super) verification: Node,
    pub(super) tunnel: Value,
    pub(super) programs: Vec<ProgramReport>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub(super) kind: String,
    pub(super) xds: Option<Xds>,
    pub(super) synced: bool,
    pub(super) pods_known: bool,
    pub(super) workloads: u64,
    pub(super) services: u64,
    pub(super) policies: u64,
    pub(super) rejected: u64,
    pub(super) map_entries: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Xds {
    pub(super) address: String,
    pub(super) connected: bool,
    pub(super) connected_seconds: Option<u64>,
    pub(super) age_seconds: u64,
    pub(super) last_error: Option<String>,
    pub(super) missing: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) netns: String,
    pub(super) cookie: Option<u64>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) state: PodState,
    pub(super) drift: Vec<Drift>,
    pub(super) repaired: u64,
    pub(super) verified_seconds_ago: Option<u64>,
    /// `None` where it could not be read.
    pub(super) traffic: Option<Vec<Counted>>,
}

named!(Pod);

#[derive(Debug, Deserialize)]
pub(super) struct Drift {
    pub(super) kind: String,
    pub(super) what: String,
    pub(super) since_seconds: Option<u64>,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) drift: Vec<Drift>,
    pub(super) shadows: Vec<Shadow>,
    pub(super) verified_seconds_ago: Option<u64>,
    pub(super) maps_verified_seconds_ago: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Shadow {
    pub(super) hook: String,
    pub(super) cgroup: String,
    pub(super) before: Vec<Foreign>,
    pub(super) absent: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Foreign {
    pub(super) id: u32,
    pub(super) name: String,
}
