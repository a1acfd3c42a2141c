//! `waysteer status` when no agent answers: what is pinned and attached all the same.

use std::fmt::Write as _;
use std::path::Path;

use super::Shown;
use super::programs::programs;
use super::table::{BAD, Cell, GOOD, NOTICE, table};
use crate::kernel::pinned::{Pinned, PinnedGeneration, PinnedHook, PinnedPod};
use crate::kernel::programs::ProgramReport;

/// The page is never that of a node where all is well: nobody repairs anything now.
pub fn offline(pinned: &Pinned, loaded: &[ProgramReport], root: &Path) -> Shown {
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
    text.push_str(&table(
        ["GENERATION", "ABI", "PROGRAMS FOR SOCKETS", "PODS"],
        generations,
    ));
    text.push('\n');
    if !loaded.is_empty() {
        text.push_str(&programs(loaded));
        text.push('\n');
    }
    let pods: Vec<_> = pinned.pods.iter().map(row).collect();
    if pods.is_empty() {
        text.push_str("no pod was written down as captured\n");
    } else {
        text.push_str(&table(["POD", "STATE", "NETNS", "WHY"], pods));
    }
    if let Some(debt) = &pinned.expedited {
        let _ = writeln!(
            text,
            "\nleft changed: {debt}; the next agent, or waysteer cleanup, puts it back"
        );
    }
    for error in &pinned.errors {
        let _ = writeln!(text, "\n{error}");
    }
    Shown {
        text,
        is_well: false,
    }
}

fn generation(generation: &PinnedGeneration) -> [Cell; 4] {
    let (on, off): (Vec<_>, Vec<_>) = generation.hooks.iter().partition(|hook| hook.attached);
    let names = |hooks: &[&PinnedHook]| {
        let names = hooks.iter().map(|hook| hook.name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let hooks = match (names(&on), names(&off)) {
        (on, off) if off.is_empty() => Cell::from(on).styled(GOOD),
        (on, off) => Cell::from(format!("{on}; detached: {off}")).styled(BAD),
    };
    [
        generation.path.display().to_string().into(),
        generation.abi.to_string().into(),
        hooks,
        generation.pods.to_string().into(),
    ]
}

fn row(pod: &PinnedPod) -> [Cell; 4] {
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
    [
        pod.full_name().into(),
        state,
        pod.netns.display().to_string().into(),
        why.into(),
    ]
}
