//! Rules, routes and parameters in network namespaces.
//!
//! Those that were written down first. Rules without a record, as when the pins were removed by
//! hand, are found by their protocol number in every namespace that has a name or a process. They
//! may be another agent's, who pins elsewhere: what is written down beside our directory, or has
//! programs at work, is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::inventory::{CONNECTIONS, Item, name};
use crate::error::chain;
use crate::kernel::attach::PodLinks;
use crate::kernel::connections::Verdicts;
use crate::kernel::netns::PodNetns;
use crate::kernel::pins::Generation;
use crate::kernel::records::{Record, Records};
use crate::kernel::traces::{self, NetnsTraces};

/// What would be undone.
pub(super) fn list(
    root: &Path,
    records: &BTreeMap<u64, Record>,
    verdicts: &[Verdicts],
    items: &mut Vec<Item>,
) {
    let before = |cookie| records.get(&cookie).map(|record| record.before.clone());
    let others = others(root);
    let paths = records.values().map(|record| record.netns.clone());
    for path in traces::namespaces(paths) {
        let Ok(found) = traces::look(&path, before, verdicts) else {
            // Gone meanwhile, or not to be entered; what is recorded is an error when removed.
            continue;
        };
        let record = records.get(&found.cookie);
        if record.is_none() && !is_orphan(&found, &others) {
            continue;
        }
        let pod = record.map_or_else(|| found.path.display().to_string(), name);
        if found.connections > 0 {
            items.push(Item::new(CONNECTIONS, found.connections).of(&pod));
        }
        let traces = found.traces.into_iter();
        items.extend(traces.map(|trace| Item::new("netns", trace).of(&pod)));
    }
}

/// Takes the programs off all that can be reached, and ends the connections that hang on them. The
/// cookies of those whose programs must stay.
pub(super) fn release(
    generations: &[Generation],
    pods: &[(u64, Record)],
    verdicts: &[Verdicts],
    errors: &mut Vec<String>,
) -> BTreeSet<u64> {
    let recorded: BTreeMap<u64, &Record> = pods.iter().map(|(c, r)| (*c, r)).collect();
    let mut must_stay = BTreeSet::new();
    let paths = pods.iter().map(|(_, record)| record.netns.clone());
    for path in traces::namespaces(paths) {
        let Ok(netns) = PodNetns::open(&path) else {
            continue;
        };
        let cookie = netns.cookie();
        let directories = generations.iter().map(|generation| generation.pod(cookie));
        let directories: Vec<PathBuf> = directories.filter(|path| path.exists()).collect();
        if directories.is_empty() {
            continue;
        }
        let links = PodLinks::pinned(directories);
        if let Err(error) = traces::release(&path, links, verdicts) {
            let pod = recorded.get(&cookie);
            let pod = pod.map_or_else(|| path.display().to_string(), |record| name(record));
            errors.push(format!("{pod}: {}", chain(&error)));
            must_stay.insert(cookie);
        }
    }
    must_stay
}

/// Undoes what is recorded, and returns the cookies of which nothing is left: also of those that
/// are not to be found any more, because a netns without a path and a process ends.
pub(super) fn remove_recorded(
    pods: &[(u64, Record)],
    verdicts: &[Verdicts],
    errors: &mut Vec<String>,
) -> Vec<u64> {
    let mut wanted: BTreeMap<u64, &Record> = pods.iter().map(|(c, r)| (*c, r)).collect();
    let mut undone = Vec::new();
    let paths = pods.iter().map(|(_, record)| record.netns.clone());
    for path in traces::namespaces(paths) {
        let Ok(netns) = PodNetns::open(&path) else {
            continue;
        };
        let Some(record) = wanted.remove(&netns.cookie()) else {
            continue;
        };
        match traces::remove(&path, Some(record.before.clone()), verdicts) {
            Ok(()) => undone.push(netns.cookie()),
            Err(error) => errors.push(format!("{}: {}", name(record), chain(&error))),
        }
    }
    undone.extend(wanted.into_keys());
    undone
}

/// Undoes what nobody has written down.
pub(super) fn remove_orphans(root: &Path, known: &[(u64, Record)], errors: &mut Vec<String>) {
    // The maps have gone with the pins: by marks alone.
    let verdicts: &[Verdicts] = &[];
    let known: BTreeSet<u64> = known.iter().map(|(cookie, _)| *cookie).collect();
    let others = others(root);
    for path in traces::namespaces([]) {
        let Ok(found) = traces::look(&path, |_| None, verdicts) else {
            continue;
        };
        if known.contains(&found.cookie) || !is_orphan(&found, &others) {
            continue;
        }
        if let Err(error) = traces::remove(&path, None, verdicts) {
            errors.push(format!("{}: {}", path.display(), chain(&error)));
        }
    }
}

fn is_orphan(found: &NetnsTraces, others: &BTreeSet<u64>) -> bool {
    !found.traces.is_empty() && !found.is_captured && !others.contains(&found.cookie)
}

/// Cookies that agents have written down whose directories are beside ours.
fn others(root: &Path) -> BTreeSet<u64> {
    let siblings = root.parent().map(fs::read_dir).into_iter().flatten();
    let siblings = siblings.flatten().flatten().map(|entry| entry.path());
    let siblings = siblings.filter(|path| path != root);
    let cookies = siblings.flat_map(|sibling: PathBuf| {
        let records = Records::look(&sibling).ok().flatten();
        let all = records.and_then(|records| records.all().ok());
        all.unwrap_or_default()
            .into_iter()
            .map(|(cookie, _)| cookie)
    });
    cookies.collect()
}
