//! `cargo xtask ci`: what a change must pass, cheap first; stops at the first failure. `--weekly` goes
//! on with what takes longer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{build_ebpf, command, fuzz, setup, soak, test, tidy, vm};

/// For how long each fuzz target runs, and in the week's run.
const FUZZ_SECONDS: u32 = 25;
const WEEKLY_FUZZ_SECONDS: u32 = 200;
const WEEKLY_SOAK_MINUTES: u64 = 10;
/// New connections that each test of the life-cycle sees in the week's run, at least.
const WEEKLY_LOAD: &str = "10000";

#[derive(Debug, Clone, clap::Args)]
// The flattened arguments are a group of the same name.
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    test: test::Args,
    /// For how long each fuzz target runs: 25, with `--weekly` 200
    #[arg(long)]
    fuzz_seconds: Option<u32>,
    /// Also what takes longer: fuzzing and everything that can happen on a node for ten minutes, each
    /// test of the life-cycle under 10,000 connections, and all kernels in emulated machines
    #[arg(long, conflicts_with_all = ["host_only", "filter"])]
    weekly: bool,
}

type Step<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args {
        test,
        fuzz_seconds,
        weekly,
    } = args;
    let usual = if *weekly {
        WEEKLY_FUZZ_SECONDS
    } else {
        FUZZ_SECONDS
    };
    let fuzz_seconds = fuzz_seconds.unwrap_or(usual);
    let mut steps: Vec<Step<'_>> = vec![
        // Before anything is built: on a fresh machine the linker of the kernel programs is missing.
        (
            "setup",
            Box::new(|| {
                setup::run(&match weekly {
                    true => setup::Args::with_all(),
                    false => setup::Args::with_tests(),
                })
            }),
        ),
        ("fmt", cargo(&["fmt", "--all", "--check"])),
        ("fmt, fuzz", Box::new(fuzz::fmt)),
        (
            "clippy, host",
            cargo(&[
                "clippy",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        ("clippy, bpf", Box::new(build_ebpf::clippy)),
        ("tidy", Box::new(tidy::run)),
        (
            "doc",
            Box::new(|| {
                command::run(
                    command::cargo(["doc", "--no-deps", "--document-private-items"])
                        .env("RUSTDOCFLAGS", "-D warnings"),
                )
            }),
        ),
        (
            "fuzz",
            Box::new(move || fuzz::run(&fuzz::Args::seconds(fuzz_seconds))),
        ),
        ("test", Box::new(|| test::run(test))),
    ];
    if *weekly {
        steps.extend(weekly_steps());
    }
    let mut times = Vec::new();
    for (name, step) in &steps {
        println!("==== {name}");
        let start = Instant::now();
        step().with_context(|| format!("ci stopped at: {name}"))?;
        times.push((*name, start.elapsed()));
    }
    println!("==== all steps passed");
    for (name, time) in &times {
        println!("{name:<14} {}", seconds(*time));
    }
    Ok(())
}

fn weekly_steps() -> [Step<'static>; 3] {
    [
        (
            "life-cycle",
            Box::new(|| {
                let mut tests = test::kernel_tests(Some("lifecycle::"));
                command::run(tests.env("WAYSTEER_LOAD", WEEKLY_LOAD))
            }),
        ),
        (
            "soak",
            Box::new(|| soak::run(&soak::Args::minutes(WEEKLY_SOAK_MINUTES))),
        ),
        ("vm", Box::new(|| vm::run(&vm::Args::all()))),
    ]
}

fn cargo<'a>(arguments: &'a [&'a str]) -> Box<dyn Fn() -> Result<()> + 'a> {
    Box::new(move || command::run(&mut command::cargo(arguments)))
}

fn seconds(time: Duration) -> String {
    format!("{:>7.1} s", time.as_secs_f64())
}
