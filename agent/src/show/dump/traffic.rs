//! `POD_TRAFFIC`: what the connections of each pod did, by destination.

use serde::Serialize;
use waysteer_common::abi::key::TrafficKey;
use waysteer_common::verdict::Class;

use super::{Dump, Facts, Filter, Row, called, name_or_id};
use crate::kernel::observe::{PodTrafficEntries, Traffic};
use crate::names::{Id, Names};
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Entry {
    /// `namespace/name`; nothing where nobody has written it down.
    pod: Option<String>,
    /// The netns cookie; of pods that left a digest.
    source: Id,
    /// The sum of pods that left.
    left: bool,
    class: Option<&'static str>,
    /// `tunnel` or `bypass`.
    path: &'static str,
    /// `workload`, `service`, or `unknown`.
    destination_kind: &'static str,
    destination: Option<String>,
    destination_id: Id,
    opened: u64,
    closed: u64,
    sent_bytes: u64,
    received_bytes: u64,
    duration_milliseconds: u64,
}

pub fn traffic(
    entries: &PodTrafficEntries,
    names: &Names,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let rows = entries.iter().map(|(key, traffic)| {
        let id = Id(key.destination.get());
        let is_service = key.flags & TrafficKey::SERVICE != 0;
        let (destination_kind, known) = match (id.0, is_service) {
            (0, _) => ("unknown", None),
            (_, true) => ("service", names.services.get(&id)),
            (_, false) => ("workload", names.workloads.get(&id)),
        };
        let Traffic {
            opened,
            closed,
            bytes_sent,
            bytes_received,
            duration_ns,
        } = *traffic;
        let left = key.flags & TrafficKey::LEFT != 0;
        Entry {
            pod: (!left).then(|| names.pod(key.source.get())).flatten(),
            source: Id(key.source.get()),
            left,
            class: Class::from_number(key.class).map(Class::label),
            path: path(key.flags & TrafficKey::STEER != 0),
            destination_kind,
            destination: known.cloned(),
            destination_id: id,
            opened,
            closed,
            sent_bytes: bytes_sent,
            received_bytes: bytes_received,
            duration_milliseconds: duration_ns / 1_000_000,
        }
    });
    Dump::of(rows.collect(), filter, width)
}

/// As it is called in metrics and tables.
pub(super) fn path(is_steered: bool) -> &'static str {
    if is_steered { "tunnel" } else { "bypass" }
}

impl Entry {
    fn who(&self) -> String {
        match &self.pod {
            Some(pod) => pod.clone(),
            None if self.left => "pods that left".to_owned(),
            None => self.source.0.to_string(),
        }
    }
}

impl Row for Entry {
    const HEADERS: &'static [&'static str] = &[
        "POD",
        "CLASS",
        "PATH",
        "DESTINATION",
        "OPENED",
        "CLOSED",
        "SENT",
        "RECEIVED",
    ];
    const NONE: &'static str = "no connection was counted so far";

    fn cells(&self) -> Vec<Cell> {
        let known = name_or_id(self.destination.as_deref(), self.destination_id);
        let destination = match known.is_empty() {
            true => "-".to_owned(),
            false => known,
        };
        vec![
            self.who().into(),
            self.class.unwrap_or("?").into(),
            self.path.into(),
            destination.into(),
            self.opened.to_string().into(),
            self.closed.to_string().into(),
            self.sent_bytes.to_string().into(),
            self.received_bytes.to_string().into(),
        ]
    }

    fn facts(&self) -> Facts {
        let (names, mut namespaces) = called(self.destination.as_deref(), self.destination_id);
        let pod = self.pod.iter();
        let of_pod = pod.filter_map(|pod| Some(pod.split_once('/')?.0.to_owned()));
        namespaces.extend(of_pod);
        Facts {
            namespaces,
            pods: self.pod.iter().cloned().collect(),
            names,
            ..Facts::default()
        }
    }
}

#[cfg(test)]
mod tests;
