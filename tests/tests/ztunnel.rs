//! The agent with a real ztunnel, where the environment names one.

mod agents;
mod changes;
mod policies;
mod traffic;
mod verdicts;

use std::time::Duration;

use anyhow::Result;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::skip;
use waysteer_tests::ztunnel;

const PATIENCE: Duration = Duration::from_secs(60);

/// The agent waits for a ztunnel. Nothing where there is none.
fn bed(options: Options) -> Result<Option<Bed>> {
    if skip::optional("ztunnel", ztunnel::find().is_some())? {
        return Ok(None);
    }
    Bed::new(&Options {
        tunnel: TunnelKind::Zds,
        ..options
    })
    .map(Some)
}
