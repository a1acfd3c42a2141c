//! `waysteer cleanup` on a node where others have programs too, with ztunnel as the tunnel.

mod connections;
mod expedited;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::foreign::Everywhere;
use waysteer_tests::process::binary;
use waysteer_tests::traces::output;
use waysteer_tests::wait::wait_until;

use crate::lifecycle::stop::{differences, states, uncaptured};

const PATIENCE: Duration = Duration::from_secs(20);
const NOTHING: &str = "there is nothing of waysteer here";

#[test]
fn an_agent_that_runs() -> Result<()> {
    everything_goes(|_| Ok(()))
}

#[test]
fn an_agent_long_gone() -> Result<()> {
    everything_goes(|bed| {
        bed.kill_agent()?;
        // So is its tunnel.
        bed.ztunnels.clear();
        Ok(())
    })
}

#[test]
fn an_agent_and_a_pod_long_gone() -> Result<()> {
    everything_goes(|bed| {
        bed.kill_agent()?;
        bed.ztunnels.clear();
        bed.topology.node.remove_pod("other");
        Ok(())
    })
}

/// All of ours, from how it was before; and nothing else.
fn everything_goes(end: impl FnOnce(&mut Bed) -> Result<()>) -> Result<()> {
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        start_agent: false,
        ..Options::default()
    })?;
    let strangers = Everywhere::new(&bed.pod("client").netns)?;
    let pods = ["client", "server", "other"];
    let before = states(&bed, &pods)?;
    bed.start_agent()?;
    bed.start_ztunnel()?;
    bed.wait_until_ready()?;
    ensure!(states(&bed, &pods)? != before, "nothing was done");
    let made = pinned(&bed)?;
    ensure!(made.len() > 30, "{made:?}");

    end(&mut bed)?;
    let text = cleanup(&bed)?;
    ensure!(text.contains("removed"), "{text}");
    let left: Vec<&str> = bed
        .topology
        .node
        .pods
        .iter()
        .map(|pod| pod.name.as_str())
        .collect();
    let pods: Vec<&str> = pods.into_iter().filter(|pod| left.contains(pod)).collect();
    let before = &before[..pods.len()];
    let mut after = Vec::new();
    // A ztunnel closes a pod's ports after the agent has told it to.
    wait_until(PATIENCE, "the pods are as before", || {
        after = states(&bed, &pods).unwrap_or_default();
        after == before
    })
    .map_err(|error| error.context(differences(before, &after)))?;
    ensure!(!bed.pins.path().exists(), "{:?}", bed.pins.list()?);
    // Maps are held by whoever reads them, until it ends.
    let mut still = Vec::new();
    wait_until(PATIENCE, "programs, maps and links are gone", || {
        still = made.iter().filter(|object| is_there(object)).collect();
        still.is_empty()
    })
    .with_context(|| format!("{still:?}"))?;
    strangers.see("after", || uncaptured(&bed))?;
    let again = cleanup(&bed)?;
    ensure!(again.trim() == NOTHING, "{again}");
    Ok(())
}

fn cleanup(bed: &Bed) -> Result<String> {
    run_cleanup(bed, &[])
}

fn run_cleanup(bed: &Bed, flags: &[&str]) -> Result<String> {
    let mut command = Command::new(binary("waysteer")?);
    command.arg("cleanup").args(flags);
    command.arg("--pin-root").arg(bed.pins.path());
    command.arg("--socket").arg(bed.socket());
    output(command)
}

/// Kind and id of all that is pinned; maps and programs are known by the kernel under these.
fn pinned(bed: &Bed) -> Result<BTreeSet<(&'static str, u64)>> {
    let mut all = BTreeSet::new();
    for pin in bed.pins.list()? {
        let path = bed.pins.path().join(&pin);
        let text = pin.to_string_lossy();
        let kinds = [
            ("/maps/", "map"),
            ("/programs/", "prog"),
            ("/links/", "link"),
        ];
        let kind = kinds.into_iter().find(|(part, _)| text.contains(part));
        let Some((_, kind)) = kind.filter(|_| path.is_file()) else {
            continue;
        };
        let mut command = Command::new("bpftool");
        command.args(["--json", kind, "show", "pinned"]).arg(path);
        let shown: Value = serde_json::from_str(&output(command)?)?;
        all.insert((kind, shown["id"].as_u64().context("an id")?));
    }
    Ok(all)
}

fn is_there((kind, id): &(&'static str, u64)) -> bool {
    let mut command = Command::new("bpftool");
    command.args([kind, "show", "id"]).arg(id.to_string());
    command.output().is_ok_and(|shown| shown.status.success())
}
