//! `WORKLOADS`: who has an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::value::WorkloadValue;

use super::{Dump, Facts, Filter, Row, called, name_or_id};
use crate::address::from_wire;
use crate::names::{Id, Namer as _, Names, flags};
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Workload {
    address: IpAddr,
    id: Id,
    name: Option<String>,
    protocol: &'static str,
    flags: Vec<String>,
    waypoint: Option<Id>,
    /// Its endpoints depend on where the source is.
    waypoint_grouped: bool,
}

pub fn workloads(
    entries: &BTreeMap<AddressKey, WorkloadValue>,
    names: &Names,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let row = |(key, value): (&AddressKey, &WorkloadValue)| {
        let bits = value.flags.get();
        let has = |flag| bits & flag != 0;
        Workload {
            address: from_wire(key.address),
            id: Id(value.id.get()),
            name: names.workload(value.id.get()),
            protocol: if has(WorkloadValue::HBONE) {
                "HBONE"
            } else {
                "TCP"
            },
            flags: flags::workload(bits),
            waypoint: has(WorkloadValue::WAYPOINT).then(|| Id(value.waypoint.get())),
            waypoint_grouped: has(WorkloadValue::WAYPOINT_GROUPED),
        }
    };
    Dump::of(entries.iter().map(row).collect(), filter, width)
}

impl Row for Workload {
    const HEADERS: &'static [&'static str] =
        &["ADDRESS", "WORKLOAD", "PROTOCOL", "FLAGS", "WAYPOINT"];
    const NONE: &'static str = "no such workload is in the maps";

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.address.to_string().into(),
            name_or_id(self.name.as_deref(), self.id).into(),
            self.protocol.into(),
            self.flags.join(" ").into(),
            self.waypoint
                .map_or_else(String::new, |id| id.to_string())
                .into(),
        ]
    }

    fn facts(&self) -> Facts {
        let (names, namespaces) = called(self.name.as_deref(), self.id);
        Facts {
            pods: names.clone(),
            names,
            namespaces,
            addresses: vec![self.address.into()],
        }
    }
}
