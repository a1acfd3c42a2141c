//! `cargo xtask fuzz`: tries what comes from outside with bytes that nobody has thought of.
//!
//! The targets are linked with libFuzzer and built with the coverage instrumentation of LLVM, for
//! which the stable compiler has all flags; cargo-fuzz is not needed.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

const TARGETS: [&str; 3] = ["packet", "mesh", "xds"];

/// What libFuzzer asks the compiler for.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// An input that takes longer is a failure.
const SLOWEST_SECONDS: u32 = 20;
const MOST_MEGABYTES: u32 = 2048;
/// Of a failure, to be shown.
const LAST_LINES: usize = 40;

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// For how long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// Only these inputs, once each: a failure again
    #[arg(last = true)]
    inputs: Vec<PathBuf>,
}

impl Args {
    /// Each target for a while.
    pub(crate) fn seconds(seconds: u32) -> Self {
        Self {
            seconds,
            target: None,
            inputs: Vec::new(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let host = host()?;
    let chosen = args.target.as_deref();
    let targets = TARGETS
        .into_iter()
        .filter(|name| chosen.is_none_or(|only| only == *name));
    let output = workspace::target().join("fuzz");
    let mut build = command::cargo(["build", "--locked", "--bins", "--target", &host]);
    build
        .current_dir(directory())
        // Build scripts and macros are not instrumented: that is what naming the target does.
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &output);
    command::run(&mut build)?;
    for target in targets {
        let program = output.join(&host).join("debug").join(target);
        if args.inputs.is_empty() {
            fuzz(target, Command::new(program), args.seconds)?;
        } else {
            command::run(Command::new(program).args(&args.inputs))?;
        }
    }
    Ok(())
}

/// Whether the targets are formatted; the workspace does not know them.
pub(crate) fn fmt() -> Result<()> {
    command::run(command::cargo(["fmt", "--check"]).current_dir(directory()))
}

fn fuzz(target: &str, mut program: Command, seconds: u32) -> Result<()> {
    let corpus = workspace::target().join("fuzz/corpus").join(target);
    let failures = workspace::target().join("fuzz/failures").join(target);
    for directory in [&corpus, &failures] {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} could not be made", directory.display()))?;
    }
    program
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOWEST_SECONDS}"))
        .arg(format!("-rss_limit_mb={MOST_MEGABYTES}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg("-print_final_stats=1")
        .env("WAYSTEER_SEEDS", &corpus);
    // It has a lot to say, of which little matters as long as nothing fails.
    let path = workspace::target().join(format!("fuzz/{target}.log"));
    let log = File::create(&path).with_context(|| format!("{} is no file", path.display()))?;
    let run = command::run(program.stderr(log));
    let said =
        std::fs::read(&path).with_context(|| format!("{} could not be read", path.display()))?;
    let said = String::from_utf8_lossy(&said);
    if let Err(error) = run {
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.len().saturating_sub(LAST_LINES);
        bail!(
            "{}\n{error:#}: the input is in {}; `cargo xtask fuzz {target} -- FILE` runs it again",
            lines[last..].join("\n"),
            failures.display()
        );
    }
    let tried = said.lines().filter(|line| line.starts_with("stat::"));
    println!("{target}: {}", tried.collect::<Vec<_>>().join(", "));
    Ok(())
}

fn directory() -> PathBuf {
    workspace::root().join("fuzz")
}

fn host() -> Result<String> {
    let about = command::output("rustc", &["-vV"]).context("rustc does not answer")?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}
