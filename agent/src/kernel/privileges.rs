//! The capabilities that the agent needs, each with its reason: the one table that `waysteer check`
//! prints, that the start is checked against, and that `docs/privileges.md` shows.

use std::fmt;
use std::fs;
use std::io;

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    pub name: &'static str,
    /// Its number in `linux/capability.h`.
    pub bit: u32,
    pub needed_for: &'static str,
    /// Where it can be done without: when it is needed.
    pub only_if: Option<&'static str>,
}

/// All there are, and no other: `CAP_SYS_ADMIN`, without which nobody enters a network namespace,
/// contains `CAP_BPF` and `CAP_PERFMON`; `CAP_NET_ADMIN` what `CAP_NET_RAW` is asked for here.
/// Files are read and written as root, their owner, so `CAP_DAC_OVERRIDE` is not needed.
pub const CAPABILITIES: [Capability; 3] = [
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        needed_for: "rules, routes and sysctls in pods' network namespaces, links of network \
                     programs, ending open connections of a pod that is let go, and the tunnel's \
                     marked and transparent sockets",
        only_if: None,
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        needed_for: "entering pods' network namespaces, loading programs and maps and finding them \
                     again, and mounting a bpf file system where there is none",
        only_if: None,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        needed_for: "opening the network namespaces of other processes",
        only_if: Some("pods are given by /proc/PID/ns/net"),
    },
];

/// What a process may not do.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    #[error("{0}")]
    Missing(Missing),
    #[error("cannot read which capabilities this process has")]
    Unreadable(#[source] io::Error),
}

/// Needed capabilities that are not there; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(Vec<Capability>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(missing) = self;
        f.write_str("this process lacks ")?;
        for (index, capability) in missing.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; and " };
            let Capability {
                name, needed_for, ..
            } = capability;
            write!(f, "{separator}{name}, which is needed for {needed_for}")?;
        }
        Ok(())
    }
}

/// Fails where the calling thread lacks a capability that is needed in any case.
pub fn require() -> Result<(), PrivilegesError> {
    let effective = effective().map_err(PrivilegesError::Unreadable)?;
    let missing: Vec<_> = missing_of(effective)
        .filter(|capability| capability.only_if.is_none())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(PrivilegesError::Missing(Missing(missing))),
    }
}

/// Every capability, and whether the calling thread has it.
pub fn held() -> io::Result<Vec<(Capability, bool)>> {
    let effective = effective()?;
    let held = |capability: Capability| (capability, has(effective, capability));
    Ok(CAPABILITIES.into_iter().map(held).collect())
}

/// What an operator can do about a refusal of the kernel; empty where that is not known.
pub(crate) fn hint(error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let names: Vec<&str> = match effective() {
        Ok(effective) => missing_of(effective)
            .filter(|capability| capability.only_if.is_none())
            .map(|missing| missing.name)
            .collect(),
        Err(_) => Vec::new(),
    };
    match names.is_empty() {
        false => format!(" (this process lacks {})", names.join(", ")),
        true => " (is there a lockdown or a security module in the way?)".to_owned(),
    }
}

fn has(effective: u64, capability: Capability) -> bool {
    effective & (1 << capability.bit) != 0
}

fn missing_of(effective: u64) -> impl Iterator<Item = Capability> {
    let all = CAPABILITIES.into_iter();
    all.filter(move |capability| !has(effective, *capability))
}

fn effective() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let problem = "no CapEff in /proc/thread-self/status";
    parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, problem))
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        assert_eq!(
            parse("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x01ff_ffff_ffff)
        );
        assert_eq!(parse("CapEff:\tnothing"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn names_what_lacks_and_what_for() {
        assert_eq!(missing_of(u64::MAX).count(), 0);
        let missing = Missing(missing_of(1 << 12 | 1 << 19).collect());
        let said = missing.to_string();
        let expected = "this process lacks CAP_SYS_ADMIN, which is needed for entering pods'";
        assert!(said.starts_with(expected), "{said}");
        assert_eq!(
            Missing(missing_of(0).collect())
                .to_string()
                .matches("CAP_")
                .count(),
            3
        );
    }

    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../../docs/privileges.md");
        for capability in CAPABILITIES {
            let Capability {
                name,
                needed_for,
                only_if,
                ..
            } = capability;
            let when = only_if.unwrap_or("always");
            let row = format!("| `{name}` | {needed_for} | {when} |\n");
            assert!(document.contains(&row), "docs/privileges.md lacks {row}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `CAP_"));
        assert_eq!(rows.count(), CAPABILITIES.len());
    }
}
