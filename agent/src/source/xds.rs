//! The mesh from istiod: incremental discovery of workloads, services and policies.
//!
//! Every node gets the whole mesh. What is told again and has not changed costs a comparison; what
//! cannot be accepted is refused by name, keeps its last good version, and the rest is applied.

mod address;
#[cfg(feature = "agent")]
mod backoff;
#[cfg(feature = "agent")]
mod client;
#[cfg(feature = "agent")]
mod connect;
mod convert;
#[cfg(feature = "agent")]
mod error;
#[cfg(feature = "agent")]
mod identity;
mod intern;
#[cfg(feature = "agent")]
mod once;
#[cfg(feature = "agent")]
mod options;
mod policy;
pub mod proto;
#[cfg(feature = "agent")]
mod report;
mod state;
#[cfg(feature = "agent")]
mod stats;

#[cfg(feature = "agent")]
pub use client::XdsSource;
#[cfg(feature = "agent")]
pub use identity::NodeIdentity;
#[cfg(feature = "agent")]
pub use options::{XdsLimits, XdsOptions, XdsTls};
pub use state::{ADDRESS, AUTHORIZATION, Refused, Response, XdsState};
#[cfg(feature = "agent")]
pub use stats::{XdsKind, XdsSnapshot, XdsStats};
