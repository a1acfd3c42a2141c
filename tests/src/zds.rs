//! The other end of ZDS: a ztunnel as far as its agent can tell, written from the protocol's text
//! and its numbers alone, so that it agrees with the agent by the text only.
//!
//! The agent listens on a unix `SOCK_SEQPACKET` socket. Its peer connects and says hello; then each
//! packet of the agent is one request, answered by one packet before the next request may come.
//! What a ztunnel would end for is a [`Violation`] here; it is remembered, and fails the test.

mod connection;
mod listeners;
mod peer;
mod rules;
pub mod wire;

pub use connection::{Connection, Packet};
pub use listeners::Listeners;
pub use peer::{Answer, Manner, Peer, Seen};
pub use rules::{Rules, Violation};
pub use wire::{Info, Request};

/// No packet may be longer, in either direction.
pub const LONGEST: usize = 1024;
