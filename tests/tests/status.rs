//! `waysteer status`, `flows` and `explain` as people and programs read them, with an agent and
//! without.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::process::binary;
use waysteer_tests::wait::wait_until;

/// Standard output and the exit status.
struct Said {
    text: String,
    errors: String,
    status: Option<i32>,
}

fn waysteer(bed: &Bed, arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new(binary("waysteer")?);
    command.args(arguments).arg("--socket").arg(bed.socket());
    let output = command.output().context("waysteer")?;
    Ok(Said {
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    })
}

/// With the bed's directory of pins.
fn status(bed: &Bed, arguments: &[&str]) -> Result<Said> {
    let root = bed.pins.path().to_string_lossy();
    let all = [&["status", "--pin-root", &root], arguments].concat();
    waysteer(bed, &all)
}

/// The row of a table that starts with this.
fn row<'a>(said: &'a Said, start: &str) -> Result<&'a str> {
    let mut lines = said.text.lines();
    let found = lines.find(|line| line.starts_with(start));
    found.with_context(|| format!("no line of {start} in {}", said.text))
}

#[test]
fn of_a_running_agent() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let said = status(&bed, &[])?;
    ensure!(said.status == Some(0), "{}{}", said.text, said.errors);
    ensure!(
        said.text.contains("complete snapshot, local pods known"),
        "{}",
        said.text
    );
    for pod in ["client", "server", "other"] {
        let row = row(&said, &format!("default/{pod} "))?;
        ensure!(row.contains("enrolled"), "{row}");
    }
    // No colours where no terminal is.
    ensure!(!said.text.contains('\u{1b}'), "{:?}", said.text);

    // Three pods, one link each; for all sockets of the node one.
    for (program, at) in [("connect6", "cgroup  1"), ("pod_egress", "device  3")] {
        let row = row(&said, program)?;
        ensure!(row.contains(at) && !row.contains("detached"), "{row}");
    }

    let said = status(&bed, &["client"])?;
    ensure!(said.status == Some(0), "{}", said.errors);
    let address = bed.address("client", true).to_string();
    ensure!(row(&said, "addresses")?.contains(&address), "{}", said.text);
    let said = status(&bed, &["client", "-o", "json"])?;
    let json: Value = serde_json::from_str(&said.text)?;
    ensure!(json["uid"] == "client", "{json}");
    let said = status(&bed, &["nobody"])?;
    ensure!(said.status == Some(1), "{}", said.text);
    ensure!(said.errors.contains("default/client"), "{}", said.errors);
    let said = status(&bed, &["-o", "json"])?;
    let json: Value = serde_json::from_str(&said.text)?;
    ensure!(json["source"]["synced"] == true, "{json}");

    let far = bed.address("far", false);
    let said = waysteer(&bed, &["explain", "default/client", &format!("{far}:8080")])?;
    ensure!(row(&said, "class")?.ends_with("Direct"), "{}", said.text);
    ensure!(
        row(&said, "reason")?.ends_with("WorkloadHbone"),
        "{}",
        said.text
    );
    ensure!(row(&said, "row")?.contains("8 of"), "{}", said.text);
    let said = waysteer(&bed, &["flows"])?;
    ensure!(said.status == Some(0), "{}", said.errors);
    Ok(())
}

#[test]
fn without_an_agent_the_kernel_is_looked_at() -> Result<()> {
    let mut bed = Bed::new(&Options::default())?;
    bed.kill_agent()?;
    let said = status(&bed, &[])?;
    ensure!(said.status == Some(3), "{:?}", said.status);
    ensure!(said.errors.contains("no agent answers"), "{}", said.errors);
    for pod in ["client", "server", "other"] {
        let row = row(&said, &format!("default/{pod} "))?;
        // The embedded tunnel went with the agent.
        ensure!(row.contains("captured") && row.contains("15001"), "{row}");
    }
    ensure!(row(&said, &bed.pins.path().to_string_lossy())?.contains("connect4"));
    ensure!(
        row(&said, "lo_ingress")?.contains("device  3"),
        "{}",
        said.text
    );

    // What is broken by hand is seen, and nothing is repaired.
    let client = &bed.pod("client").netns;
    let flushed = client
        .command("ip")
        .args(["rule", "del", "priority", "100"])
        .status()?;
    ensure!(flushed.success());
    bed.topology.node.remove_pod("other");
    for _ in 0..2 {
        let said = status(&bed, &[])?;
        let row_of = |pod: &str| row(&said, &format!("default/{pod} "));
        let client = row_of("client")?;
        ensure!(
            client.contains("drifted") && client.contains("IPv4 rule"),
            "{client}"
        );
        ensure!(row_of("server")?.contains("captured"), "{}", said.text);
        ensure!(row_of("other")?.contains("gone"), "{}", said.text);
    }
    let said = status(&bed, &["server", "-o", "json"])?;
    let json: Value = serde_json::from_str(&said.text)?;
    let pods = json["pinned"]["pods"].as_array().context("pods")?;
    ensure!(pods.len() == 1 && pods[0]["uid"] == "server", "{json}");
    ensure!(status(&bed, &["nobody"])?.status == Some(1));

    let said = waysteer(
        &bed,
        &["status", "--pin-root", "/sys/fs/bpf/waysteer-nowhere"],
    )?;
    ensure!(said.text.contains("nothing is pinned"), "{}", said.text);
    ensure!(said.status == Some(3), "{:?}", said.status);
    Ok(())
}

#[test]
fn what_is_logged_can_be_changed() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let said = waysteer(&bed, &["log"])?;
    ensure!(said.status == Some(0), "{}", said.errors);
    let before = said.text;
    let said = waysteer(&bed, &["log", "waysteer=nonsense"])?;
    ensure!(said.status == Some(1), "{}", said.text);
    ensure!(said.errors.contains("no filter"), "{}", said.errors);
    ensure!(waysteer(&bed, &["log"])?.text == before, "it has stayed");
    let said = waysteer(&bed, &["log", "info,waysteer::verdict=debug"])?;
    ensure!(
        said.text.contains("waysteer::verdict=debug"),
        "{}",
        said.text
    );
    ensure!(waysteer(&bed, &["log"])?.text == said.text);
    // The connection is refused by the node; its verdict is logged all the same.
    let to = SocketAddr::new(bed.address("far-plain", false), 9);
    let _ = Dial::new().connect(&bed.pod("client").netns, to);
    let log = bed.scratch.path().join("waysteer.log");
    wait_until(Duration::from_secs(20), "a verdict in the log", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("waysteer::verdict") && text.contains("told to log something else")
    })?;
    Ok(())
}
