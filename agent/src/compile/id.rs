//! Ids: digests of names, the same on every run and every node.
//!
//! 64 bits: among a million names the chance that any two collide is below 1 in 30 million.

use xxhash_rust::xxh3::Xxh3;

use crate::model::{GatewayAddress, GatewayDestination, NamespacedName, Uid, WeightedWaypoint};

pub fn workload_id(uid: &Uid) -> u64 {
    digest("workload", &[&uid.0])
}

/// `name` is namespace and hostname.
pub fn service_id(name: &NamespacedName) -> u64 {
    digest("service", &[&name.namespace, &name.name])
}

pub fn namespace_id(namespace: &str) -> u64 {
    digest("namespace", &[namespace])
}

/// Of what metrics call the workload of a pod.
pub fn source_id(namespace: &str, workload: &str, principal: &str) -> u64 {
    digest("source", &[namespace, workload, principal])
}

/// The id of a single waypoint.
pub fn waypoint_id(address: &GatewayAddress) -> u64 {
    digest("waypoint", &[&gateway_name(address)])
}

/// The id of a service's weighted waypoints taken together.
pub(super) fn weighted_waypoint_id(waypoints: &[WeightedWaypoint]) -> u64 {
    let names: Vec<String> = waypoints
        .iter()
        .map(|w| format!("{}*{}", w.weight, gateway_name(&w.destination)))
        .collect();
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    digest("weighted waypoint", &parts)
}

/// The id of the endpoints of one service port for one locality group.
pub(super) fn port_set_id(service: u64, port: u16, group: u32) -> u64 {
    digest(
        "port",
        &[&service.to_string(), &port.to_string(), &group.to_string()],
    )
}

/// The id of the endpoints of a waypoint for one locality group.
pub(super) fn waypoint_set_id(waypoint: u64, group: u32) -> u64 {
    digest("waypoint set", &[&waypoint.to_string(), &group.to_string()])
}

/// The id of policies that apply together. Never 0.
pub(super) fn policies_id(names: &[NamespacedName], what_else: &str) -> u32 {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let parts = names.iter().map(String::as_str).chain([what_else]);
    let id = digest("policies", &parts.collect::<Vec<_>>());
    (id as u32).max(1)
}

/// Never 0, which stands for "no name".
fn digest(kind: &str, parts: &[&str]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(kind.as_bytes());
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(&part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.digest().max(1)
}

fn gateway_name(address: &GatewayAddress) -> String {
    let port = address.hbone_mtls_port;
    match &address.destination {
        GatewayDestination::Address(a) => format!("address {}/{} {port}", a.network, a.address),
        GatewayDestination::Hostname(name) => format!("host {name} {port}"),
    }
}
