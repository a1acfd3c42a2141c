//! The kernel's answers about flows that nobody has sent, in names.

mod met;

pub(crate) use self::met::policy;

use serde::Serialize;
use waysteer_common::verdict::{Hook, Verdict};

use crate::address::socket_from_wire;
use crate::kernel::explain::Met;
use crate::names::Namer;
use crate::state::FlowRecord;

/// What `waysteer explain` is told.
#[derive(Debug, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    pub flow: FlowRecord,
    /// The connection that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// How the destination was understood, where that is not what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub understood: Option<String>,
    /// What the classifier has looked up, in order.
    pub met: Vec<MetRecord>,
}

/// One that was opened from a port.
#[derive(Debug, Serialize)]
pub struct Connection {
    pub from_port: u16,
    /// The kernel remembers it: the verdict is the one that it got.
    pub remembered: bool,
}

/// A look-up in names.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct MetRecord {
    pub map: &'static str,
    pub asked: String,
    pub found: bool,
    pub entry: Option<String>,
}

/// Each look-up, in order.
pub fn met(met: &[Met], names: &impl Namer) -> Vec<MetRecord> {
    met.iter().map(|met| met::describe(met, names)).collect()
}

/// A verdict without an agent: whose pod it is, is known from elsewhere.
pub fn flow(
    pod: String,
    destination: std::net::SocketAddr,
    verdict: &Verdict,
    names: &impl Namer,
) -> FlowRecord {
    let hop = verdict.next_hop;
    let named = |id: u64, name: Option<String>| match id {
        0 => None,
        id => Some(name.unwrap_or_else(|| crate::names::Id(id).to_string())),
    };
    let text = |address, port| socket_from_wire(address, port).map(|it| it.to_string());
    FlowRecord {
        number: 0,
        at: 0,
        hook: Hook::Explain.label(),
        pod,
        destination: destination.to_string(),
        class: verdict.class.label(),
        reason: verdict.reason.label(),
        steered: verdict.steer,
        hbone: hop.hbone,
        next_hop: text(hop.address, hop.port),
        next_hop_workload: named(hop.workload, names.workload(hop.workload)),
        authority: text(hop.authority, hop.authority_port).filter(|_| hop.hbone),
        service: named(verdict.service, names.service(verdict.service)),
        policy: None,
    }
}
