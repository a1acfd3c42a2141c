//! `waysteer status` when no agent answers: what is pinned and attached all the same.

use std::fmt::Write as _;
use std::path::Path;

use super::Shown;
use super::programs::programs;
use super::table::{BAD, Cell, GOOD, NOTICE, fitted};
use super::wrap::hanging;
use crate::kernel::pinned::{Pinned, PinnedGeneration, PinnedHook, PinnedPod};
use crate::kernel::programs::ProgramReport;
use crate::names::pods::PodNames as _;

/// The page is never that of a node where all is well: nobody repairs anything now.
pub fn offline(
    pinned: &Pinned,
    loaded: &[ProgramReport],
    root: &Path,
    width: Option<usize>,
) -> Shown {
    let mut text = String::new();
    let root = root.display();
    if pinned.is_empty() {
        let _ = writeln!(
            text,
            "nothing is pinned in {root}: no pod is captured by an agent of there"
        );
        return Shown {
            text,
            is_well: false,
        };
    }
    let _ = writeln!(
        text,
        "what is pinned in {root} works on without an agent:\n"
    );
    let generations = pinned.generations.iter().map(generation).collect();
    text.push_str(&fitted(
        width,
        &["GENERATION", "ABI", "PODS", "PROGRAMS FOR SOCKETS"],
        generations,
    ));
    text.push('\n');
    if !loaded.is_empty() {
        text.push_str(&programs(loaded, width));
        text.push('\n');
    }
    let pods: Vec<_> = pinned.pods.iter().map(row).collect();
    if pods.is_empty() {
        text.push_str("no pod was written down as captured\n");
    } else {
        text.push_str(&fitted(width, &["POD", "STATE", "NETNS", "WHY"], pods));
    }
    if let Some(debt) = &pinned.expedited {
        let left =
            format!("left changed: {debt}; the next agent, or waysteer cleanup, puts it back");
        let _ = write!(text, "\n{}", hanging(&left, width, 4));
    }
    for error in &pinned.errors {
        let _ = write!(text, "\n{}", hanging(error, width, 4));
    }
    Shown {
        text,
        is_well: false,
    }
}

fn generation(generation: &PinnedGeneration) -> Vec<Cell> {
    let (on, off): (Vec<_>, Vec<_>) = generation.hooks.iter().partition(|hook| hook.attached);
    let names = |hooks: &[&PinnedHook]| {
        let names = hooks.iter().map(|hook| hook.name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let hooks = match (names(&on), names(&off)) {
        (on, off) if off.is_empty() => Cell::from(on).styled(GOOD),
        (on, off) => Cell::from(format!("{on}; detached: {off}")).styled(BAD),
    };
    vec![
        generation.path.display().to_string().into(),
        generation.abi.to_string().into(),
        generation.pods.to_string().into(),
        hooks,
    ]
}

fn row(pod: &PinnedPod) -> Vec<Cell> {
    let ports = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    };
    let (state, why) = if pod.gone {
        let why = "its network namespace is gone".to_owned();
        (Cell::from("gone").styled(NOTICE), why)
    } else if !pod.wrong.is_empty() {
        (Cell::from("drifted").styled(BAD), pod.wrong.join("; "))
    } else if pod.no_listener.is_empty() {
        (Cell::from("captured").styled(GOOD), String::new())
    } else {
        let why = format!(
            "no tunnel listens on {}: what needs it is held",
            ports(&pod.no_listener)
        );
        (Cell::from("captured").styled(NOTICE), why)
    };
    vec![
        pod.full_name().into(),
        state,
        pod.netns.display().to_string().into(),
        why.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::expedite::Debt;
    use crate::show::snapshot::keep;

    fn pod(name: &str, wrong: &[&str], no_listener: &[u16]) -> PinnedPod {
        PinnedPod {
            uid: name.to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            netns: format!("/run/netns/cni-6fd0a9d3-1c1b-4d2e-8a0f-{name}").into(),
            cookie: 7,
            gone: false,
            wrong: wrong.iter().map(ToString::to_string).collect(),
            no_listener: no_listener.to_vec(),
        }
    }

    #[test]
    fn of_what_works_on_at_each_width() {
        let hook = |name: &str, attached| PinnedHook {
            name: name.to_owned(),
            program: 3,
            attached,
        };
        let hooks = ["connect4", "connect6", "sock_ops"];
        let hooks = hooks.map(|name| hook(name, name != "connect6")).into();
        let pinned = Pinned {
            generations: vec![PinnedGeneration {
                path: "/sys/fs/bpf/waysteer/v3".into(),
                abi: 3,
                hooks,
                pods: 3,
            }],
            pods: vec![
                pod("web", &[], &[]),
                pod("held", &[], &[15001, 15006, 15008]),
                pod("hurt", &["rule 100 is missing", "not in the map PODS"], &[]),
            ],
            expedited: Some(Debt {
                file: "/sys/kernel/rcu_expedited".into(),
                before: "0".to_owned(),
            }),
            errors: vec!["cannot list the records: operation not permitted".to_owned()],
        };
        let root = Path::new("/sys/fs/bpf/waysteer");
        keep("offline", |width| offline(&pinned, &[], root, width).text);
    }
}
