//! How long something took, many times.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::Bed;

#[derive(Debug, Default)]
pub(super) struct Times {
    all: Vec<Duration>,
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        self.all.push(time);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// So many of a hundred took no longer.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// The same as the agent itself counts it: its histogram's buckets.
pub(super) fn in_the_agent(bed: &Bed) -> Result<String> {
    let (_, metrics) = admin::get(&bed.socket(), "/metrics")?;
    let lines = metrics.lines();
    let lines: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("waysteer_enrol_seconds_"))
        .collect();
    let count = lines.iter().find_map(|line| line.strip_prefix("count "));
    let count: usize = count.context("no waysteer_enrol_seconds")?.parse()?;
    ensure!(count > 0, "no pod was ever enrolled: {lines:?}");
    Ok(lines.join(", "))
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pods, from the file's change to enrolled: p50 {:?}, p99 {:?}",
            self.len(),
            self.percentile(50),
            self.percentile(99)
        )
    }
}
