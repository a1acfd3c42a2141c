//! What the agent's tasks tell about themselves, for the admin pages.

mod enrolment;
mod records;
mod tallies;
mod verification;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::feed::Feed;
use crate::kernel::maps;
use crate::names::pods::named;
use crate::source::{Diagnostic, Severity};
use crate::verify::DriftKind;

use enrolment::EnrolTimes;
pub use enrolment::Times;
pub use records::{DropRecord, FlowRecord};
pub use tallies::{Tallies, Tally};
pub use verification::{DriftCounts, NodeVerification, Standing, Verification};

/// Written by single tasks, read by the admin pages.
#[derive(Debug, Default)]
pub struct State {
    inner: Mutex<Inner>,
    verdicts: Feed<FlowRecord>,
    drops: Feed<DropRecord>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: BTreeMap<String, PodStatus>,
    source: SourceStatus,
    diagnostics: BTreeMap<String, Vec<Diagnostic>>,
    flows: VecDeque<FlowRecord>,
    /// Number of the next flow record.
    next_flow: u64,
    events_lost: u64,
    tallies: Tallies,
    map_error: Option<String>,
    map_tallies: Vec<maps::Tally>,
    node: NodeVerification,
    drift: DriftCounts,
    verifications: Verifications,
    enrol_times: EnrolTimes,
}

/// What verifying has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verifications {
    pub count: u64,
    pub nanoseconds: u64,
}

/// One local pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodStatus {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub netns: String,
    /// Netns cookie, once the netns was opened.
    pub cookie: Option<u64>,
    pub addresses: Vec<IpAddr>,
    pub state: PodState,
    #[serde(flatten)]
    pub verification: Verification,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// Rules, programs and maps are in place and the tunnel serves the pod.
    Enrolled,
    /// Captured, but its tunnel is not ready, for this reason: flows that need it are held.
    Pending(String),
    /// Not as it was enrolled; being repaired, or tried to.
    Drifted(String),
    /// Not captured; tried again.
    Failed(String),
    /// No longer wanted and no longer captured: what is in its netns is about to go.
    Leaving,
}

named!(PodStatus);

impl PodState {
    pub fn label(&self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Pending(_) => "pending",
            Self::Drifted(_) => "drifted",
            Self::Failed(_) => "failed",
            Self::Leaving => "leaving",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// A complete snapshot is in the maps.
    pub synced: bool,
    /// The source has said which pods are local.
    pub pods_known: bool,
    pub workloads: usize,
    pub services: usize,
    pub policies: usize,
    pub rejected: usize,
    pub map_entries: usize,
}

impl State {
    /// Verdicts that are remembered.
    const FLOWS: usize = 4096;

    pub fn set_pod(&self, status: PodStatus) {
        self.lock().pods.insert(status.uid.clone(), status);
    }

    /// The source wants this pod enrolled; said again, it changes nothing.
    pub fn expect_pod(&self, uid: &str) {
        let mut inner = self.lock();
        if !inner.pods.contains_key(uid) {
            inner.enrol_times.begin(uid, Instant::now());
        }
    }

    /// Its turn has come.
    pub fn begin_pod(&self, uid: &str) {
        self.lock().enrol_times.work(uid, Instant::now());
    }

    /// From the first mention of pods to their enrolment.
    pub fn enrol_times(&self) -> Times {
        self.lock().enrol_times.times()
    }

    /// The same, from when their turn had come.
    pub fn enrol_work(&self) -> Times {
        self.lock().enrol_times.work_times()
    }

    /// What the pod's state was, if it is another one now.
    pub fn set_pod_state(&self, uid: &str, state: PodState) -> Option<PodState> {
        let mut inner = self.lock();
        if state == PodState::Enrolled {
            inner.enrol_times.end(uid, Instant::now());
        }
        let pod = inner.pods.get_mut(uid)?;
        let before = std::mem::replace(&mut pod.state, state);
        (before != pod.state).then_some(before)
    }

