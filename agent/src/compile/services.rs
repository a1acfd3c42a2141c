//! Services: `SERVICES`, `SERVICE_CIDRS`, `SERVICE_PORTS` and the endpoints behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use waysteer_common::abi::key::{ServiceKey, ServicePortKey};
use waysteer_common::abi::value::ServiceValue;

use super::cidr_key;
use super::endpoints::{self, Purpose, Set};
use super::id::{self, namespace_id, service_id};
use super::index::{Index, public_choice};
use super::output::{Output, put};
use super::place::is_grouped;
use super::registry::Waypoint;
use super::tables::holds_v4;
use crate::address::to_wire;
use crate::model::{LoadBalancerMode, NamespacedName, Service, Text};

/// The entries of one address. The public choice stands under namespace 0, and under their own
/// namespace the services whose neighbours get another one.
pub(super) fn compile_vip(index: &Index, output: &mut Output, address: IpAddr) {
    let services = index.services_at(address);
    let disputed = index.is_disputed(address);
    let entry = |service: &Service| {
        let mut entry = value(index, service);
        if disputed && service.load_balancer.mode == LoadBalancerMode::Passthrough {
            // What a rejected entry claims too is not let through unseen.
            entry.flags = ServiceValue::INVALID.into();
        }
        entry
    };
    let mut entries = BTreeMap::new();
    let public = public_choice(&services);
    for (namespace, service) in by_namespace(&services) {
        if public.is_none_or(|public| public.hostname != service.hostname) {
            entries.insert(namespace_id(namespace), entry(service));
        }
    }
    let namespaces: BTreeSet<u64> = entries.keys().copied().collect();
    if !services.is_empty() {
        let mut default = match public {
            Some(service) => entry(service),
            // The rejected entry may be for those who do not see these.
            None if disputed => flagged(ServiceValue::INVALID),
            None => flagged(ServiceValue::HIDDEN),
        };
        if !namespaces.is_empty() {
            default.flags = (default.flags.get() | ServiceValue::NAMESPACED).into();
        }
        entries.insert(0, default);
    }
    let before = replace(&mut output.vip_namespaces, &address, namespaces);
    for namespace in before.iter().chain(entries.keys()).chain(&[0]) {
        let key = ServiceKey {
            namespace: (*namespace).into(),
            address: to_wire(address),
        };
        let value = entries.get(namespace).copied();
        put(
            &mut output.tables.services,
            &mut output.changes.services,
            key,
            value,
        );
    }
}

/// The entries of one block. A service of the client's own namespace is found first, whatever the
/// length of its prefix.
pub(super) fn compile_block(index: &Index, output: &mut Output, block: &IpNet) {
    let services = index.services_of_block(block);
    let families = match holds_v4(block) {
        true => ServiceValue::V6_ONLY,
        false => 0,
    };
    let value = |service| {
        let value = value(index, service);
        ServiceValue {
            flags: value.flags | families,
            ..value
        }
    };
    let own = by_namespace(&services).into_iter();
    let mut entries: BTreeMap<u64, ServiceValue> = own
        .map(|(namespace, service)| (namespace_id(namespace), value(service)))
        .collect();
    let namespaces = entries.keys().copied().collect();
    if let Some(service) = public_choice(&services) {
        entries.insert(0, value(service));
    }
    let before = replace(&mut output.block_namespaces, block, namespaces);
    for namespace in before.iter().chain(entries.keys()).chain(&[0]) {
        let key = cidr_key(*namespace, block);
        let value = entries.get(namespace).copied();
        let changes = &mut output.changes.service_cidrs;
        put(&mut output.tables.service_cidrs, changes, key, value);
    }
}

/// The entries of one service's ports, if it can be dialled by address.
pub(super) fn compile_ports(index: &Index, output: &mut Output, name: &NamespacedName) {
    let ours = |network: &Text| *network == index.node.network;
    let service = index.mesh.services.get(name).filter(|service| {
        let mut vips = service.vips.iter();
        let mut blocks = service.cidr_vips.iter();
        vips.any(|vip| ours(&vip.network)) || blocks.any(|block| ours(&block.network))
    });
    let sets = service.map(|service| ports(index, service));
    output.put_ports(service_id(name), sets.unwrap_or_default());
}

/// No service that everybody may see.
fn flagged(flag: u32) -> ServiceValue {
    ServiceValue {
        flags: flag.into(),
        ..ServiceValue::default()
    }
}

/// Remembers which namespaces have entries now; in return those that had until now.
fn replace<K: Ord + Clone>(
    all: &mut BTreeMap<K, BTreeSet<u64>>,
    key: &K,
    namespaces: BTreeSet<u64>,
) -> BTreeSet<u64> {
    let before = all.remove(key).unwrap_or_default();
    if !namespaces.is_empty() {
        all.insert(key.clone(), namespaces);
    }
    before
}

/// The first service of each namespace.
fn by_namespace<'a>(services: &[&'a Service]) -> BTreeMap<&'a str, &'a Service> {
    let mut first = BTreeMap::new();
    for service in services {
        first
            .entry(&*service.hostname.namespace)
            .or_insert(*service);
    }
    first
}

fn value(index: &Index, service: &Service) -> ServiceValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let waypoint = Waypoint::of_service(service);
    let flags = flag(waypoint.is_some(), ServiceValue::WAYPOINT)
        | flag(
            waypoint
                .as_ref()
                .is_some_and(|w| index.is_waypoint_grouped(w)),
            ServiceValue::WAYPOINT_GROUPED,
        )
        | flag(is_grouped(service), ServiceValue::GROUPED)
        | match service.load_balancer.mode {
            LoadBalancerMode::Passthrough => ServiceValue::PASSTHROUGH,
            LoadBalancerMode::Unknown => ServiceValue::INVALID,
            LoadBalancerMode::Standard | LoadBalancerMode::Strict | LoadBalancerMode::Failover => 0,
        };
    ServiceValue {
        id: service_id(&service.hostname).into(),
        waypoint: waypoint.map_or(0, |w| w.id()).into(),
        flags: flags.into(),
        padding: [0; 4],
    }
}

fn ports(index: &Index, service: &Service) -> BTreeMap<ServicePortKey, Set> {
    let service_id = service_id(&service.hostname);
    let all_plain = endpoints::all_plain(index, service);
    let mut sets = BTreeMap::new();
    for (group, place) in index.groups(is_grouped(service)) {
        for &port in service.ports.keys() {
            let candidates =
                endpoints::candidates(index, service, port, place, Purpose::Destination);
            let set = endpoints::set(
                index,
                id::port_set_id(service_id, port, group),
                &candidates,
                all_plain && !candidates.is_empty(),
            );
            let key = ServicePortKey {
                service: service_id.into(),
                group: group.into(),
                port: port.into(),
                padding: [0; 2],
            };
            sets.insert(key, set);
        }
    }
    sets
}
