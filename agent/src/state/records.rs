//! What the kernel tells of connections, in names.

use serde::Serialize;

/// One verdict of the kernel, in names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FlowRecord {
    pub number: u64,
    /// Nanoseconds of the monotonic clock.
    pub at: u64,
    pub hook: &'static str,
    /// `namespace/name`; the netns cookie where the pod is not known.
    pub pod: String,
    pub destination: String,
    pub class: &'static str,
    pub reason: &'static str,
    pub steered: bool,
    pub hbone: bool,
    pub next_hop: Option<String>,
    pub next_hop_workload: Option<String>,
    pub authority: Option<String>,
    pub service: Option<String>,
    /// What policies say of a flow between pods of this node; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A packet that was held or dropped, or a connection that was refused, in names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DropRecord {
    /// Nanoseconds of the monotonic clock.
    pub at: u64,
    pub hook: &'static str,
    /// `namespace/name` of the pod at whose device it was; the netns cookie where its name is not
    /// known, `unknown` where the packet does not say whose it is.
    pub pod: String,
    pub action: &'static str,
    /// Not known at `connect()`, nor of a packet that cannot be read.
    pub source: Option<String>,
    pub source_workload: Option<String>,
    /// Not known of a packet that cannot be read; with port 0 where it can be read thus far.
    pub destination: Option<String>,
    pub destination_workload: Option<String>,
    pub service: Option<String>,
}
