//! Upgrades to programs with other code, other maps, and another ABI.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::Options;
use waysteer_tests::dial::Dial;
use waysteer_tests::peers::{Server, Service};

use super::look::{self, PATIENCE, Stage};

const PODS: [&str; 3] = ["client", "server", "other"];
const STREAM: u16 = 9090;

/// The same programs built in another way, see CONTRIBUTING.md.
fn object(variant: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/bpf")
        .join(format!("waysteer-{variant}.o"));
    ensure!(
        path.exists(),
        "{} is missing: `cargo xtask build-ebpf --variant {variant}`",
        path.display()
    );
    Ok(path.to_string_lossy().into_owned())
}

fn left_on_stop() -> Options {
    Options {
        extra: "on_stop = \"leave\"".to_owned(),
        ..Options::default()
    }
}

/// A connection past the tunnel, which no restart of an agent may touch.
fn stream(stage: &Stage) -> Result<(Server, std::net::TcpStream)> {
    let far = stage.bed.pod("far-plain");
    let server = Server::start(&far.netns, "stream", STREAM, Service::Echo)?;
    let to = (stage.bed.address("far-plain", true), STREAM).into();
    let dial = Dial::new().timeout(PATIENCE);
    let connection = dial.connect(&stage.bed.pod("client").netns, to)?;
    Ok((server, connection.stream))
}

fn echo(mut stream: &std::net::TcpStream) -> Result<()> {
    stream.write_all(b"still there?")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"still there?");
    Ok(())
}

fn program_ids(stage: &Stage) -> Result<Vec<u32>> {
    Ok(look::links(&stage.bed)?
        .values()
        .map(|link| link.program)
        .collect())
}

#[test]
fn other_code_runs_on_the_same_links_and_maps() -> Result<()> {
    let mut stage = Stage::new(&left_on_stop())?;
    let (_server, connection) = stream(&stage)?;
    let generation = look::generation(&stage.bed)?;
    let variant = object("code")?;
    let flags = ["--object", variant.as_str()];
    for flags in [&flags[..], &[]] {
        let (links, ids) = (look::links(&stage.bed)?, program_ids(&stage)?);
        stage.bed.stop_agent()?;
        ensure!(
            look::links(&stage.bed)? == links,
            "a stop leaves what there is"
        );
        stage.bed.start_agent_with(flags)?;
        stage.bed.wait_until_ready()?;
        look::check_whole(&stage.bed, &PODS)?;
        let now = look::links(&stage.bed)?;
        for (path, link) in &links {
            ensure!(
                now.get(path).is_some_and(|now| now.id == link.id),
                "{path:?}"
            );
        }
        let after = program_ids(&stage)?;
        ensure!(
            ids.iter().all(|id| !after.contains(id)),
            "{ids:?} {after:?}"
        );
        ensure!(look::generation(&stage.bed)? == generation);
        stage.check_flows("client")?;
        echo(&connection)?;
    }
    Ok(())
}

/// What is pinned of maps, by name, as the kernel's ids.
fn map_id(path: &Path) -> Result<String> {
    let mut command = std::process::Command::new("bpftool");
    command.args(["--json", "map", "show", "pinned"]).arg(path);
    let map: serde_json::Value = serde_json::from_str(&look::output(command)?)?;
    Ok(map["id"].to_string())
}

