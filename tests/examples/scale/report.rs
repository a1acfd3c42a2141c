//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Written;
use crate::measure::Measured;

/// What a size of 100,000 workloads must keep to.
const BARS: [(&str, &str); 3] = [
    (SNAPSHOT, "3000"),
    (PEAK, "250"),
    (SINGLE_P99, "5.00 at any size"),
];
const SNAPSHOT: &str = "snapshot, ms";
const PEAK: &str = "agent memory, peak, MB";
const SINGLE_P99: &str = "one pod, p99, ms";

type Row = (&'static str, fn(&Measured) -> f64, usize);

/// Name, value, digits behind the point.
const ROWS: [Row; 20] = [
    ("services", |m| m.mesh.services() as f64, 0),
    (SNAPSHOT, |m| milliseconds(m.snapshot), 0),
    (
        "  agent's processor time, ms",
        |m| m.snapshot_processor * 1e3,
        0,
    ),
    ("  agent waited for one, ms", |m| m.snapshot_waited * 1e3, 0),
    (
        "  entries written",
        |m| m.snapshot_written.entries as f64,
        0,
    ),
    (
        "  map writing calls",
        |m| m.snapshot_written.syscalls as f64,
        0,
    ),
    (PEAK, |m| megabytes(m.peak), 1),
    ("agent memory afterwards, MB", |m| megabytes(m.resident), 1),
    ("kernel memory of maps, MB", |m| megabytes(m.kernel), 1),
    ("one pod, p50, ms", |m| milliseconds(at(&m.single, 50)), 2),
    (SINGLE_P99, |m| milliseconds(at(&m.single, 99)), 2),
    (
        "  entries written",
        |m| each(m.single_written.entries, m.single.len()),
        2,
    ),
    (
        "  map writing calls",
        |m| each(m.single_written.syscalls, m.single.len()),
        2,
    ),
    ("rollout, pods", |m| m.rollout_pods as f64, 0),
    (
        "  ms a pod",
        |m| milliseconds(m.rollout) / m.rollout_pods as f64,
        3,
    ),
    (
        "  entries written a pod",
        |m| each(m.rollout_written.entries, m.rollout_pods),
        2,
    ),
    (
        "another waypoint, workloads",
        |m| m.waypoint_workloads as f64,
        0,
    ),
    (
        "  µs a workload",
        |m| milliseconds(m.waypoint) * 1e3 / m.waypoint_workloads as f64,
        1,
    ),
    (
        "  entries written a workload",
        |m| each(m.waypoint_written.entries, m.waypoint_workloads),
        2,
    ),
    (
        "  map writing calls",
        |m| m.waypoint_written.syscalls as f64,
        0,
    ),
];

/// One column a size, the bars of 100,000, and how the largest compares with the smallest.
pub(crate) fn table(all: &[Measured]) -> String {
    let mut text = format!("{:<32}", "workloads");
    for measured in all {
        let _ = write!(text, "{:>12}", measured.mesh.workloads);
    }
    let (first, last) = (all.first(), all.last());
    let grows = first.zip(last).map_or(1.0, |(first, last)| {
        last.mesh.workloads as f64 / first.mesh.workloads as f64
    });
    let _ = writeln!(text, "{:>12}  bar (100000)", format!("×{grows:.0}"));
    for (name, value, digits) in ROWS {
        let _ = write!(text, "{name:<32}");
        for measured in all {
            let _ = write!(text, "{:>12.digits$}", value(measured));
        }
        let ratio = first
            .zip(last)
            .map(|(first, last)| value(last) / value(first));
        let ratio = ratio.filter(|ratio| ratio.is_finite());
        let ratio = ratio.map_or(String::new(), |ratio| format!("×{ratio:.1}"));
        let bar = BARS.iter().find(|(of, _)| *of == name);
        let bar = bar.map_or(String::new(), |(_, bar)| format!("≤ {bar}"));
        let _ = writeln!(text, "{ratio:>12}  {bar}");
    }
    text
}

pub(crate) fn json(all: &[Measured]) -> Value {
    let sizes = all.iter().map(|m| {
        json!({
            "workloads": m.mesh.workloads,
            "services": m.mesh.services(),
            "snapshot": {
                "milliseconds": milliseconds(m.snapshot),
                "processor_milliseconds": m.snapshot_processor * 1e3,
                "waited_milliseconds": m.snapshot_waited * 1e3,
                "written": written(m.snapshot_written),
            },
            "memory_kilobytes": { "peak": m.peak, "afterwards": m.resident, "maps": m.kernel },
            "one_pod": {
                "changes": m.single.len(),
                "p50_milliseconds": milliseconds(at(&m.single, 50)),
                "p99_milliseconds": milliseconds(at(&m.single, 99)),
                "written": written(m.single_written),
            },
            "rollout": {
                "pods": m.rollout_pods,
                "milliseconds": milliseconds(m.rollout),
                "written": written(m.rollout_written),
            },
            "waypoint": {
                "workloads": m.waypoint_workloads,
                "milliseconds": milliseconds(m.waypoint),
                "written": written(m.waypoint_written),
            },
        })
    });
    Value::Array(sizes.collect())
}

fn written(written: Written) -> Value {
    let Written { entries, syscalls } = written;
    json!({ "entries": entries, "syscalls": syscalls })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1024.0
}

fn each(count: u64, of: usize) -> f64 {
    count as f64 / of as f64
}

/// A percentile of what is in order.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}
