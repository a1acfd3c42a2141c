//! The tests that need root, one binary: `cargo xtask test` runs them one after the other.

mod closed;
mod envoy;
mod redirect;
mod senders;
mod testbed;
