//! HBONE, client and server: TCP carried in HTTP/2 CONNECT streams over TLS 1.3, where both sides
//! present SPIFFE certificates and each is known by its identity, never by a DNS name.
//!
//! ```text
//! identity ─► certs (ca, files) ─► tls ─► window ─► stream ─► copy ─► client (Pool), server (Server)
//! ```
//!
//! The crate knows nothing of BPF, network namespaces or the mesh: who is dialled, from which
//! socket and with which expectation is the caller's to say ([`client::Dial`],
//! [`server::Handler`]).

pub mod ca;
pub mod certs;
pub mod client;
pub mod copy;
pub mod identity;
pub mod refusal;
pub mod server;
pub mod stream;
pub mod tls;
pub mod window;

/// The port on which every HBONE listener of an ambient mesh listens.
pub const HBONE_PORT: u16 = 15008;
