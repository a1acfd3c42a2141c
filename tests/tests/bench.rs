//! That the benchmark runs, says what it should, and leaves nothing. What it measures is no test.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer::kernel::cgroup;
use waysteer_tests::process::{Scratch, binary};

/// The leg, by waysteer, by iptables and in a pod without agent, in every metric that is not of
/// agents.
const WAYS: usize = 3;
const METRICS: [&str; 7] = [
    "connect",
    "whole",
    "request",
    "bulk",
    "bulk16",
    "connections-own",
    "bytes-own",
];

#[test]
fn the_leg_is_measured_and_nothing_is_left() -> Result<()> {
    let scratch = Scratch::new()?;
    let chart = scratch.path().join("bench.svg");
    let mut command = Command::new(binary("waysteer-bench")?);
    command.args([
        "--quick",
        "--rounds",
        "1",
        "--only",
        "leg,packets",
        "--json",
    ]);
    command.arg("--svg").arg(&chart).stdout(Stdio::piped());
    let running = command.spawn()?;
    let process = running.id().to_string();
    let output = running.wait_with_output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let rows = report["rows"].as_array().context("rows")?;
    for metric in METRICS {
        let of_metric = rows.iter().filter(|row| row["metric"] == metric);
        let ratios: Vec<f64> = of_metric
            .filter_map(|row| row["ratio"][0].as_f64())
            .collect();
        ensure!(ratios.len() == WAYS, "{metric}: {ratios:?}");
        ensure!(
            ratios.iter().all(|ratio| *ratio > 0.0),
            "{metric}: {ratios:?}"
        );
    }
    // A request and its answer are one packet each, and run `lo_ingress` once each.
    let counted = report["tables"][0]["rows"].as_array().context("a table")?;
    let of_leg = counted.iter().find(|row| row[1] == "lo_ingress");
    let runs = of_leg.context("the program ran")?[4].as_str();
    ensure!(runs == Some("2.00"), "{runs:?} runs for a request");
    ensure!(fs::read_to_string(&chart)?.ends_with("</svg>\n"));

    let names = |directory: &Path| -> Result<Vec<String>> {
        let entries = fs::read_dir(directory)?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names
            .filter(|name| name.split('-').any(|part| part == process))
            .collect())
    };
    let root = cgroup::root(None)?;
    for directory in [&root, Path::new("/run/netns"), Path::new("/sys/fs/bpf")] {
        let left = names(directory)?;
        ensure!(left.is_empty(), "{}: {left:?}", directory.display());
    }
    Ok(())
}
