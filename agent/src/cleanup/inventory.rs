//! What there is of ours: read without changing anything, and removed by the pins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{files, netns};
use crate::error::chain;
use crate::kernel::attach::detach_all;
use crate::kernel::connections::Verdicts;
use crate::kernel::estate::forget_pods;
use crate::kernel::expedite;
use crate::kernel::pins::{self, Generation, PinRoot};
use crate::kernel::records::{Record, Records};

/// A kind of which a number is told, and what is done is another word.
pub(super) const CONNECTIONS: &str = "connections";

/// What is put back, and not removed.
pub(super) const PARAMETER: &str = "kernel parameter";

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Item {
    pub(super) kind: &'static str,
    pub(super) what: String,
    /// Of a pod, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<String>,
}

impl Item {
    pub(super) fn new(kind: &'static str, what: impl fmt::Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            pod: None,
        }
    }

    pub(super) fn of(self, pod: impl fmt::Display) -> Self {
        Self {
            pod: Some(pod.to_string()),
            ..self
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CONNECTIONS => write!(f, "{} open {CONNECTIONS}", self.what)?,
            kind => write!(f, "{kind} {}", self.what)?,
        }
        match &self.pod {
            Some(pod) => write!(f, " of {pod}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) items: Vec<Item>,
    pub(super) errors: Vec<String>,
}

/// Everything that is found, in the order of removal. An agent may be at work meanwhile.
pub(super) fn take(root: &Path, sockets: &[PathBuf]) -> Inventory {
    let mut inventory = Inventory::default();
    let Inventory { items, errors } = &mut inventory;
    let records = match Records::look(root) {
        Ok(records) => records.map(|records| known(&records, errors)),
        Err(error) => {
            errors.push(chain(&error));
            None
        }
    };
    let is_recorded = records.is_some();
    let records = records.unwrap_or_default();
    let generations = pins::generations(root).unwrap_or_else(|error| {
        errors.push(chain(&error));
        Vec::new()
    });
    for generation in &generations {
        if let Err(error) = list(generation, &records, items) {
            errors.push(chain(&error));
        }
    }
    netns::list(root, &records, &verdicts(&generations, errors), items);
    if is_recorded {
        items.push(Item::new("records", root.join("ENROLMENTS").display()));
    }
    match expedite::debt(root) {
        Ok(debt) => items.extend(debt.map(|debt| Item::new(PARAMETER, debt))),
        Err(error) => errors.push(chain(&error)),
    }
    if root.exists() {
        items.push(Item::new("directory", root.display()));
    }
    files::list(sockets, items);
    inventory
}

/// Removes all that hangs on the pins, and them. Goes on after errors.
pub(super) fn remove(root: PinRoot, errors: &mut Vec<String>) {
    let mut note = |error: &dyn std::error::Error| errors.push(chain(error));
    let generations = match root.generations() {
        Ok(generations) => generations,
        Err(error) => {
            note(&error);
            Vec::new()
        }
    };
    for generation in &generations {
        // First, so that no program marks anything whose way is about to go.
        if let Err(error) = forget_pods(generation) {
            note(&error);
        }
    }
    let records = match Records::find(&root) {
        Ok(records) => records,
        Err(error) => {
            note(&error);
            None
        }
    };
    let known = records.as_ref().map(|records| known(records, errors));
    let pods: Vec<(u64, Record)> = known.unwrap_or_default().into_iter().collect();
    let verdicts = verdicts(&generations, errors);
    let must_stay = netns::release(&generations, &pods, &verdicts, errors);
    // With these goes what is left of pods that have ended.
    for generation in generations.iter().filter(|_| must_stay.is_empty()) {
        let removed = detach_all(generation);
        if let Err(error) = &removed {
            errors.push(chain(error));
        }
        if removed.is_ok()
            && let Err(error) = generation.remove()
        {
            errors.push(chain(&error));
        }
    }
    let pods: Vec<(u64, Record)> = pods
        .into_iter()
        .filter(|(cookie, _)| !must_stay.contains(cookie))
        .collect();
    if let Some(mut records) = records {
        let undone = netns::remove_recorded(&pods, &verdicts, errors);
        let is_whole = undone.len() == pods.len() && must_stay.is_empty();
        for cookie in undone {
            if let Err(error) = records.delete(cookie) {
                errors.push(chain(&error));
            }
        }
        if is_whole && let Err(error) = records.remove(&root) {
            errors.push(chain(&error));
        }
    }
    if must_stay.is_empty() {
        netns::remove_orphans(root.path(), &pods, errors);
    }
    if let Err(error) = expedite::put_back(&root) {
        errors.push(chain(&error));
    }
    if let Err(error) = root.close() {
        errors.push(chain(&error));
    }
}

/// What the programs of all generations have said of sockets.
fn verdicts(generations: &[Generation], errors: &mut Vec<String>) -> Vec<Verdicts> {
    let mut all = Vec::new();
    for generation in generations {
        match Verdicts::of(generation) {
            Ok(verdicts) => all.push(verdicts),
            Err(error) => errors.push(chain(&error)),
        }
    }
    all
}

fn known(records: &Records, errors: &mut Vec<String>) -> BTreeMap<u64, Record> {
    let all = match records.all() {
        Ok(all) => all,
        Err(error) => {
            errors.push(chain(&error));
            return BTreeMap::new();
        }
    };
    let mut known = BTreeMap::new();
    for (cookie, record) in all {
        match record {
            Ok(record) => drop(known.insert(cookie, record)),
            Err(error) => errors.push(chain(&error)),
        }
    }
    known
}

fn list(
    generation: &Generation,
    records: &BTreeMap<u64, Record>,
    items: &mut Vec<Item>,
) -> Result<(), pins::PinError> {
    for pin in generation.cgroup_links()? {
        items.push(Item::new("link", pin.display()));
    }
    for cookie in generation.pods()? {
        let pod = records.get(&cookie).map(name);
        for pin in generation.pod_links(cookie)? {
            let item = Item::new("link", pin.display());
            items.push(match &pod {
                Some(pod) => item.of(pod),
                None => item,
            });
        }
    }
    for program in generation.programs()? {
        items.push(Item::new("program", generation.program(&program).display()));
    }
    for map in generation.maps()? {
        items.push(Item::new("map", generation.map(&map).display()));
    }
    items.push(Item::new("directory", generation.path().display()));
    Ok(())
}

pub(super) fn name(record: &Record) -> String {
    format!("pod {}/{}", record.namespace, record.name)
}
