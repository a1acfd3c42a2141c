//! `cargo xtask setup`: looks for what building and testing need, installs what is missing.
//!
//! Each need knows how to look for itself and how to install itself. Looking never changes
//! anything, so the command may be run any time and other commands ask the same questions.

mod apt;
mod machines;
mod needs;

use anyhow::{Result, bail};

use crate::vm::arch::Arch;
use needs::Need;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Also what only tests, fuzzing and the demo use: Envoy, g++
    #[arg(long)]
    with_tests: bool,
    /// Also what only `cargo xtask vm` uses: QEMU, the tools that lie in its machines, and
    /// what builds programs for arm64
    #[arg(long)]
    with_vm: bool,
    /// Only look; fails when something is missing
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(crate) fn with_tests() -> Self {
        Self {
            with_tests: true,
            with_vm: false,
            check: false,
        }
    }

    pub(crate) fn with_all() -> Self {
        Self {
            with_vm: true,
            ..Self::with_tests()
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut needs = needs::for_building();
    if args.with_tests {
        needs.extend(needs::for_testing());
    }
    if args.with_vm {
        needs.extend(machines::needs(&Arch::ALL));
    }
    let mut failed = Vec::new();
    for need in &needs {
        if let Err(problem) = provide(need, args.check) {
            eprintln!("{:<12} MISSING: {problem:#}", need.name);
            failed.push(need.name);
        }
    }
    if !failed.is_empty() {
        bail!("missing: {}", failed.join(", "));
    }
    Ok(())
}

/// Fails with what to do when something is missing that the kernel programs are built with.
pub(crate) fn require_for_building() -> Result<()> {
    require(&needs::for_building(), "cargo xtask setup")
}

/// The same for emulated machines.
pub(crate) fn require_for_machines(archs: &[Arch]) -> Result<()> {
    require(&machines::needs(archs), "cargo xtask setup --with-vm")
}

fn require(needs: &[Need], remedy: &str) -> Result<()> {
    let missing = needs.iter().filter(|need| (need.look)().is_none());
    let missing: Vec<&str> = missing.map(|need| need.name).collect();
    if !missing.is_empty() {
        bail!("missing: {}; run `{remedy}`", missing.join(", "));
    }
    Ok(())
}

fn provide(need: &Need, only_look: bool) -> Result<()> {
    if let Some(found) = (need.look)() {
        println!("{:<12} ok: {found}", need.name);
        return Ok(());
    }
    if only_look {
        bail!("run `cargo xtask setup`");
    }
    println!("{:<12} installing", need.name);
    (need.install)()?;
    match (need.look)() {
        Some(found) => println!("{:<12} ok: {found}", need.name),
        None => bail!("installed, and still not found"),
    }
    Ok(())
}
