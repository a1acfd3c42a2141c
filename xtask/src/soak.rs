//! `cargo xtask soak`: all that can happen on a node, for as long as one likes.

use anyhow::{Result, bail};

use crate::{command, test, workspace};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// For how long things happen
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// The same things again; a run says which it was
    #[arg(long)]
    seed: Option<u64>,
}

impl Args {
    /// What has not been drawn before, most likely.
    pub(crate) fn minutes(minutes: u64) -> Self {
        Self {
            minutes,
            seed: None,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { minutes, seed } = args;
    if !workspace::is_root() {
        bail!("the agent under test loads BPF programs, which needs root");
    }
    test::prepare_kernel_tests()?;
    let mut soak = test::kernel_tests(Some("soak::"));
    soak.arg("--nocapture")
        .env("WAYSTEER_SOAK_SECONDS", (minutes * 60).to_string());
    if let Some(seed) = seed {
        soak.env("WAYSTEER_SOAK_SEED", seed.to_string());
    }
    command::run(&mut soak)
}
