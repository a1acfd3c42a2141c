//! The mesh from istiod: incremental discovery of workloads, services and policies.
//!
//! Every node gets the whole mesh. What is told again and has not changed costs a comparison; what
//! cannot be accepted is refused by name, keeps its last good version, and the rest is applied.

mod address;
mod backoff;
mod client;
mod connect;
mod convert;
mod error;
mod identity;
mod intern;
mod options;
mod policy;
pub mod proto;
mod report;
mod state;
mod stats;

pub use client::XdsSource;
pub use identity::NodeIdentity;
pub use options::{XdsLimits, XdsOptions, XdsTls};
pub use state::{ADDRESS, AUTHORIZATION, Refused, Response, XdsState};
pub use stats::{XdsKind, XdsSnapshot, XdsStats};