    /// With the addresses that the pod is known by now.
    pub fn set_verification(&self, uid: &str, verification: Verification, addresses: &[IpAddr]) {
        if let Some(pod) = self.lock().pods.get_mut(uid) {
            pod.verification = verification;
            if pod.addresses != addresses {
                pod.addresses = addresses.to_vec();
            }
        }
    }

    pub fn set_node(&self, node: NodeVerification) {
        self.lock().node = node;
    }

    pub fn node(&self) -> NodeVerification {
        self.lock().node.clone()
    }

    pub fn count_drift(&self, kind: DriftKind, found: u64, repaired: u64) {
        self.lock().drift.add(kind, found, repaired);
    }

    pub fn drift(&self) -> DriftCounts {
        self.lock().drift
    }

    pub fn add_verification(&self, took: Duration) {
        let mut inner = self.lock();
        inner.verifications.count += 1;
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        inner.verifications.nanoseconds += nanoseconds;
    }

    pub fn verifications(&self) -> Verifications {
        self.lock().verifications
    }

    pub fn remove_pod(&self, uid: &str) {
        let mut inner = self.lock();
        if let Some(pod) = inner.pods.remove(uid) {
            let name = format!("{}/{}", pod.namespace, pod.name);
            inner.tallies.forget(&name);
        }
        inner.enrol_times.forget(uid);
    }

    pub fn pods(&self) -> Vec<PodStatus> {
        self.lock().pods.values().cloned().collect()
    }

    pub fn set_source(&self, status: SourceStatus) {
        self.lock().source = status;
    }

    pub fn source(&self) -> SourceStatus {
        self.lock().source.clone()
    }

    pub fn set_diagnostics(&self, origin: String, diagnostics: Vec<Diagnostic>) {
        self.lock().diagnostics.insert(origin, diagnostics);
    }

    /// What is wrong with the source at present, as text.
    pub fn diagnostics(&self) -> Vec<String> {
        self.lock()
            .diagnostics
            .values()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }

    pub fn count_diagnostics(&self, severity: Severity) -> usize {
        let inner = self.lock();
        inner
            .diagnostics
            .values()
            .flatten()
            .filter(|d| d.severity == severity)
            .count()
    }

    /// The map writer's last failure, until it succeeds.
    pub fn set_map_error(&self, error: Option<String>) {
        self.lock().map_error = error;
    }

    pub fn map_error(&self) -> Option<String> {
        self.lock().map_error.clone()
    }

    /// What was written so far, map by map.
    pub fn set_map_tallies(&self, tallies: &[maps::Tally]) {
        let mut inner = self.lock();
        inner.map_tallies.clear();
        inner.map_tallies.extend(tallies);
    }

    pub fn map_tallies(&self) -> Vec<maps::Tally> {
        self.lock().map_tallies.clone()
    }

    /// Remembers it, gives it its number, and tells whoever listens.
    pub fn add_flow(&self, mut flow: FlowRecord) {
        let mut inner = self.lock();
        flow.number = inner.next_flow;
        inner.tallies.add(&flow);
        self.verdicts.tell(&flow);
        inner.next_flow += 1;
        if inner.flows.len() == Self::FLOWS {
            inner.flows.pop_front();
        }
        inner.flows.push_back(flow);
    }

    /// Remembered verdicts from number `since` on.
    pub fn flows(&self, since: u64) -> Vec<FlowRecord> {
        self.lock()
            .flows
            .iter()
            .filter(|flow| flow.number >= since)
            .cloned()
            .collect()
    }

    /// Of verdicts.
    pub fn verdicts(&self) -> &Feed<FlowRecord> {
        &self.verdicts
    }

    /// Of what was held, dropped or refused.
    pub fn drops(&self) -> &Feed<DropRecord> {
        &self.drops
    }

    /// How many verdicts each pod got.
    pub fn tallies(&self) -> Tallies {
        self.lock().tallies.clone()
    }

    pub fn add_lost_event(&self) {
        self.lock().events_lost += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
