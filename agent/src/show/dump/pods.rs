//! `PODS` and `POD_ADDRESSES`: whose connections are judged.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::value::PodAddressValue;
use waysteer_common::addr::Address;

use super::{Dump, Facts, Filter, Row, name_or_id};
use crate::address::from_wire;
use crate::names::{Id, Namer as _, Names, flags};
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Pod {
    /// As it was enrolled.
    pod: Option<String>,
    netns: u64,
    workload: Id,
    workload_name: Option<String>,
    namespace: Id,
    namespace_name: Option<String>,
    /// Of places that get the same endpoints.
    group: u32,
    flags: Vec<String>,
    addresses: Vec<IpAddr>,
}

pub fn pods(
    entries: &BTreeMap<PodKey, PodValue>,
    addresses: &BTreeMap<AddressKey, PodAddressValue>,
    names: &Names,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let mut of: BTreeMap<u64, Vec<IpAddr>> = BTreeMap::new();
    for (key, value) in addresses {
        let found = of.entry(value.netns.get()).or_default();
        found.push(from_wire(key.address));
    }
    let row = |(key, value): (&PodKey, &PodValue)| {
        let netns = key.netns.get();
        let mut addresses = of.remove(&netns).unwrap_or_default();
        for main in [value.v4, value.v6] {
            let address = from_wire(main);
            if main != Address::UNSPECIFIED && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Pod {
            pod: names.pod(netns),
            netns,
            workload: Id(value.workload.get()),
            workload_name: names.workload(value.workload.get()),
            namespace: Id(value.namespace.get()),
            namespace_name: names.namespace(value.namespace.get()),
            group: value.group.get(),
            flags: flags::pod(value.flags.get()),
            addresses,
        }
    };
    Dump::of(entries.iter().map(row).collect(), filter, width)
}

impl Row for Pod {
    const HEADERS: &'static [&'static str] = &[
        "POD",
        "NETNS",
        "WORKLOAD",
        "NAMESPACE",
        "GROUP",
        "FLAGS",
        "ADDRESSES",
    ];
    const NONE: &'static str = "no such pod is in the maps";

    fn cells(&self) -> Vec<Cell> {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        vec![
            self.pod.clone().unwrap_or_default().into(),
            self.netns.to_string().into(),
            name_or_id(self.workload_name.as_deref(), self.workload).into(),
            name_or_id(self.namespace_name.as_deref(), self.namespace).into(),
            self.group.to_string().into(),
            self.flags.join(" ").into(),
            addresses.join(" ").into(),
        ]
    }

    fn facts(&self) -> Facts {
        let both = [&self.pod, &self.workload_name];
        let names: Vec<String> = both
            .into_iter()
            .flatten()
            .cloned()
            .chain([self.netns.to_string(), self.workload.to_string()])
            .collect();
        let of_pod = self.pod.as_deref().and_then(|pod| pod.split_once('/'));
        let namespaces = of_pod.map(|(namespace, _)| namespace.to_owned());
        Facts {
            namespaces: namespaces
                .into_iter()
                .chain(self.namespace_name.clone())
                .collect(),
            pods: names.clone(),
            names,
            addresses: self.addresses.iter().map(|a| (*a).into()).collect(),
        }
    }
}
