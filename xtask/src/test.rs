//! `cargo xtask test`: the host tests, then, as root, the kernel tests.

mod count;

use anyhow::{Result, bail};

use crate::build_ebpf::{self, Variant};
use crate::{command, setup, workspace};
use count::Count;

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Without the kernel tests, which need root
    #[arg(long)]
    host_only: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let with_kernel = !args.host_only && workspace::is_root();
    if with_kernel {
        // First, because some of the agent's own tests load the programs where they may.
        prepare_kernel_tests()?;
    }
    let mut total = Count::default();
    total += count::run(&mut host_tests(args.filter.as_deref()))?;
    let left_out = if args.host_only {
        Some("kernel tests left out: --host-only")
    } else if with_kernel {
        total += count::run(&mut kernel_tests(args.filter.as_deref()))?;
        None
    } else {
        Some("kernel tests left out: they need root (run as root, or say --host-only)")
    };
    if let Some(reason) = left_out {
        println!("{reason}");
    }
    println!("{total}");
    if !total.is_success() {
        bail!("tests failed");
    }
    if left_out.is_some() && !args.host_only {
        bail!("not all tests were run");
    }
    Ok(())
}

fn host_tests(filter: Option<&str>) -> std::process::Command {
    let mut cargo = command::cargo(["test", "--no-fail-fast"]);
    cargo.args(filter);
    cargo
}

/// The kernel tests stand behind a feature, so that a plain `cargo test` works without root. They
/// share the cgroup root and the pins, so they run one after the other.
///
/// No package is named here or above: cargo would choose other features for the dependencies of
/// each choice of packages, and build them again.
pub(crate) fn kernel_tests(filter: Option<&str>) -> std::process::Command {
    let mut cargo = command::cargo(["test", "--no-fail-fast", "--test", "kernel"]);
    cargo
        .args(["--features", "waysteer-tests/kernel"])
        .args(filter)
        .args(["--", "--test-threads=1"]);
    cargo
}

/// What the kernel tests start: the programs, the agent, the HBONE peer, Envoy and the benchmark.
pub(crate) fn prepare_kernel_tests() -> Result<()> {
    setup::run(&setup::Args::with_tests())?;
    for variant in [Variant::Code, Variant::Layout] {
        build_ebpf::run(&build_ebpf::Args::variant(variant))?;
    }
    // Also counts what the verifier walks, which has a budget.
    build_ebpf::run(&build_ebpf::Args::default())?;
    let binaries = [
        "waysteer",
        "hbone-peer",
        "waysteer-stand-in",
        "waysteer-bench",
    ]
    .map(|name| ["--bin", name]);
    let binaries = binaries.as_flattened();
    command::run(command::cargo(["build"]).args(binaries))
}
