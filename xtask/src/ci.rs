//! `cargo xtask ci`: what a change must pass, cheap first; stops at the first failure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{build_ebpf, command, fuzz, setup, test, tidy};

#[derive(Debug, Clone, clap::Args)]
// The flattened arguments are a group of the same name.
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    test: test::Args,
    /// For how long each fuzz target runs
    #[arg(long, default_value_t = 25)]
    fuzz_seconds: u32,
}

type Step<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(args: &Args) -> Result<()> {
    let steps: Vec<Step<'_>> = vec![
        // Before anything is built: on a fresh machine the linker of the kernel programs is missing.
        ("setup", Box::new(|| setup::run(&setup::Args::with_tests()))),
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
            Box::new(|| fuzz::run(&fuzz::Args::seconds(args.fuzz_seconds))),
        ),
        ("test", Box::new(|| test::run(&args.test))),
    ];
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

fn cargo<'a>(arguments: &'a [&'a str]) -> Box<dyn Fn() -> Result<()> + 'a> {
    Box::new(move || command::run(&mut command::cargo(arguments)))
}

fn seconds(time: Duration) -> String {
    format!("{:>7.1} s", time.as_secs_f64())
}
