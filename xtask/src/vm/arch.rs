//! Architectures: what differs between a machine of one kind and one of another.

use std::fmt;

/// As Debian calls them. The first is the developer's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

/// What programs are built with that run on another machine than the developer's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cross {
    /// Rust's name of it.
    pub(crate) target: &'static str,
    /// How the names of the compiler for C and of its tools begin.
    pub(crate) tools: &'static str,
    /// Where Debian puts libraries, and the dynamic loader looks for them.
    pub(super) libraries: &'static str,
    /// What the kernel starts programs with.
    pub(super) loader: &'static str,
}

pub(crate) const FOR_ARM64: Cross = Cross {
    target: "aarch64-unknown-linux-gnu",
    tools: "aarch64-linux-gnu-",
    libraries: "lib/aarch64-linux-gnu",
    loader: "lib/ld-linux-aarch64.so.1",
};

/// Emulated everywhere: what is seen on one machine is what others see. One processor, of a modest
/// kind, and none that compares and exchanges 16 bytes: QEMU 7.2 gets that and more than one processor
/// wrong now and then, and kernels panic in `kmalloc` or `do_sync_core`.
#[rustfmt::skip]
const AMD64: [&str; 14] = [
    "-accel", "tcg", "-M", "q35", "-cpu", "Westmere,-cx16", "-smp", "1", "-m", "2048",
    "-nodefaults", "-no-reboot", "-display", "none",
];

/// A processor of many a cloud; one that signs pointers is emulated at half the speed.
#[rustfmt::skip]
const ARM64: [&str; 14] = [
    "-accel", "tcg", "-M", "virt", "-cpu", "neoverse-n1", "-smp", "1", "-m", "2048",
    "-nodefaults", "-no-reboot", "-display", "none",
];

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The series of kernels that are run when none is named; `7` is the newest of them. One that
    /// must be refused is enough: that is decided by what the kernel has, not by where it runs.
    pub(super) fn series(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["6.1", "6.12", "6.18", "7"],
            Self::Arm64 => &["6.12", "6.18", "7"],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Nothing where programs are built as always.
    pub(super) fn cross(self) -> Option<Cross> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some(FOR_ARM64),
        }
    }

    pub(crate) fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    pub(super) fn machine(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &AMD64,
            Self::Arm64 => &ARM64,
        }
    }

    /// The port that is connected to `chardev=report`: a board of arm64 has one serial port only.
    pub(super) fn second_port(self) -> &'static str {
        match self {
            Self::Amd64 => "isa-serial,chardev=report",
            Self::Arm64 => "pci-serial,chardev=report",
        }
    }

    /// The kernel's names of the two ports.
    pub(super) fn ports(self) -> [&'static str; 2] {
        match self {
            Self::Amd64 => ["ttyS0", "ttyS1"],
            Self::Arm64 => ["ttyAMA0", "ttyS0"],
        }
    }

    /// What else a kernel is told. Without `cx16` newer ones cannot allocate without locks, and so
    /// give programs no storage on sockets, but from caches that are looked after in this way.
    pub(super) fn parameters(self) -> &'static str {
        match self {
            Self::Amd64 => "slub_debug=Z,kmalloc-*",
            Self::Arm64 => "",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn an_architecture_is_asked_for_by_debians_name() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_str(arch.name(), false), Ok(arch));
        }
    }
}
