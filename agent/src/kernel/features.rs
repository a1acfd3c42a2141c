//! What this kernel, and this process in it, can do: for `waysteer check`. Things are tried, not
//! concluded from a version.

use std::error::Error;
use std::path::Path;

use serde::Serialize;

use super::load::{LoadOptions, Programs};
use super::netns::run_in_new_netns;
use super::object::Object;
use super::pins::PinRoot;
use super::privileges::{self, Capability};
use super::{cgroup, connections, sysctl};
use crate::error::chain;

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub what: String,
    #[serde(flatten)]
    pub outcome: Outcome,
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

    fn of<T>(what: &str, result: Result<T, impl Error>, detail: impl FnOnce(T) -> String) -> Self {
        let outcome = match result {
            Ok(value) => Outcome::Works {
                detail: detail(value),
            },
            Err(error) => Outcome::Fails {
                reason: chain(&error),
            },
        };
        Self {
            what: what.to_owned(),
            outcome,
        }
    }
}

/// Tries everything that `waysteer run` needs; leaves nothing behind. Blocks.
pub fn check(object: Option<&Path>, cgroup_root: Option<&Path>, pin_root: &Path) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(privileges());
    let root = cgroup::root(cgroup_root);
    findings.push(Finding::of("cgroup v2", root, |root| {
        root.display().to_string()
    }));
    findings.push(Finding::of("pins", PinRoot::check(pin_root), |how| {
        format!("{}: {how}", pin_root.display())
    }));
    findings.push(parameters());
    findings.push(connections());
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

fn parameters() -> Finding {
    let what = "kernel parameters of pods";
    match run_in_new_netns(sysctl::try_write) {
        Ok(written) => Finding::of(what, written, |()| "can be set".to_owned()),
        Err(error) => Finding::of(what, Err::<(), _>(error), |()| String::new()),
    }
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
    Finding {
        what: "open connections".to_owned(),
        outcome: Outcome::Information { detail },
    }
}

fn kernel() -> Finding {
    let detail = match nix::sys::utsname::uname() {
        Ok(name) => name.release().to_string_lossy().into_owned(),
        Err(error) => error.to_string(),
    };
    Finding {
        what: "kernel".to_owned(),
        outcome: Outcome::Information { detail },
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
        Finding {
            what: capability.name.to_owned(),
            outcome,
        }
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
        .map(|(program, result)| Finding::of(&format!("program {program}"), result, detail))
        .collect();
    if !findings.iter().any(Finding::is_failure) {
        findings.push(tcx(object));
    }
    findings
}

fn tcx(object: &Object) -> Finding {
    let what = "tcx links (Linux 6.6)";
    match Programs::load(object, &LoadOptions::default()) {
        Ok(mut loaded) => Finding::of(what, loaded.programs.try_tcx(), |()| {
            "attached and detached".to_owned()
        }),
        Err(error) => Finding::of(what, Err::<(), _>(error), |()| String::new()),
    }
}