#[test]
fn other_maps_take_over_when_they_hold_a_whole_mesh() -> Result<()> {
    let mut stage = Stage::new(&left_on_stop())?;
    let (_server, connection) = stream(&stage)?;
    let old = look::generation(&stage.bed)?;
    let mesh = stage.bed.scratch.path().join("mesh.yaml");
    let text = fs::read_to_string(&mesh)?;
    let before = look::links(&stage.bed)?;
    let sockets = map_id(&old.join("maps/SOCKETS"))?;

    stage.bed.kill_agent()?;
    fs::remove_file(&mesh)?;
    let variant = object("layout")?;
    stage.bed.start_agent_with(&["--object", &variant])?;
    look::wait_for_pods(&stage.bed, &["client", "other", "server"])?;
    // Nothing is known yet that the new maps could say: the old ones are in charge.
    let generations = look::generations(&stage.bed)?;
    ensure!(generations.len() == 2, "{generations:?}");
    let meanwhile = look::links(&stage.bed)?;
    for (path, link) in &before {
        ensure!(meanwhile.get(path) == Some(link), "{path:?} {meanwhile:#?}");
    }
    let plain = (stage.bed.address("far-plain", false), look::PORT).into();
    look::ask(&stage.bed, "client", plain)?;
    echo(&connection)?;

    stage.bed.write_mesh(&text)?;
    stage.bed.wait_until_ready()?;
    let is_alone = || look::generations(&stage.bed).is_ok_and(|all| all.len() == 1);
    waysteer_tests::wait::wait_until(PATIENCE, "the old maps are gone", is_alone)?;
    let new = look::generation(&stage.bed)?;
    ensure!(new != old, "{new:?}");
    look::check_whole(&stage.bed, &PODS)?;
    ensure!(
        map_id(&new.join("maps/SOCKETS"))? == sockets,
        "what sockets remember"
    );
    let after = look::links(&stage.bed)?;
    let pods = |links: &std::collections::BTreeMap<PathBuf, waysteer::kernel::link::LinkInfo>| {
        let pods = links
            .iter()
            .filter(|(path, _)| path.iter().any(|part| part == "pods"));
        pods.map(|(_, link)| link.id).collect::<Vec<u32>>()
    };
    ensure!(pods(&before) == pods(&after), "{before:#?} {after:#?}");
    stage.check_flows("client")?;
    echo(&connection)?;

    // And back, with the source at hand.
    stage.restart(&[], |_| ())?;
    waysteer_tests::wait::wait_until(PATIENCE, "the old maps are gone", || {
        look::generation(&stage.bed).is_ok_and(|now| now != new)
    })?;
    look::check_whole(&stage.bed, &PODS)?;
    stage.check_flows("client")?;
    echo(&connection)
}

#[test]
fn pins_of_another_abi_are_replaced_wherever_the_move_was_broken_off() -> Result<()> {
    let mut stage = Stage::new(&left_on_stop())?;
    let (_server, connection) = stream(&stage)?;
    let whole = look::generation(&stage.bed)?;
    let cookie = stage.bed.pod("client").netns.cookie()?.to_string();
    let before = look::links(&stage.bed)?;
    // Everything is an older version's; then also with one link moved already.
    for half in [false, true] {
        stage.restart(&[], |bed| {
            let old = bed.pins.path().join("v0");
            fs::rename(&whole, &old).expect("another ABI");
            if half {
                let from = old.join("links/pods").join(&cookie);
                let to = whole.join("links/pods").join(&cookie);
                fs::create_dir_all(&to).expect("a directory");
                let link = fs::read_dir(&from).expect("links").next();
                let link = link.expect("a link").expect("a link").file_name();
                fs::rename(from.join(&link), to.join(&link)).expect("a move");
            }
        })?;
        let is_alone = || look::generations(&stage.bed).is_ok_and(|all| all.len() == 1);
        waysteer_tests::wait::wait_until(PATIENCE, "the old maps are gone", is_alone)?;
        look::check_whole(&stage.bed, &PODS).with_context(|| format!("half: {half}"))?;
        stage.check_flows("client")?;
        echo(&connection)?;
        if half {
            // The name was taken by what was moved.
            ensure!(look::generation(&stage.bed)? != whole);
        } else {
            ensure!(look::generation(&stage.bed)? == whole);
            let after = look::links(&stage.bed)?;
            for (path, link) in &before {
                let is_same = after.get(path).is_some_and(|now| now.id == link.id);
                let is_cgroup = path.iter().any(|part| part == "cgroup");
                ensure!(is_same || is_cgroup, "{path:?}");
            }
        }
    }
    Ok(())
}
