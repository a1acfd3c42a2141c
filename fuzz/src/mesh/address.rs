//! Workloads and services.

use std::collections::BTreeMap;

use prost::Message as _;
use waysteer::source::xds::ADDRESS;
use waysteer::source::xds::proto::discovery::Resource;
use waysteer::source::xds::proto::workload as proto;

use super::{Choices, resource};

const NAMESPACES: [&str; 3] = ["default", "other", ""];
const HOSTS: [&str; 4] = ["s0", "s1", "waypoint", "s3"];
const PORTS: [u32; 7] = [80, 443, 8080, 15008, 0, 65535, 65536];
/// Also numbers of tomorrow.
const NUMBERS: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, -1];
const WEIGHTS: [u32; 5] = [1, 0, 2, 100, u32::MAX];

/// What a resource of this type may be called.
pub(super) fn name(choices: &mut Choices<'_>) -> String {
    if choices.one_in(2) {
        uid(choices)
    } else {
        let namespace = choices.one_of(&NAMESPACES);
        format!("{namespace}/{}", choices.one_of(&HOSTS))
    }
}

pub(super) fn address(choices: &mut Choices<'_>) -> Resource {
    let (name, made) = if choices.one_in(3) {
        let service = service(choices);
        let name = format!("{}/{}", service.namespace, service.hostname);
        (name, proto::address::Type::Service(service))
    } else {
        let workload = workload(choices);
        (
            workload.uid.clone(),
            proto::address::Type::Workload(workload),
        )
    };
    let message = proto::Address { r#type: Some(made) };
    resource(choices, ADDRESS, name, message.encode_to_vec())
}

fn uid(choices: &mut Choices<'_>) -> String {
    format!("cluster1//Pod/default/w{}", choices.byte() % 8)
}

fn number(choices: &mut Choices<'_>) -> i32 {
    choices.one_of(&NUMBERS)
}

fn ip(choices: &mut Choices<'_>) -> Vec<u8> {
    let last = choices.byte();
    match last >> 4 {
        0..=11 => vec![10, 0, 0, last % 8],
        12 | 13 => vec![0xfd; 16],
        14 => [vec![0; 10], vec![0xff, 0xff, 10, 0, 0, last % 8]].concat(),
        _ => vec![10, 0, 0],
    }
}

fn workload(choices: &mut Choices<'_>) -> proto::Workload {
    let uid = uid(choices);
    let mut services = BTreeMap::new();
    for _ in 0..choices.byte() % 3 {
        let namespace = choices.one_of(&NAMESPACES);
        let host = choices.one_of(&HOSTS);
        services.insert(format!("{namespace}/{host}"), port_list(choices));
    }
    if choices.one_in(64) {
        services.insert("no name".to_owned(), port_list(choices));
    }
    let name = uid.rsplit('/').next().unwrap_or_default().to_owned();
    proto::Workload {
        name,
        uid,
        namespace: choices.one_of(&["default", "default", "other"]).to_owned(),
        addresses: choices.some(2, ip),
        hostname: choices.one_of(&["", "h"]).to_owned(),
        network: choices.one_of(&["", "", "", "far"]).to_owned(),
        tunnel_protocol: number(choices),
        service_account: choices.one_of(&["", "default", "sa"]).to_owned(),
        waypoint: choices.one_in(3).then(|| gateway(choices)),
        network_gateway: choices.one_in(8).then(|| gateway(choices)),
        node: choices.one_of(&["node1", "node2", ""]).to_owned(),
        native_tunnel: choices.one_in(8),
        application_tunnel: choices.one_in(8).then(|| proto::ApplicationTunnel {
            protocol: number(choices),
            port: choices.one_of(&PORTS),
        }),
        services,
        authorization_policies: choices.some(2, super::policy::name),
        status: number(choices),
        cluster_id: choices.one_of(&["", "cluster2"]).to_owned(),
        locality: choices.one_in(3).then(|| locality(choices)),
        network_mode: choices.one_of(&[0, 0, 0, 1, 9]),
        capacity: choices.one_in(4).then(|| choices.one_of(&WEIGHTS)),
        ..proto::Workload::default()
    }
}

fn service(choices: &mut Choices<'_>) -> proto::Service {
    proto::Service {
        namespace: choices.one_of(&NAMESPACES).to_owned(),
        hostname: choices.one_of(&HOSTS).to_owned(),
        addresses: choices.some(2, network_address),
        ports: port_list(choices).ports,
        waypoint: choices.one_in(3).then(|| gateway(choices)),
        weighted_waypoints: match choices.one_in(4) {
            true => choices.some(3, weighted_waypoint),
            false => Vec::new(),
        },
        load_balancing: choices.one_in(2).then(|| proto::LoadBalancing {
            routing_preference: choices.some(3, number),
            mode: number(choices),
            health_policy: choices.one_of(&[0, 1, 9]),
        }),
        ip_families: choices.one_of(&[0, 1, 2, 3, 9]),
        canonical: choices.one_in(2),
        ingress_use_waypoint: choices.one_in(2),
        visibility: choices.one_of(&[0, 0, 1, 9]),
        ..proto::Service::default()
    }
}

fn port_list(choices: &mut Choices<'_>) -> proto::PortList {
    proto::PortList {
        ports: choices.some(3, |choices| proto::Port {
            service_port: choices.one_of(&PORTS),
            target_port: choices.one_of(&PORTS),
        }),
    }
}

fn network_address(choices: &mut Choices<'_>) -> proto::NetworkAddress {
    proto::NetworkAddress {
        network: choices.one_of(&["", "", "", "far"]).to_owned(),
        address: ip(choices),
        length: match choices.byte() % 16 {
            15 => Some(24),
            14 => Some(30),
            13 => Some(32),
            12 => Some(0),
            11 => Some(33),
            10 => Some(u32::MAX),
            _ => None,
        },
    }
}

fn gateway(choices: &mut Choices<'_>) -> proto::GatewayAddress {
    use proto::gateway_address::Destination;
    let destination = match choices.byte() % 8 {
        0..5 => Some(Destination::Hostname(proto::NamespacedHostname {
            namespace: choices.one_of(&NAMESPACES).to_owned(),
            hostname: choices.one_of(&HOSTS).to_owned(),
        })),
        5 | 6 => Some(Destination::Address(network_address(choices))),
        _ => None,
    };
    proto::GatewayAddress {
        destination,
        hbone_mtls_port: choices.one_of(&[15008, 15008, 0, 80, 65536]),
    }
}

fn weighted_waypoint(choices: &mut Choices<'_>) -> proto::WeightedWaypoint {
    proto::WeightedWaypoint {
        destination: (!choices.one_in(16)).then(|| gateway(choices)),
        weight: choices.one_of(&WEIGHTS),
    }
}

fn locality(choices: &mut Choices<'_>) -> proto::Locality {
    let mut part = || choices.one_of(&["", "a", "b"]).to_owned();
    proto::Locality {
        region: part(),
        zone: part(),
        subzone: part(),
    }
}
