//! Services: `SERVICES`, `SERVICE_CIDRS`, `SERVICE_PORTS` and the endpoints behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use waysteer_common::abi::key::{ServiceKey, ServicePortKey};
use waysteer_common::abi::value::ServiceValue;

use super::endpoints::{self, Purpose};
use super::id::{self, namespace_id, service_id};
use super::index::{Index, is_grouped};
use super::tables::Tables;
use super::{cidr_key, waypoints};
use crate::address::to_wire;
use crate::model::{LoadBalancerMode, Service};

pub(super) fn compile(index: &Index<'_>, tables: &mut Tables) {
    let mut exact: BTreeMap<IpAddr, Vec<&Service>> = BTreeMap::new();
    let mut blocks: BTreeMap<IpNet, Vec<&Service>> = BTreeMap::new();
    for service in index.mesh.services.values() {
        let ours = |network: &String| *network == index.node.network;
        for vip in service.vips.iter().filter(|vip| ours(&vip.network)) {
            exact.entry(vip.address).or_default().push(service);
        }
        for block in service
            .cidr_vips
            .iter()
            .filter(|block| ours(&block.network))
        {
            blocks.entry(block.cidr.trunc()).or_default().push(service);
        }
    }
    for (address, services) in &exact {
        insert_exact(index, tables, *address, services);
    }
    for (block, services) in &blocks {
        insert_block(index, tables, block, services);
    }
    let dialled: BTreeMap<_, _> = exact
        .values()
        .chain(blocks.values())
        .flatten()
        .map(|s| (&s.hostname, *s))
        .collect();
    for service in dialled.values() {
        insert_ports(index, tables, service);
    }
}

/// The public choice under namespace 0, and under their own namespace the services whose
/// neighbours get another one.
fn insert_exact(index: &Index<'_>, tables: &mut Tables, address: IpAddr, services: &[&Service]) {
    let key = |namespace: u64| ServiceKey {
        namespace: namespace.into(),
        address: to_wire(address),
    };
    let public = Index::public_choice(services);
    let mut namespaced = false;
    for (namespace, service) in by_namespace(services) {
        if public.is_none_or(|public| public.hostname != service.hostname) {
            tables
                .services
                .insert(key(namespace_id(namespace)), value(index, service));
            namespaced = true;
        }
    }
    let mut default = match public {
        // What a rejected entry claims too is not let through unseen.
        Some(service)
            if index.disputed.contains(&address)
                && service.load_balancer.mode == LoadBalancerMode::Passthrough =>
        {
            ServiceValue {
                flags: ServiceValue::INVALID.into(),
                ..value(index, service)
            }
        }
        Some(service) => value(index, service),
        None => ServiceValue {
            flags: ServiceValue::HIDDEN.into(),
            ..ServiceValue::default()
        },
    };
    if namespaced {
        default.flags = (default.flags.get() | ServiceValue::NAMESPACED).into();
    }
    tables.services.insert(key(0), default);
}

/// A service of the client's own namespace is found first, whatever the length of its prefix.
fn insert_block(index: &Index<'_>, tables: &mut Tables, block: &IpNet, services: &[&Service]) {
    for (namespace, service) in by_namespace(services) {
        let key = cidr_key(namespace_id(namespace), block);
        tables.service_cidrs.insert(key, value(index, service));
    }
    if let Some(service) = Index::public_choice(services) {
        tables
            .service_cidrs
            .insert(cidr_key(0, block), value(index, service));
    }
}

/// The first service of each namespace.
fn by_namespace<'a>(services: &[&'a Service]) -> BTreeMap<&'a str, &'a Service> {
    let mut first = BTreeMap::new();
    for service in services {
        first
            .entry(service.hostname.namespace.as_str())
            .or_insert(*service);
    }
    first
}

fn value(index: &Index<'_>, service: &Service) -> ServiceValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let waypoint = waypoints::of_service(service);
    let flags = flag(waypoint.is_some(), ServiceValue::WAYPOINT)
        | flag(
            waypoint
                .as_ref()
                .is_some_and(|w| waypoints::is_grouped(index, w)),
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

fn insert_ports(index: &Index<'_>, tables: &mut Tables, service: &Service) {
    let service_id = service_id(&service.hostname);
    let all_plain = endpoints::all_plain(index, service);
    for &port in service.ports.keys() {
        for (group, place) in waypoints::groups(index, is_grouped(service)) {
            let candidates =
                endpoints::candidates(index, service, port, place, Purpose::Destination);
            let set = endpoints::insert_set(
                index,
                &mut tables.endpoints,
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
            tables.service_ports.insert(key, set);
        }
    }
}
