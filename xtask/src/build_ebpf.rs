//! `cargo xtask build-ebpf`: the kernel programs, for the bpf target, with BTF.

mod sections;
mod verified;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, setup, workspace};

const TARGET: &str = "bpfel-unknown-none";

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Only builds; no table of sections, no loading
    #[arg(long)]
    quiet: bool,
    /// Builds what tests upgrade to, to target/bpf/waysteer-NAME.o
    #[arg(long, value_enum)]
    variant: Option<Variant>,
}

/// Another object of the same sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variant {
    /// Compiled in another way: other code over the same maps
    Code,
    /// Maps of other sizes
    Layout,
}

impl Args {
    pub(crate) fn quiet() -> Self {
        Self {
            quiet: true,
            variant: None,
        }
    }

    pub(crate) fn variant(variant: Variant) -> Self {
        Self {
            quiet: true,
            variant: Some(variant),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::require_for_building()?;
    let mut cargo = inner_cargo("build");
    let object = match args.variant {
        None => workspace::bpf_object(),
        Some(Variant::Code) => {
            cargo.args(["--features", "other-code"]);
            workspace::bpf_variant("code")
        }
        Some(Variant::Layout) => {
            cargo.args(["--features", "other-layout"]);
            workspace::bpf_variant("layout")
        }
    };
    command::run(&mut cargo)?;
    let built = workspace::target()
        .join("bpf-build")
        .join(TARGET)
        .join("release/waysteer");
    let bytes = fs::read(&built).with_context(|| format!("{} is missing", built.display()))?;
    // An unchanged object keeps its time, so that nothing that includes it is built again.
    if fs::read(&object).ok().as_ref() != Some(&bytes) {
        let directory = object.parent().context("the object has a directory")?;
        fs::create_dir_all(directory)?;
        fs::write(&object, &bytes)?;
    }
    if args.quiet {
        return Ok(());
    }
    println!("{} ({} bytes)", object.display(), bytes.len());
    sections::print(&bytes)?;
    if workspace::is_root() {
        verified::check(&bytes)
    } else {
        println!("verified instruction counts left out: loading needs root");
        Ok(())
    }
}

/// Lints the kernel programs as they are built: host clippy does not see what is for bpf only.
pub(crate) fn clippy() -> Result<()> {
    setup::require_for_building()?;
    command::run(inner_cargo("clippy").args(["--", "-D", "warnings"]))
}

/// A cargo for the bpf target. The pinned stable compiler builds `core` for it, for which it is
/// told to allow unstable options; nothing else in the workspace is built so.
fn inner_cargo(command: &str) -> Command {
    let flags = [
        // What aya-ebpf's bindings are chosen by: layouts that the kernel takes from its own
        // architecture. None of them is in our programs, which are the same for x86_64 and arm64.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Clears and copies memory in words. Without it LLVM calls a function for that, which the
        // programs bring along and which goes byte by byte.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
    ];
    let mut cargo = command::cargo([command, "-Z", "build-std=core", "--target", TARGET]);
    cargo
        .args(["--release", "--package", "waysteer-ebpf", "--target-dir"])
        .arg(workspace::target().join("bpf-build"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS");
    cargo
}
