//! `POLICIES`: what policies say of pods that dial their neighbours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use waysteer_common::abi::key::{AddressKey, PolicyKey};
use waysteer_common::abi::value::{PolicyValue, WorkloadValue};

use super::{Dump, Facts, Filter, Row};
use crate::address::from_wire;
use crate::names::Names;
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Policy {
    netns: u64,
    pod: Option<String>,
    policies: String,
    /// Where they apply.
    addresses: Vec<IpAddr>,
    /// Whether ports that are no exceptions are allowed.
    allowed: bool,
    exceptions: Vec<u16>,
    #[serde(skip)]
    said: String,
}

pub fn policies(
    entries: &BTreeMap<PolicyKey, PolicyValue>,
    workloads: &BTreeMap<AddressKey, WorkloadValue>,
    names: &Names,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let mut at: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for (key, value) in workloads {
        let addresses = at.entry(value.policies.get()).or_default();
        addresses.push(from_wire(key.address));
    }
    let row = |(key, value): (&PolicyKey, &PolicyValue)| {
        let (netns, policies) = (key.netns.get(), key.policies.get());
        let exceptions = value.exceptions.iter().map(|port| port.get());
        Policy {
            netns,
            pod: names.pod(netns),
            policies: format!("{policies:08x}"),
            addresses: at.get(&policies).cloned().unwrap_or_default(),
            allowed: value.flags.get() & PolicyValue::ALLOWED != 0,
            exceptions: exceptions.filter(|port| *port != 0).collect(),
            said: crate::explain::policy(value),
        }
    };
    Dump::of(entries.iter().map(row).collect(), filter, width)
}

impl Row for Policy {
    const HEADERS: &'static [&'static str] = &["FROM", "TO", "POLICIES", "PORTS"];
    const NONE: &'static str = "no such policy is in the maps";

    fn cells(&self) -> Vec<Cell> {
        let netns = || format!("netns {}", self.netns);
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        vec![
            self.pod.clone().unwrap_or_else(netns).into(),
            addresses.join(" ").into(),
            self.policies.as_str().into(),
            self.said.as_str().into(),
        ]
    }

    fn facts(&self) -> Facts {
        let name = self.pod.as_deref().unwrap_or_default();
        let namespace = name.split_once('/').map(|(namespace, _)| namespace);
        let names = vec![name.to_owned(), self.netns.to_string()];
        Facts {
            pods: names.clone(),
            names,
            namespaces: namespace.into_iter().map(str::to_owned).collect(),
            addresses: self.addresses.iter().map(|ip| (*ip).into()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_left_are_told_by_pod() {
        let mut names = Names::default();
        names.pods.insert(7, "shop/web".into());
        let mut but_one = PolicyValue {
            flags: PolicyValue::ALLOWED.into(),
            ..PolicyValue::default()
        };
        but_one.exceptions[0] = 8080.into();
        let key = |netns: u64| PolicyKey {
            netns: netns.into(),
            policies: 0xab.into(),
            padding: [0; 4],
        };
        let entries = [(key(7), but_one), (key(8), PolicyValue::default())].into();
        let address = AddressKey {
            address: crate::address::to_wire([10, 1, 0, 2].into()),
        };
        let workload = WorkloadValue {
            policies: 0xab.into(),
            ..WorkloadValue::default()
        };
        let workloads = [(address, workload)].into();
        let dumped = policies(&entries, &workloads, &names, &Filter::default(), None);
        let plain = anstream::adapter::strip_str(&dumped.text).to_string();
        let said: Vec<Vec<&str>> = plain.lines().map(|l| l.split("  ").collect()).collect();
        let said: Vec<Vec<&str>> = said
            .into_iter()
            .map(|cells| {
                let cells = cells.into_iter().map(str::trim);
                cells.filter(|cell| !cell.is_empty()).collect()
            })
            .collect();
        let expected = [
            vec!["FROM", "TO", "POLICIES", "PORTS"],
            vec![
                "shop/web",
                "10.1.0.2",
                "000000ab",
                "all ports are allowed but 8080",
            ],
            vec!["netns 8", "10.1.0.2", "000000ab", "no port is allowed"],
        ];
        assert_eq!(said, expected);
        let only = Filter {
            pod: Some("web".into()),
            ..Filter::default()
        };
        let dumped = policies(&entries, &workloads, &names, &only, None);
        assert_eq!(dumped.rows.as_array().map(Vec::len), Some(1));
    }
}
