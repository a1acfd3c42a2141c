//! `cargo xtask bench`: builds what is measured as it is released, then becomes the program that
//! measures.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// What meshes of several sizes cost the agent: time, memory, map writes
    Scale(Scale),
}

#[derive(Debug, Clone, clap::Args)]
struct Scale {
    /// Numbers of workloads
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    /// A million workloads too; takes minutes and gigabytes
    #[arg(long)]
    million: bool,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Programs without optimization, which are built faster; times mean nothing then
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { what } = args;
    match what {
        What::Scale(args) => scale(args),
    }
}

fn scale(args: &Scale) -> Result<()> {
    let Scale {
        sizes,
        million,
        json,
        debug,
    } = args;
    if !workspace::is_root() {
        bail!("the agent under test loads BPF programs, which needs root");
    }
    let own = std::env::current_exe().context("the running program's path")?;
    command::run(Command::new(&own).args(["build-ebpf", "--quiet"]))?;
    // No package is named, as for the demo; an example has the dependencies of tests.
    let mut build = command::cargo(["build", "--bin", "waysteer", "--example", "scale"]);
    command::run(build.args((!debug).then_some("--release")))?;
    let profile = if *debug { "debug" } else { "release" };
    let binaries = binaries(&own, profile)?;
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let mut measure = Command::new(binaries.join("examples/scale"));
    measure
        .arg("--agent")
        .arg(binaries.join("waysteer"))
        .args(["--sizes", &sizes.join(",")])
        .args(million.then_some("--million"))
        .args(json.then_some("--json"));
    // In our place, so that Ctrl-C reaches nobody but the one who cleans up.
    Err(measure.exec()).with_context(|| format!("{} could not be started", binaries.display()))
}

fn binaries(own: &Path, profile: &str) -> Result<PathBuf> {
    let profiles = own.parent().and_then(Path::parent);
    let profiles = profiles.context("xtask lies in cargo's target directory")?;
    Ok(profiles.join(profile))
}
