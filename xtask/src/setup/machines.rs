//! What `cargo xtask vm` needs.

use std::path::Path;
use std::process::Command;

use super::apt;
use super::needs::{Need, first_line, toolchain_channel};
use crate::command;
use crate::vm::arch::{Arch, FOR_ARM64};
use crate::vm::archive;

/// For machines of these architectures.
pub(super) fn needs(archs: &[Arch]) -> Vec<Need> {
    let mut needs = for_all();
    for arch in archs {
        match arch {
            Arch::Amd64 => needs.extend(for_amd64()),
            Arch::Arm64 => needs.extend(for_arm64()),
        }
    }
    needs
}

/// The tools in its machines are those of this one.
fn for_amd64() -> Vec<Need> {
    vec![
        Need {
            name: "qemu",
            look: || find_qemu(Arch::Amd64),
            install: || apt::install(&["qemu-system-x86"], "QEMU for x86_64"),
        },
        Need {
            name: "bpftool",
            look: || command::output("bpftool", &["version"]).and_then(first_line),
            install: || apt::install(&["bpftool"], "bpftool"),
        },
        Need {
            name: "procps",
            look: || command::output("sysctl", &["--version"]),
            install: || apt::install(&["procps"], "the `sysctl` command"),
        },
    ]
}

/// Programs are built for it here, and run there.
fn for_arm64() -> Vec<Need> {
    vec![
        Need {
            name: "qemu, arm64",
            look: || find_qemu(Arch::Arm64),
            install: || apt::install(&["qemu-system-arm"], "QEMU for aarch64"),
        },
        Need {
            name: "gcc, arm64",
            look: || command::output(format!("{}gcc", FOR_ARM64.tools), &["-dumpfullversion"]),
            install: || {
                apt::install(
                    &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
                    "a C compiler for aarch64",
                )
            },
        },
        Need {
            name: "rust, arm64",
            look: find_library,
            install: || {
                let channel = toolchain_channel()?;
                let mut rustup = Command::new("rustup");
                rustup.args(["target", "add", FOR_ARM64.target, "--toolchain", &channel]);
                command::run(&mut rustup)
            },
        },
    ]
}

/// Of any architecture.
fn for_all() -> Vec<Need> {
    vec![
        Need {
            name: "xz",
            look: || command::output("xz", &["--version"]).and_then(first_line),
            install: || apt::install(&["xz-utils"], "xz"),
        },
        Need {
            name: "zstd",
            look: || command::output("zstd", &["--version"]),
            install: || apt::install(&["zstd"], "zstd"),
        },
        Need {
            name: "debian keys",
            look: || {
                let keys = Path::new(archive::KEYS);
                keys.exists().then(|| keys.display().to_string())
            },
            install: || apt::install(&["debian-archive-keyring"], "the keys of Debian's archive"),
        },
    ]
}

fn find_qemu(arch: Arch) -> Option<String> {
    command::output(arch.emulator(), &["--version"]).and_then(first_line)
}

/// The standard library of the other architecture.
fn find_library() -> Option<String> {
    let asked = ["--print", "target-libdir", "--target", FOR_ARM64.target];
    let library = command::output("rustc", &asked)?;
    Path::new(&library).exists().then_some(library)
}
