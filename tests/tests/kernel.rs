//! The tests that need root, one binary: `cargo xtask test` runs them one after the other.

mod adoption;
mod bench;
mod churn;
mod cleanup;
mod closed;
mod drift;
mod envoy;
mod istiod;
mod lifecycle;
mod metrics;
mod operator;
mod policies;
mod privileges;
mod prog_run;
mod redirect;
mod reuse;
mod senders;
mod sharing;
mod soak;
mod status;
mod streams;
mod testbed;
mod zds;
mod ztunnel;
