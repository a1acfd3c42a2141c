//! The mesh and the local pods from two YAML files, read again whenever they change. Where the mesh
//! comes from elsewhere, the pods alone.
//!
//! The pure part is `parse_mesh` and `parse_pods`, from text to values, and `FileState` and
//! `PodsState`, from values to changes. `FileSource` does the I/O.

mod entry;
mod fields;
mod mesh;
mod owners;
mod pods;
mod policy;
mod poll;
mod problems;
mod references;
mod rejected;
mod run;
mod scalar;
mod service;
mod state;
mod text;
mod watch;
mod workload;
mod yaml;

#[cfg(test)]
mod tests;

pub use entry::Key;
pub use mesh::{ParsedMesh, parse_mesh};
pub use pods::{ParsedPods, parse_pods};
pub use rejected::Rejected;
pub use run::{FileSource, FileSourceError};
pub use state::{FileState, PodsState};
