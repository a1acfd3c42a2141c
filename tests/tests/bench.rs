//! That the benchmark runs, says what it should, and leaves nothing. What it measures is no test.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer::kernel::cgroup;
use waysteer_tests::process::{Scratch, binary};

/// The leg, by waysteer, by iptables and in a pod without agent; Passthrough, what measuring is off
/// by, and what is in it.
const WAYS: [&str; 7] = [
    "application to listener, waysteer",
    "application to listener, iptables",
    "loopback, pod without agent",
    "Passthrough",
    "plain, from another pod",
    "rules and route alone, without agent",
    EMPTY,
];
const EMPTY: &str = "rules, route and empty programs, without agent";
/// Those that are not of agents.
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
fn ways_are_measured_and_nothing_is_left() -> Result<()> {
    let scratch = Scratch::new()?;
    let chart = scratch.path().join("bench.svg");
    let mut command = Command::new(binary("waysteer-bench")?);
    command.args([
        "--quick",
        "--rounds",
        "1",
        "--only",
        "leg,passthrough,packets",
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
        let ratios: Vec<(&str, f64)> = of_metric
            .filter_map(|row| Some((row["way"].as_str()?, row["ratio"][0].as_f64()?)))
            .collect();
        ensure!(
            ratios.iter().map(|(way, _)| *way).eq(WAYS),
            "{metric}: {ratios:?}"
        );
        ensure!(
            ratios.iter().all(|(_, ratio)| *ratio > 0.0),
            "{metric}: {ratios:?}"
        );
    }
    // A request and its answer are one packet each, and run `lo_ingress` once each.
    let counted = report["tables"][0]["rows"].as_array().context("a table")?;
    let ran = |way: &str, program: &str, column: usize| {
        let of_both = |row: &&Value| row[0] == way && row[1] == program;
        counted.iter().find(of_both).map(|row| row[column].clone())
    };
    let runs = ran(WAYS[0], "lo_ingress", 4);
    ensure!(
        runs == Some("2.00".into()),
        "{runs:?} runs for a request on the leg"
    );
    // Empty programs are on the hooks that the agent's are on, and the client under them.
    for (program, column) in [("connect4", 2), ("pod_ingress", 4), ("pod_egress", 4)] {
        let runs = ran(EMPTY, program, column);
        ensure!(
            runs == Some("1.00".into()),
            "{runs:?} runs of the empty {program}"
        );
        let ours = ran("Passthrough", program, column);
        ensure!(runs == ours, "{ours:?} runs of {program}");
    }
    ensure!(ran(EMPTY, "sock_ops", 2).is_some(), "no empty sock_ops ran");
    ensure!(ran(EMPTY, "lo_ingress", 2).is_none(), "it is not the leg");
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
