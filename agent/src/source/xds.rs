//! The mesh from istiod: incremental discovery of workloads, services and policies.
//!
//! Every node gets the whole mesh. What is told again and has not changed costs a comparison; what
//! cannot be accepted is refused by name, keeps its last good version, and the rest is applied.

mod address;
mod client;
mod convert;
mod identity;
mod intern;
mod policy;
pub mod proto;
mod state;
mod stats;

pub use client::{XdsOptions, XdsSource, XdsTls};
pub use identity::NodeIdentity;
pub use stats::{XdsSnapshot, XdsStats};
