//! `waysteer cleanup`: all of ours goes, and nothing else, whoever runs or does not.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::process::binary;

use super::look::{self, PORT, Stage};

const PODS: [&str; 3] = ["client", "server", "other"];

struct Cleaned {
    is_success: bool,
    text: String,
}

fn cleanup(bed: &Bed, flags: &[&str]) -> Result<Cleaned> {
    let mut command = Command::new(binary("waysteer")?);
    command
        .arg("cleanup")
        .arg("--pin-root")
        .arg(bed.pins.path());
    command.arg("--socket").arg(bed.socket()).args(flags);
    let output = command.output().context("waysteer cleanup")?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Cleaned {
        is_success: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// How pods were before any agent.
fn untouched(bed: &Bed) -> Result<Vec<Vec<String>>> {
    let states = PODS
        .iter()
        .map(|pod| look::redirection(&bed.pod(pod).netns));
    states.collect()
}

fn check_gone(bed: &Bed, before: &[Vec<String>]) -> Result<()> {
    ensure!(!bed.pins.path().exists(), "{:?}", bed.pins.list()?);
    ensure!(!bed.socket().exists(), "the socket");
    ensure!(untouched(bed)? == before, "{:?}", untouched(bed)?);
    for pod in PODS {
        let hooks = look::hooks(&bed.pod(pod).netns)?;
        ensure!(hooks.is_empty(), "{pod}: {hooks:?}");
        // Uncaptured, and at work.
        let plain = (bed.address("far-plain", true), PORT).into();
        look::ask(bed, pod, plain)?;
    }
    let again = cleanup(bed, &[])?;
    ensure!(again.is_success, "{}", again.text);
    ensure!(
        again.text.trim() == "there is nothing of waysteer here",
        "{}",
        again.text
    );
    // The remote node's agent is another one, with a directory beside ours.
    ensure!(bed.remote_pins.path().exists());
    let far = look::hooks(&bed.pod("far").netns)?;
    ensure!(far.len() == 3, "{far:?}");
    let rules = look::redirection(&bed.pod("far").netns)?;
    ensure!(rules.iter().any(|rule| rule.contains("0x57e")), "{rules:?}");
    Ok(())
}

fn stage() -> Result<(Stage, Vec<Vec<String>>)> {
    let mut stage = Stage::new(&Options {
        start_agent: false,
        extra: "on_stop = \"leave\"".to_owned(),
        ..Options::default()
    })?;
    let before = untouched(&stage.bed)?;
    stage.bed.start_agent()?;
    stage.bed.wait_until_ready()?;
    ensure!(untouched(&stage.bed)? != before);
    Ok((stage, before))
}

/// A line for each link, rule and so on.
fn check_lines(text: &str, verb: &str) -> Result<()> {
    let count = |words: &[&str]| {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(has_all).count()
    };
    for (words, expected) in [
        (&[verb, "link ", "links/cgroup"][..], 5),
        (&[verb, "link ", "pod_egress", "of pod default/client"], 1),
        (&[verb, "program "], 9),
        (&[verb, "map ", "maps/PODS"], 1),
        (&[verb, "rule", "of pod default/client"], 4),
        (&[verb, "route", "of pod default/client"], 2),
        (&[verb, "sysctl", "of pod default/server"], 5),
        (&[verb, "records"], 1),
    ] {
        ensure!(
            count(words) == expected,
            "{} for {words:?} in {text}",
            count(words)
        );
    }
    Ok(())
}

#[test]
fn a_running_agent_undoes_everything_and_ends() -> Result<()> {
    let (mut stage, before) = stage()?;
    let links = look::links(&stage.bed)?;
    let dry = cleanup(&stage.bed, &["--dry-run"])?;
    ensure!(dry.is_success, "{}", dry.text);
    check_lines(&dry.text, "would remove")?;
    ensure!(look::links(&stage.bed)? == links, "only said");
    let cleaned = cleanup(&stage.bed, &[])?;
    ensure!(cleaned.is_success, "{}", cleaned.text);
    check_lines(&cleaned.text, "removed")?;
    let mut agent = stage.bed.agent.take().context("the agent")?;
    agent.wait_until(look::PATIENCE, "it ends", |_| false).ok();
    ensure!(!agent.is_running());
    check_gone(&stage.bed, &before)
}

#[test]
fn what_a_killed_agent_has_left_goes_by_the_pins() -> Result<()> {
    let (mut stage, before) = stage()?;
    stage.bed.kill_agent()?;
    let cleaned = cleanup(&stage.bed, &["--json"])?;
    ensure!(cleaned.is_success, "{}", cleaned.text);
    let outcome: serde_json::Value = serde_json::from_str(&cleaned.text)?;
    ensure!(outcome["left"] == serde_json::json!([]), "{outcome}");
    let removed = outcome["removed"].as_array().context("a list")?;
    let links = removed.iter().filter(|item| item["kind"] == "link");
    ensure!(links.count() == 14, "{outcome}");
    let socket = stage.bed.socket().display().to_string();
    let is_socket = |item: &serde_json::Value| item["kind"] == "socket" && item["what"] == socket;
    ensure!(removed.iter().any(is_socket), "{outcome}");
    check_gone(&stage.bed, &before)
}

#[test]
fn rules_that_nobody_has_written_down_are_found() -> Result<()> {
    let (mut stage, before) = stage()?;
    stage.bed.kill_agent()?;
    // As after somebody has emptied the bpf file system.
    std::fs::remove_dir_all(stage.bed.pins.path())?;
    let client = &stage.bed.pod("client").netns;
    waysteer_tests::wait::wait_until(look::PATIENCE, "the links end", || {
        look::hooks(client).is_ok_and(|hooks| hooks.is_empty())
    })?;
    ensure!(untouched(&stage.bed)? != before);
    let cleaned = cleanup(&stage.bed, &[])?;
    ensure!(cleaned.is_success, "{}", cleaned.text);
    let rules = cleaned.text.lines().filter(|line| line.contains("rule"));
    ensure!(rules.count() >= 3 * 4, "{}", cleaned.text);
    check_gone(&stage.bed, &before)
}

#[test]
fn pods_that_are_gone_leave_nothing() -> Result<()> {
    let (mut stage, _) = stage()?;
    stage.bed.kill_agent()?;
    for pod in PODS {
        stage.bed.topology.node.remove_pod(pod);
    }
    let cleaned = cleanup(&stage.bed, &[])?;
    ensure!(cleaned.is_success, "{}", cleaned.text);
    ensure!(
        !stage.bed.pins.path().exists(),
        "{:?}",
        stage.bed.pins.list()?
    );
    let again = cleanup(&stage.bed, &[])?;
    ensure!(
        again.text.trim() == "there is nothing of waysteer here",
        "{}",
        again.text
    );
    Ok(())
}
