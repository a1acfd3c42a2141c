//! The waysteer agent: learns the mesh, compiles it into BPF maps, attaches the kernel programs.
//!
//! Data flows one way: `source → model → compile → kernel`. A module imports from its left; `app`
//! alone sees all.

pub mod address;
pub mod admin;
pub mod app;
pub mod ask;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod client;
pub mod compile;
pub mod config;
pub mod enrol;
mod error;
pub mod events;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod reconcile;
pub mod show;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod tunnel;
pub mod verify;
