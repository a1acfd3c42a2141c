//! The test bed: a node of network namespaces with real peers, on which the kernel tests and
//! `cargo xtask demo` run the agent.
//!
//! ```text
//! netns ─► ip ─► topology ─► capture          what is on which wire
//!                        └─► peers, dial, raw  who talks to whom
//!                        └─► pki ─► forward    HBONE without a tunnel of ours in between
//!                        └─► zds                a ztunnel as far as its agent can tell
//!                        └─► istiod             a control plane, likewise
//!                        └─► load              traffic of every class at once, all of it checked
//!                        └─► process ─► envoy, ztunnel  what is started in there
//! ```
//!
//! Nothing here knows waysteer's programs; [`foreign`] are others beside them. Everything undoes
//! itself when dropped, on a panic too; what a killed run has left, [`netns::sweep`] removes.

pub mod admin;
pub mod bed;
pub mod bulk;
pub mod capture;
pub mod cases;
pub mod dial;
pub mod drawn;
pub mod envoy;
pub mod foreign;
pub mod forward;
pub mod http;
pub mod interrupt;
mod ip;
pub mod istiod;
pub mod load;
pub mod metrics_doc;
pub mod netns;
pub mod peers;
pub mod pins;
pub mod pki;
pub mod policies;
pub mod process;
pub mod raw;
pub mod skip;
pub mod statistics;
pub mod topology;
pub mod traces;
pub mod wait;
pub mod zds;
pub mod ztunnel;
