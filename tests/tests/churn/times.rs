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

/// The same as the agent itself counts it: upper bounds, for it keeps a histogram.
pub(super) fn in_the_agent(bed: &Bed) -> Result<String> {
    let (_, metrics) = admin::get(&bed.socket(), "/metrics")?;
    let all = in_buckets(&metrics, "waysteer_enrol_seconds")?;
    let work = in_buckets(&metrics, "waysteer_enrol_work_seconds")?;
    Ok(format!(
        "from the first mention to enrolled: {all}; without waiting for others: {work}"
    ))
}

fn in_buckets(metrics: &str, name: &str) -> Result<String> {
    let buckets = format!("{name}_bucket{{le=\"");
    let mut bounds = Vec::new();
    for line in metrics.lines() {
        let bucket = line.strip_prefix(&buckets);
        if let Some((bound, count)) = bucket.and_then(|rest| rest.split_once("\"} ")) {
            bounds.push((bound, count.parse::<u64>()?));
        }
    }
    let count = bounds.last().with_context(|| format!("no {name}"))?.1;
    ensure!(count > 0, "no pod was ever enrolled: {bounds:?}");
    let at_most = |percent: u64| {
        let enough = (count * percent).div_ceil(100);
        let found = bounds.iter().find(|(_, count)| *count >= enough);
        found.map_or("?", |(bound, _)| *bound)
    };
    let (half, most) = (at_most(50), at_most(99));
    Ok(format!(
        "{count} pods, p50 at most {half} s, p99 at most {most} s ({bounds:?})"
    ))
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
