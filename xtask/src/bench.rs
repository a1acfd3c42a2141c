//! `cargo xtask bench`: builds what is measured as it is released, then becomes the program that
//! measures.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// Of the benchmark without a subcommand.
const PARTS: [&str; 10] = [
    "leg",
    "passthrough",
    "plain",
    "local",
    "hbone",
    "inbound",
    "idle",
    "packets",
    "micro",
    "large",
];

#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    datapath: Datapath,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// What meshes of several sizes cost the agent: time, memory, map writes
    Scale(Scale),
}

/// Without a subcommand: what redirection costs connections and packets.
#[derive(Debug, Clone, clap::Args)]
struct Datapath {
    /// Fewer rounds, and less in each of them: under two minutes
    #[arg(long)]
    quick: bool,
    /// So many rounds [default: 21, or 5 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Programs over maps of a million workloads too; needs gigabytes
    #[arg(long)]
    million: bool,
    /// Only some parts
    #[arg(long, value_delimiter = ',', value_parser = PARTS)]
    only: Vec<String>,
    /// Print one JSON document instead of tables
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print tables in Markdown
    #[arg(long)]
    markdown: bool,
    /// Where the chart is written [default: target/bench.svg]
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Keep the ratios of this run in the repository, for later runs to be compared with
    #[arg(long)]
    keep: bool,
    /// Programs without optimization, which are built faster; what goes through tunnels is slow then
    #[arg(long)]
    debug: bool,
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
    let Args { what, datapath } = args;
    if !workspace::is_root() {
        bail!("the agent under test loads BPF programs, which needs root");
    }
    match what {
        None => measure_datapath(datapath),
        Some(What::Scale(args)) => scale(args),
    }
}

fn measure_datapath(args: &Datapath) -> Result<()> {
    let Datapath {
        quick,
        rounds,
        million,
        only,
        json,
        markdown,
        svg,
        keep,
        debug,
    } = args;
    let programs = ["waysteer", "hbone-peer", "waysteer-bench"].map(|name| ["--bin", name]);
    let binaries = build(programs.as_flattened(), *debug)?;
    let svg = match svg {
        Some(path) => path.clone(),
        None => workspace::target().join("bench.svg"),
    };
    let mut measure = Command::new(binaries.join("waysteer-bench"));
    measure
        .args(quick.then_some("--quick"))
        .args(json.then_some("--json"))
        .args(markdown.then_some("--markdown"))
        .args(keep.then_some("--keep"))
        .args(million.then_some("--million"))
        .arg("--svg")
        .arg(svg);
    if let Some(rounds) = rounds {
        measure.args(["--rounds", &rounds.to_string()]);
    }
    if !only.is_empty() {
        measure.args(["--only", &only.join(",")]);
    }
    become_program(measure)
}

fn scale(args: &Scale) -> Result<()> {
    let Scale {
        sizes,
        million,
        json,
        debug,
    } = args;
    let binaries = build(&["--bin", "waysteer", "--example", "scale"], *debug)?;
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let mut measure = Command::new(binaries.join("examples/scale"));
    measure
        .arg("--agent")
        .arg(binaries.join("waysteer"))
        .args(["--sizes", &sizes.join(",")])
        .args(million.then_some("--million"))
        .args(json.then_some("--json"));
    become_program(measure)
}

/// Builds programs and the kernel programs that the agent embeds; says where they are.
fn build(programs: &[&str], debug: bool) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running program's path")?;
    command::run(Command::new(&own).args(["build-ebpf", "--quiet"]))?;
    // No package is named, as for the demo; an example has the dependencies of tests.
    let mut build = command::cargo(["build"]);
    build.args(programs).args((!debug).then_some("--release"));
    command::run(&mut build)?;
    binaries(&own, if debug { "debug" } else { "release" })
}

/// In our place, so that Ctrl-C reaches nobody but the one who cleans up.
fn become_program(mut program: Command) -> Result<()> {
    let line = command::describe(&program);
    Err(program.exec()).with_context(|| format!("`{line}` could not be started"))
}

fn binaries(own: &Path, profile: &str) -> Result<PathBuf> {
    let profiles = own.parent().and_then(Path::parent);
    let profiles = profiles.context("xtask lies in cargo's target directory")?;
    Ok(profiles.join(profile))
}
