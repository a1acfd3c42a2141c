//! Wherever an agent was when it was killed, the next one completes what it finds.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};

use super::look::{self, Stage};

const PODS: [&str; 3] = ["client", "server", "other"];

/// A pod's pins, and its record's key as `bpftool` wants it.
struct Left {
    generation: PathBuf,
    records: PathBuf,
    links: PathBuf,
    key: Vec<String>,
}

fn left(bed: &Bed) -> Result<Left> {
    let generation = look::generation(bed)?;
    let cookie = bed.pod("client").netns.cookie()?;
    Ok(Left {
        links: generation.join("links/pods").join(cookie.to_string()),
        records: bed.pins.path().join("ENROLMENTS"),
        key: cookie.to_ne_bytes().iter().map(u8::to_string).collect(),
        generation,
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(())
}

fn ip(bed: &Bed, arguments: &str) -> Result<()> {
    let mut command = bed.pod("client").netns.command("ip");
    run(command.args(arguments.split(' ')))
}

type Damage = fn(&Bed, &Left) -> Result<()>;

/// What can be missing or left over when a step was the last.
const DAMAGE: [(&str, Damage); 9] = [
    ("nothing", |_, _| Ok(())),
    ("no links yet", |_, left| {
        Ok(fs::remove_dir_all(&left.links)?)
    }),
    ("one link is missing", |_, left| {
        let first = fs::read_dir(&left.links)?.next().context("a link")??;
        Ok(fs::remove_file(first.path())?)
    }),
    (
        "a link that was about to take another's place",
        |_, left| {
            let first = fs::read_dir(&left.links)?.next().context("a link")??;
            let mut new = first.path().into_os_string();
            new.push("+");
            Ok(fs::rename(first.path(), new)?)
        },
    ),
    ("no rules yet", |bed, _| {
        ip(bed, "rule del pref 100")?;
        ip(bed, "-6 rule del pref 101")?;
        ip(bed, "route flush table 100")
    }),
    ("the record is missing", |_, left| {
        let mut command = Command::new("bpftool");
        command.args(["map", "delete", "pinned"]).arg(&left.records);
        run(command.arg("key").args(&left.key))
    }),
    ("not in the maps yet", |bed, left| {
        let mut command = Command::new("bpftool");
        let pods = left.generation.join("maps/PODS");
        command.args(["map", "delete", "pinned"]).arg(pods);
        let cookie = bed.pod("client").netns.cookie()?;
        let key: Vec<String> = cookie.to_be_bytes().iter().map(u8::to_string).collect();
        run(command.arg("key").args(key))
    }),
    ("a cgroup link is missing", |_, left| {
        Ok(fs::remove_file(
            left.generation.join("links/cgroup/connect6"),
        )?)
    }),
    ("a program is not pinned", |_, left| {
        Ok(fs::remove_file(
            left.generation.join("programs/pod_ingress"),
        )?)
    }),
];

#[test]
fn every_step_is_completed_by_the_next_agent() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    let client = || &stage.bed.pod("client").netns;
    let redirection = look::redirection(client())?;
    look::check_whole(&stage.bed, &PODS)?;
    for (name, damage) in DAMAGE {
        let left = left(&stage.bed)?;
        let (links, hooks) = (
            look::links(&stage.bed)?,
            look::hooks(&stage.bed.pod("client").netns)?,
        );
        stage
            .restart(&[], |bed| damage(bed, &left).expect("what it does"))
            .with_context(|| name.to_owned())?;
        look::check_whole(&stage.bed, &PODS).with_context(|| name.to_owned())?;
        let after = look::hooks(&stage.bed.pod("client").netns)?;
        ensure!(
            after.iter().zip(&hooks).all(|(new, old)| new.1 != old.1),
            "{name}: the programs are the new agent's: {hooks:?} {after:?}"
        );
        let now = look::links(&stage.bed)?;
        let kept = links
            .iter()
            .filter(|(path, link)| now.get(*path).is_some_and(|now| now.id == link.id));
        // Those of other pods, at least.
        ensure!(kept.count() >= 6, "{name}: {links:#?} {now:#?}");
        ensure!(
            look::redirection(&stage.bed.pod("client").netns)? == redirection,
            "{name}"
        );
        let cookies = look::keys(&left.records)?;
        ensure!(cookies.len() == PODS.len(), "{name}: {cookies:?}");
        let generations = look::generations(&stage.bed)?;
        ensure!(generations == [left.generation], "{name}: {generations:?}");
        stage
            .check_flows("client")
            .with_context(|| name.to_owned())?;
    }
    // What was there before the first of them is put back by the last.
    stage.bed.stop_agent()?;
    ensure!(
        !stage.bed.pins.path().exists(),
        "{:?}",
        stage.bed.pins.list()?
    );
    for name in PODS {
        let netns = &stage.bed.pod(name).netns;
        ensure!(look::hooks(netns)?.is_empty(), "{name}");
        for (parameter, value) in [("tcp_fwmark_accept", "0"), ("conf/lo/accept_local", "0")] {
            let found = netns.sysctl(&format!("net/ipv4/{parameter}"))?;
            ensure!(found == value, "{name}: {parameter} {found}");
        }
    }
    Ok(())
}

#[test]
fn a_generation_without_links_is_no_obstacle() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    // As after a crash among the first steps: some maps, no program, no link.
    stage.restart(&[], |bed| {
        let generation = look::generation(bed).expect("one");
        fs::remove_dir_all(generation.join("links")).expect("its links");
        fs::remove_file(generation.join("maps/PODS")).expect("a map");
    })?;
    look::check_whole(&stage.bed, &PODS)?;
    stage.check_flows("client")
}

#[test]
fn a_second_agent_is_refused_and_does_no_harm() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    let before = look::links(&stage.bed)?;
    let first = stage.bed.agent.take().context("the agent")?;
    let socket = stage.bed.scratch.path().join("second.sock");
    let flags = ["--admin-listen=127.0.0.1:15031", "--admin-socket"];
    stage
        .bed
        .start_agent_with(&[flags[0], flags[1], &socket.to_string_lossy()])?;
    let mut second = stage.bed.agent.take().context("the second")?;
    let expected = format!("in use by another agent (process {})", first.id());
    second.wait_for_log(look::PATIENCE, &expected)?;
    // Nor does one that would have the same socket take it away.
    stage.bed.start_agent_with(&flags[..1])?;
    let mut third = stage.bed.agent.take().context("the third")?;
    third.wait_for_log(look::PATIENCE, "admin.sock for the admin pages")?;
    stage.bed.agent = Some(first);
    ensure!(look::links(&stage.bed)? == before);
    stage.check_flows("client")
}
