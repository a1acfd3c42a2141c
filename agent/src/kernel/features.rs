//! What this kernel, and this process in it, can do: for `waysteer check`. Things are tried, not
//! concluded from a version.

use std::error::Error;
use std::fs;
use std::path::Path;

use nix::libc::EINVAL;
use serde::Serialize;
use thiserror::Error;

use super::hooks;
use super::link::Hook;
use super::load::{LoadOptions, Programs};
use super::neighbours::{self, Neighbour};
use super::netns::run_in_new_netns;
use super::object::Object;
use super::pins::PinRoot;
use super::privileges::{self, Capability};
use super::{cgroup, connections, expedite, sysctl};
use crate::error::chain;

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const NEWER: &str =
    "Linux 6.6 or newer, with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF, CONFIG_NET_XGRESS";
const TCX: &str = "tcx links (Linux 6.6)";

/// `lo` has it in every network namespace.
const LOOPBACK: u32 = 1;

/// What no configuration can make up for.
#[derive(Debug, Error)]
#[error(
    "kernel {release} has no tcx links, which programs are attached to pods by; to do: {}",
    NEWER
)]
pub struct TooOld {
    release: String,
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub what: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What to do where it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    Works {
        detail: String,
    },
    /// Good to know, and nothing that a decision is made on.
    Information {
        detail: String,
    },
    Fails {
        reason: String,
    },
}

impl Finding {
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Fails { .. })
    }

    pub fn new(what: &str, outcome: Outcome) -> Self {
        Self {
            what: what.to_owned(),
            outcome,
            remedy: None,
        }
    }

    /// With what is to be done if it fails.
    #[must_use]
    pub fn or(mut self, remedy: &'static str) -> Self {
        if self.is_failure() {
            self.remedy = Some(remedy);
        }
        self
    }

    fn of<T>(what: &str, result: Result<T, impl Error>, detail: impl FnOnce(T) -> String) -> Self {
        let outcome = match result {
            Ok(value) => Outcome::Works {
                detail: detail(value),
            },
            Err(error) => Outcome::Fails {
                reason: chain(&error),
            },
        };
        Self::new(what, outcome)
    }
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// In place of the embedded programs.
    pub object: Option<&'a Path>,
    /// In place of where it is mounted.
    pub cgroup: Option<&'a Path>,
    /// The parameter that makes grace periods short, if they are to be.
    pub expedite: Option<&'a Path>,
}

/// Tries everything that `waysteer run` needs; leaves nothing behind. Blocks.
pub fn check(asked: Asked<'_>, pin_root: &Path) -> Vec<Finding> {
    let Asked {
        object,
        cgroup: cgroup_root,
        expedite,
    } = asked;
    let mut findings = vec![kernel()];
    findings.extend(privileges());
    let root = cgroup::root(cgroup_root);
    let neighbours = root.as_deref().ok().map(neighbours);
    findings.push(
        Finding::of("cgroup v2", root, |root| root.display().to_string())
            .or("mount it on the host, and into the container with the same path, or set cgroup"),
    );
    findings.push(types());
    findings.push(
        Finding::of("pins", PinRoot::check(pin_root), |how| {
            format!("{}: {how}", pin_root.display())
        })
        .or("mount the host's /sys/fs/bpf into the container, with mountPropagation Bidirectional"),
    );
    findings.push(parameters());
    findings.push(connections());
    findings.push(grace_periods(expedite));
    findings.extend(neighbours.into_iter().flatten());
    if require().is_err() {
        let reason = "this kernel does not know them".to_owned();
        findings.push(Finding::new(TCX, Outcome::Fails { reason }).or(NEWER));
        let detail = "not tried, as there is nothing to attach them to".to_owned();
        findings.push(Finding::new("programs", Outcome::Information { detail }));
        return findings;
    }
    match Object::find(object) {
        Ok(object) => findings.extend(programs(&object)),
        Err(error) => {
            findings.push(Finding::of("kernel programs", Err::<(), _>(error), |()| {
                String::new()
            }));
        }
    }
    findings
}

/// Fails on a kernel that programs cannot be attached to pods on. Without asking that first it would
/// be the verifier that refuses them: after minutes, with a million lines of reasons that are none.
///
/// # Errors
/// When the hook is not known. What else may be wrong is told where it is in the way.
pub fn require() -> Result<(), TooOld> {
    match hooks::on_device(LOOPBACK, Hook::TcxIngress) {
        Err(error) if error.raw_os_error() == Some(EINVAL) => Err(TooOld { release: release() }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Programs are made to fit this kernel by its types.
fn types() -> Finding {
    let size = fs::metadata(TYPES).map(|file| file.len());
    Finding::of("BTF", size, |size| format!("{TYPES}, {size} bytes"))
        .or("a kernel built with CONFIG_DEBUG_INFO_BTF; /sys must be the host's")
}

/// Programs of others at the hooks that we use: nothing that keeps us from working.
fn neighbours(cgroup: &Path) -> Vec<Finding> {
    let found = match neighbours::at_root(cgroup) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::of("others", Err::<(), _>(error), |()| {
                String::new()
            })];
        }
    };
    let finding = |neighbour: &Neighbour| Finding {
        what: format!("{} at {}", neighbour.program.name, neighbour.hook.label()),
        outcome: Outcome::Information {
            detail: neighbour.to_string(),
        },
        remedy: neighbour.advice(),
    };
    found.iter().map(finding).collect()
}

