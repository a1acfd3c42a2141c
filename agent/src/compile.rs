//! From the mesh to map entries: pure, deterministic, and the same on every run.
//!
//! Ids and generations are digests of names and contents, so two compilations of the same mesh are
//! equal, and a restarted agent recognises its own maps.

mod changes;
mod id;
mod sampler;
mod tables;

pub use changes::{Changes, TableChanges};
pub use id::{namespace_id, service_id, waypoint_id, workload_id};
pub use tables::{CidrTableKey, Tables};
