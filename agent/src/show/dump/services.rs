//! `SERVICES` with their ports, `WAYPOINTS`, and the endpoints of both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use waysteer_common::abi::key::{
    CidrKey, EndpointKey, ServiceKey, ServicePortKey, WaypointKey, WaypointMemberKey,
};
use waysteer_common::abi::value::{EndpointSetValue, EndpointValue, ServiceValue};
use waysteer_common::addr::Address;
use zerocopy::network_endian::U32;

use super::{Dump, Facts, Filter, Row, called, name_or_id};
use crate::address::from_wire;
use crate::compile::CidrTableKey;
use crate::names::{Id, Namer as _, Names, flags};
use crate::show::table::Cell;

/// Endpoints that a row of a table names.
const NAMED: usize = 3;

#[derive(Debug, Serialize)]
struct Service {
    /// A single address, or a block of them.
    address: IpNet,
    id: Id,
    name: Option<String>,
    /// Whose clients get this entry; everybody without.
    clients: Option<Id>,
    clients_name: Option<String>,
    flags: Vec<String>,
    waypoint: Option<Id>,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Serialize)]
struct Port {
    port: u16,
    group: u32,
    /// Every endpoint is plain TCP.
    plain: bool,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Serialize)]
struct Endpoint {
    workload: Id,
    name: Option<String>,
    addresses: Vec<IpAddr>,
    port: u16,
    protocol: &'static str,
    /// On this node; on another network.
    local: bool,
    remote: bool,
    /// Of 1: how often it is drawn.
    share: f64,
}

#[derive(Debug, Serialize)]
struct Waypoint {
    id: Id,
    group: u32,
    endpoints: Vec<Endpoint>,
    /// Workloads that are not sent through it, because they are it.
    members: Vec<String>,
}

/// Endpoints by their sets.
#[derive(Debug)]
pub struct Sets<'a> {
    pub endpoints: &'a BTreeMap<EndpointKey, EndpointValue>,
    pub names: &'a Names,
}

pub fn services(
    exact: &BTreeMap<ServiceKey, ServiceValue>,
    blocks: &BTreeMap<CidrTableKey<CidrKey>, ServiceValue>,
    ports: &BTreeMap<ServicePortKey, EndpointSetValue>,
    sets: &Sets<'_>,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let mut of: BTreeMap<u64, Vec<Port>> = BTreeMap::new();
    for (key, value) in ports {
        of.entry(key.service.get()).or_default().push(Port {
            port: key.port.get(),
            group: key.group.get(),
            plain: value.flags.get() & EndpointSetValue::ALL_PLAIN != 0,
            endpoints: sets.of(value),
        });
    }
    let row = |address: IpNet, namespace: u64, value: &ServiceValue| {
        let bits = value.flags.get();
        let id = value.id.get();
        Service {
            address,
            id: Id(id),
            name: sets.names.service(id),
            clients: (namespace != 0).then_some(Id(namespace)),
            clients_name: sets.names.namespace(namespace),
            flags: flags::service(bits),
            waypoint: (bits & ServiceValue::WAYPOINT != 0).then(|| Id(value.waypoint.get())),
            ports: of.get(&id).cloned().unwrap_or_default(),
        }
    };
    let exact = exact
        .iter()
        .map(|(key, value)| row(from_wire(key.address).into(), key.namespace.get(), value));
    let blocks = blocks.iter().filter_map(|(key, value)| {
        let net = block(key.data.address, key.prefix)?;
        Some(row(net, key.data.namespace.get(), value))
    });
    Dump::of(exact.chain(blocks).collect(), filter, width)
}

pub fn waypoints(
    entries: &BTreeMap<WaypointKey, EndpointSetValue>,
    members: &BTreeMap<WaypointMemberKey, u8>,
    sets: &Sets<'_>,
    filter: &Filter,
    width: Option<usize>,
) -> Dump {
    let row = |(key, value): (&WaypointKey, &EndpointSetValue)| {
        let mine = members.keys().filter(|m| m.waypoint == key.waypoint);
        let name = |id: u64| name_or_id(sets.names.workload(id).as_deref(), Id(id));
        Waypoint {
            id: Id(key.waypoint.get()),
            group: key.group.get(),
            endpoints: sets.of(value),
            members: mine.map(|m| name(m.workload.get())).collect(),
        }
    };
    Dump::of(entries.iter().map(row).collect(), filter, width)
}

/// A block of v4-mapped or IPv6 addresses behind a namespace.
fn block(address: [u8; 16], prefix: u32) -> Option<IpNet> {
    let bits = prefix.checked_sub(CidrKey::NAMESPACE_BITS)?;
    let address = from_wire(Address::from_v6(address));
    let bits = if address.is_ipv4() {
        bits.checked_sub(96)?
    } else {
        bits
    };
    IpNet::new(address, u8::try_from(bits).ok()?).ok()
}

