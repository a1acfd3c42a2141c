//! The waysteer agent: learns the mesh, compiles it into BPF maps, attaches the kernel programs.
//!
//! Data flows one way: `source → model → authorize → compile → kernel`. A module imports from its
//! left; `app` alone sees all. Without the feature `agent` there is only what does no I/O.

#![cfg_attr(
    not(feature = "agent"),
    expect(dead_code, reason = "what does I/O uses it")
)]

pub mod address;
#[cfg(feature = "agent")]
pub mod admin;
#[cfg(feature = "agent")]
pub mod app;
#[cfg(feature = "agent")]
pub mod ask;
pub mod authorize;
#[cfg(feature = "agent")]
pub mod check;
#[cfg(feature = "agent")]
pub mod cleanup;
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(feature = "agent")]
pub mod client;
pub mod compile;
#[cfg(feature = "agent")]
pub mod config;
#[cfg(feature = "agent")]
pub mod enrol;
#[cfg(feature = "agent")]
mod error;
#[cfg(feature = "agent")]
pub mod events;
#[cfg(feature = "agent")]
pub mod explain;
#[cfg(feature = "agent")]
pub mod feed;
#[cfg(feature = "agent")]
pub mod kernel;
#[cfg(feature = "agent")]
pub mod manual;
#[cfg(feature = "agent")]
pub mod metrics;
pub mod model;
#[cfg(feature = "agent")]
pub mod names;
#[cfg(feature = "agent")]
pub mod reconcile;
#[cfg(feature = "agent")]
pub mod show;
pub mod source;
#[cfg(feature = "agent")]
pub mod state;
#[cfg(feature = "agent")]
pub mod telemetry;
#[cfg(feature = "agent")]
pub mod top;
#[cfg(feature = "agent")]
pub mod traffic;
#[cfg(feature = "agent")]
pub mod tunnel;
#[cfg(feature = "agent")]
pub mod verify;
