//! The capabilities that the agent's work in the kernel needs.

use std::fs;
use std::io;

/// What the kernel asks for, and for what. `CAP_SYS_ADMIN` contains `CAP_BPF` and `CAP_PERFMON`.
const NEEDED: [(u32, &str, &str); 2] = [
    (12, "CAP_NET_ADMIN", "rules, routes and network programs"),
    (
        21,
        "CAP_SYS_ADMIN",
        "programs, maps and entering pods' network namespaces",
    ),
];

/// A capability that this process does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub capability: &'static str,
    pub needed_for: &'static str,
}

/// The needed capabilities that the calling thread does not have.
pub fn missing() -> io::Result<Vec<Missing>> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let effective = effective(&status).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "no CapEff in /proc/thread-self/status",
        )
    })?;
    Ok(missing_of(effective))
}

/// What an operator can do about a refusal of the kernel; empty where that is not known.
pub(super) fn hint(error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    match missing() {
        Ok(missing) if !missing.is_empty() => {
            let names: Vec<&str> = missing.iter().map(|m| m.capability).collect();
            format!(" (this process lacks {})", names.join(", "))
        }
        Ok(_) | Err(_) => " (is there a lockdown or a security module in the way?)".to_owned(),
    }
}

fn missing_of(effective: u64) -> Vec<Missing> {
    NEEDED
        .iter()
        .filter(|(bit, _, _)| effective & (1 << bit) == 0)
        .map(|&(_, capability, needed_for)| Missing {
            capability,
            needed_for,
        })
        .collect()
}

fn effective(status: &str) -> Option<u64> {
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
            effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x01ff_ffff_ffff)
        );
        assert_eq!(effective("CapEff:\tnothing"), None);
        assert_eq!(effective(""), None);
    }

    #[test]
    fn names_what_lacks() {
        assert_eq!(missing_of(u64::MAX), []);
        let names: Vec<&str> = missing_of(1 << 12).iter().map(|m| m.capability).collect();
        assert_eq!(names, ["CAP_SYS_ADMIN"]);
    }
}