impl Sets<'_> {
    fn of(&self, set: &EndpointSetValue) -> Vec<Endpoint> {
        let count = set.count.get();
        let key = |index: u32| EndpointKey {
            set: set.set,
            generation: set.generation,
            index: U32::new(index),
        };
        let last = count.checked_sub(1).map(key);
        let found: Vec<(u32, &EndpointValue)> = last.map_or_else(Vec::new, |last| {
            let range = self.endpoints.range(key(0)..=last);
            range.map(|(key, value)| (key.index.get(), value)).collect()
        });
        let mut shares: BTreeMap<u32, f64> = BTreeMap::new();
        for (index, value) in &found {
            let own = f64::from(value.threshold.get()) / 4_294_967_296.0;
            let own = if value.alias.get() == *index {
                1.0
            } else {
                own
            };
            *shares.entry(*index).or_default() += own / f64::from(count);
            *shares.entry(value.alias.get()).or_default() += (1.0 - own) / f64::from(count);
        }
        let endpoint = |(index, value): &(u32, &EndpointValue)| {
            let has = |flag| value.flags.get() & flag != 0;
            let v4 = has(EndpointValue::V4).then(|| IpAddr::from(value.v4));
            let v6 = has(EndpointValue::V6).then(|| from_wire(value.v6));
            let id = value.workload.get();
            Endpoint {
                workload: Id(id),
                name: self.names.workload(id),
                addresses: v4.into_iter().chain(v6).collect(),
                port: value.port.get(),
                protocol: if has(EndpointValue::HBONE) {
                    "HBONE"
                } else {
                    "TCP"
                },
                local: has(EndpointValue::LOCAL),
                remote: has(EndpointValue::REMOTE),
                share: shares.get(index).copied().unwrap_or_default(),
            }
        };
        found.iter().map(endpoint).collect()
    }
}

impl Endpoint {
    fn called(&self) -> String {
        match name_or_id(self.name.as_deref(), self.workload) {
            name if name.is_empty() => "unresolved".to_owned(),
            name => name,
        }
    }
}

/// The first few, and how many more.
fn some(endpoints: &[Endpoint]) -> String {
    if endpoints.is_empty() {
        return "nobody".to_owned();
    }
    let mut said: Vec<String> = endpoints.iter().take(NAMED).map(Endpoint::called).collect();
    let rest = endpoints.len().saturating_sub(NAMED);
    if rest > 0 {
        said.push(format!("and {rest} more"));
    }
    said.join(", ")
}

impl Row for Service {
    const HEADERS: &'static [&'static str] = &[
        "ADDRESS", "SERVICE", "CLIENTS", "FLAGS", "WAYPOINT", "PORTS",
    ];
    const NONE: &'static str = "no such service is in the maps";

    fn cells(&self) -> Vec<Cell> {
        let address = match self.address {
            net if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
            net => net.to_string(),
        };
        let clients = self.clients.map_or_else(
            || "all".to_owned(),
            |id| name_or_id(self.clients_name.as_deref(), id),
        );
        let port = |port: &Port| {
            let group = match port.group {
                0 => String::new(),
                group => format!(" from group {group}"),
            };
            format!("{}{group}: {}", port.port, some(&port.endpoints))
        };
        let ports: Vec<String> = self.ports.iter().map(port).collect();
        let waypoint = self.waypoint.map_or_else(String::new, |id| id.to_string());
        vec![
            address.into(),
            name_or_id(self.name.as_deref(), self.id).into(),
            clients.into(),
            self.flags.join(" ").into(),
            waypoint.into(),
            ports.join("; ").into(),
        ]
    }

    fn facts(&self) -> Facts {
        let (names, namespaces) = called(self.name.as_deref(), self.id);
        let endpoints = self.ports.iter().flat_map(|port| &port.endpoints);
        Facts {
            names,
            namespaces,
            pods: endpoints.map(Endpoint::called).collect(),
            addresses: vec![self.address],
        }
    }
}

impl Row for Waypoint {
    const HEADERS: &'static [&'static str] = &["WAYPOINT", "GROUP", "ENDPOINTS", "MEMBERS"];
    const NONE: &'static str = "no such waypoint is in the maps";

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.to_string().into(),
            self.group.to_string().into(),
            some(&self.endpoints).into(),
            self.members.join(", ").into(),
        ]
    }

    fn facts(&self) -> Facts {
        let pods: Vec<String> = self.endpoints.iter().map(Endpoint::called).collect();
        let spaces = pods.iter().filter_map(|name| name.split_once('/'));
        let addresses = self.endpoints.iter().flat_map(|e| &e.addresses);
        Facts {
            namespaces: spaces.map(|(namespace, _)| namespace.to_owned()).collect(),
            names: pods.iter().cloned().chain([self.id.to_string()]).collect(),
            addresses: addresses.map(|a| (*a).into()).collect(),
            pods,
        }
    }
}
