//! `cargo xtask demo`: builds everything, then becomes the demo program of the tests crate.
//!
//! The program is not a part of xtask: it needs the test bed, with TLS and all, which the other
//! commands should neither wait for nor need a C compiler for.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Leave everything running, say what to try, and wait for Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { json, keep } = args;
    if !workspace::is_root() {
        bail!(
            "the demo makes network namespaces and loads BPF programs, which needs root; \
             run `sudo -E env PATH=\"$PATH\" cargo xtask demo`"
        );
    }
    let has_envoy = xtask(&["setup", "--with-tests"]).is_ok();
    if !has_envoy {
        // What is missing then may be more than Envoy.
        xtask(&["setup"])?;
    }
    xtask(&["build-ebpf", "--quiet"])?;
    // No package is named: cargo would choose other features for each choice of packages, and build
    // the dependencies again for the tests.
    let programs = ["--bin", "waysteer", "--bin", "hbone-peer", "--bin", DEMO];
    command::run(command::cargo(["build"]).args(programs))?;

    let binaries = binaries()?;
    let mut demo = Command::new(binaries.join(DEMO));
    demo.env("WAYSTEER_BIN_DIR", &binaries);
    if !has_envoy {
        eprintln!("Envoy could not be installed: the demo uses the built-in hbone-peer");
        // One that is there and does not run is as good as none.
        demo.env("WAYSTEER_ENVOY", "");
    }
    demo.args(json.then_some("--json"))
        .args(keep.then_some("--keep"));
    // In our place, so that Ctrl-C reaches nobody but the one who cleans up.
    Err(demo.exec()).with_context(|| format!("{} could not be started", binaries.display()))
}

const DEMO: &str = "waysteer-demo";

/// Another command of ours. Standard output is the demo's, so what this prints is on the other.
fn xtask(arguments: &[&str]) -> Result<()> {
    let own = std::env::current_exe().context("the running program's path")?;
    let progress = io::stderr().as_fd().try_clone_to_owned()?;
    let mut command = Command::new(own);
    command.args(arguments).stdout(Stdio::from(progress));
    command::run(&mut command)
}

/// Where a plain `cargo build` has left its programs: beside our own, whatever our own profile is.
fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running program's path")?;
    let profiles = own.parent().and_then(Path::parent);
    let profiles = profiles.context("xtask lies in cargo's target directory")?;
    Ok(profiles.join("debug"))
}