fn parameters() -> Finding {
    let what = "kernel parameters of pods";
    let finding = match run_in_new_netns(sysctl::try_write) {
        Ok(written) => Finding::of(what, written, |()| "can be set".to_owned()),
        Err(error) => Finding::of(what, Err::<(), _>(error), |()| String::new()),
    };
    finding.or("procMount Unmasked, or a privileged container: /proc/sys must be writable")
}

/// Without it all works but one thing, which is then refused.
fn connections() -> Finding {
    let detail = match connections::can_end() {
        Ok(true) => "can be ended when a pod is let go".to_owned(),
        Ok(false) => {
            "cannot be ended (CONFIG_INET_DIAG_DESTROY is off): a pod that is let go with \
                      steered connections stays guarded until they have ended"
                .to_owned()
        }
        Err(error) => chain(&error),
    };
    Finding::new("open connections", Outcome::Information { detail })
}

/// Without it all works, and takes longer.
fn grace_periods(file: Option<&Path>) -> Finding {
    let (detail, remedy) = match file.map(|file| (file, expedite::check(file))) {
        None => ("stay as they are, as configured".to_owned(), None),
        Some((file, Ok(()))) => {
            let detail = format!("can be expedited by {}", file.display());
            (detail, None)
        }
        Some((_, Err(error))) => {
            let detail = format!("{}: pods take longer to be enrolled", chain(&error));
            (detail, Some(expedite::REMEDY))
        }
    };
    Finding {
        what: "grace periods".to_owned(),
        outcome: Outcome::Information { detail },
        remedy,
    }
}

fn kernel() -> Finding {
    Finding::new("kernel", Outcome::Information { detail: release() })
}

fn release() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => name.release().to_string_lossy().into_owned(),
        Err(error) => error.to_string(),
    }
}

fn privileges() -> Vec<Finding> {
    let held = match privileges::held() {
        Ok(held) => held,
        Err(error) => {
            return vec![Finding::of("privileges", Err::<(), _>(error), |()| {
                String::new()
            })];
        }
    };
    let finding = |(capability, held): (Capability, bool)| {
        let for_what = match capability.only_if {
            Some(only_if) => format!("{}, if {only_if}", capability.needed_for),
            None => capability.needed_for.to_owned(),
        };
        let outcome = match (held, capability.only_if) {
            (true, _) => Outcome::Works { detail: for_what },
            (false, None) => Outcome::Fails {
                reason: format!("needed for {for_what}"),
            },
            (false, Some(_)) => Outcome::Information {
                detail: format!("not there; needed for {for_what}"),
            },
        };
        Finding::new(capability.name, outcome)
            .or("run as root, and add it to securityContext.capabilities of the container")
    };
    held.into_iter().map(finding).collect()
}

fn programs(object: &Object) -> Vec<Finding> {
    let trials = match Programs::try_each(object) {
        Ok(trials) => trials,
        Err(error) => return vec![Finding::of("maps", Err::<(), _>(error), |()| String::new())],
    };
    let detail = |count: Option<u32>| match count {
        Some(count) => format!("{count} instructions verified"),
        None => "loaded".to_owned(),
    };
    let mut findings: Vec<Finding> = trials
        .into_iter()
        .map(|(program, result)| {
            Finding::of(&format!("program {program}"), result, detail).or(NEWER)
        })
        .collect();
    if !findings.iter().any(Finding::is_failure) {
        findings.push(tcx(object));
    }
    findings
}

fn tcx(object: &Object) -> Finding {
    match Programs::load(object, &LoadOptions::default()) {
        Ok(mut loaded) => Finding::of(TCX, loaded.programs.try_tcx(), |()| {
            "attached and detached".to_owned()
        })
        .or(NEWER),
        Err(error) => Finding::of(TCX, Err::<(), _>(error), |()| String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_periods_that_stay_long_are_no_failure() {
        let missing = grace_periods(Some(Path::new("/nowhere/rcu_expedited")));
        assert!(!missing.is_failure());
        assert_eq!(missing.remedy, Some(expedite::REMEDY));
        let text = format!("{missing:?}");
        assert!(
            text.contains("cannot read /nowhere/rcu_expedited"),
            "{text}"
        );
        assert_eq!(grace_periods(None).remedy, None);
    }
}
