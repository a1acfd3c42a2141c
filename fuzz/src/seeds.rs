//! What the targets begin with: small, of every kind, made from the formats.

use std::path::PathBuf;

use prost::Message as _;
use prost_types::Any;
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryResponse, Resource};
use waysteer::source::xds::proto::workload as proto;

/// Each with a name.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Where [`write()`] puts them.
const DIRECTORY: &str = "WAYSTEER_SEEDS";

/// Writes them where the environment says, before libFuzzer reads what is there.
///
/// # Panics
/// When they cannot be written.
pub fn write(seeds: Seeds) {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    for (name, bytes) in seeds {
        std::fs::write(directory.join(name), bytes).expect("the seeds can be written");
    }
}

/// Numbers of the types in `xds`.
const AUTHORIZATION: u8 = 1;
const ADDRESS: u8 = 3;

pub fn packets() -> Seeds {
    let mut tcp = vec![0x9c, 0x40, 0x00, 0x50];
    tcp.extend([0; 9]);
    tcp.push(2);
    tcp.extend([0; 6]);
    let v4 = |first: u8, fragment: [u8; 2], protocol: u8| {
        let mut bytes = vec![0x08, 0x00, first, 0, 0, 0, 0, 0];
        bytes.extend(fragment);
        bytes.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(vec![1; usize::from(first & 0x0f).saturating_sub(5) * 4]);
        bytes.extend(&tcp);
        bytes
    };
    let v6 = |next: u8, headers: &[u8]| {
        let mut bytes = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64];
        bytes.extend([0xfd; 32]);
        bytes.extend(headers);
        bytes.extend(&tcp);
        bytes
    };
    let mut tagged = vec![0x81, 0x00, 0, 1];
    tagged.extend(v4(0x45, [0, 0], 6));
    vec![
        ("v4", v4(0x45, [0, 0], 6)),
        ("v4-options", v4(0x48, [0, 0], 6)),
        ("v4-first-fragment", v4(0x45, [0x20, 0], 6)),
        ("v4-later-fragment", v4(0x45, [0, 9], 6)),
        ("v4-udp", v4(0x45, [0, 0], 17)),
        ("v4-tagged", tagged),
        ("v6", v6(6, &[])),
        ("v6-options", v6(0, &[6, 0, 0, 0, 0, 0, 0, 0])),
        ("v6-fragment", v6(44, &[6, 0, 0, 1, 0, 0, 0, 1])),
        (
            "v6-authenticated",
            v6(51, &[6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
    ]
}

pub fn xds() -> Seeds {
    let all = vec![
        of_workload(&workload("w0", [10, 0, 0, 0])),
        of_workload(&workload("w1", [10, 0, 0, 1])),
        of_service(&service()),
    ];
    let policies = vec![of_policy()];
    let whole = [
        told(ADDRESS, all.clone(), &[]),
        told(AUTHORIZATION, policies.clone(), &[]),
    ];
    let gone = told(ADDRESS, Vec::new(), &["cluster1//Pod/default/w1"]);
    vec![
        ("addresses", told(ADDRESS, all, &[])),
        ("policies", told(AUTHORIZATION, policies, &[])),
        ("whole", whole.concat()),
        ("history", [whole.concat(), gone, whole.concat()].concat()),
    ]
}

/// Bytes of every kind, the same each time.
pub fn meshes() -> Seeds {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = |count: usize| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..count).map(|_| next()).collect()
    };
    vec![
        ("short", bytes(64)),
        ("middle", bytes(300)),
        ("long", bytes(1000)),
        ("longer", bytes(2000)),
    ]
}

fn told(kind: u8, resources: Vec<Resource>, gone: &[&str]) -> Vec<u8> {
    let response = DeltaDiscoveryResponse {
        resources,
        removed_resources: gone.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    };
    let mut bytes = vec![kind];
    bytes.extend(response.encode_length_delimited_to_vec());
    bytes
}

fn resource(name: &str, value: Vec<u8>) -> Resource {
    Resource {
        name: name.to_owned(),
        version: "1".to_owned(),
        aliases: Vec::new(),
        // The target knows which type it must be.
        resource: Some(Any {
            type_url: String::new(),
            value,
        }),
    }
}

fn of_workload(workload: &proto::Workload) -> Resource {
    let message = proto::Address {
        r#type: Some(proto::address::Type::Workload(workload.clone())),
    };
    resource(&workload.uid, message.encode_to_vec())
}

fn of_service(service: &proto::Service) -> Resource {
    let message = proto::Address {
        r#type: Some(proto::address::Type::Service(service.clone())),
    };
    let name = format!("{}/{}", service.namespace, service.hostname);
    resource(&name, message.encode_to_vec())
}

fn of_policy() -> Resource {
    let policy = Authorization {
        name: "p".to_owned(),
        namespace: "default".to_owned(),
        scope: 1,
        ..Authorization::default()
    };
    resource("default/p", policy.encode_to_vec())
}

/// With something in every field that matters.
fn workload(name: &str, address: [u8; 4]) -> proto::Workload {
    let ports = proto::PortList {
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 8080,
        }],
    };
    proto::Workload {
        uid: format!("cluster1//Pod/default/{name}"),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        addresses: vec![address.to_vec(), vec![0xfd; 16]],
        node: "node1".to_owned(),
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        services: [("default/s.default".to_owned(), ports)].into(),
        waypoint: Some(gateway()),
        capacity: Some(2),
        authorization_policies: vec!["default/p".to_owned()],
        locality: Some(proto::Locality {
            region: "r".to_owned(),
            zone: "z".to_owned(),
            subzone: "s".to_owned(),
        }),
        ..proto::Workload::default()
    }
}

fn service() -> proto::Service {
    let address = |address: Vec<u8>, length| proto::NetworkAddress {
        network: String::new(),
        address,
        length,
    };
    proto::Service {
        name: "s".to_owned(),
        namespace: "default".to_owned(),
        hostname: "s.default".to_owned(),
        addresses: vec![
            address(vec![10, 96, 0, 1], None),
            address(vec![10, 97, 0, 0], Some(16)),
        ],
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 0,
        }],
        weighted_waypoints: vec![proto::WeightedWaypoint {
            destination: Some(gateway()),
            weight: 3,
        }],
        load_balancing: Some(proto::LoadBalancing {
            routing_preference: vec![1, 2],
            mode: 2,
            health_policy: 1,
        }),
        ..proto::Service::default()
    }
}

fn gateway() -> proto::GatewayAddress {
    let hostname = proto::NamespacedHostname {
        namespace: "default".to_owned(),
        hostname: "s.default".to_owned(),
    };
    proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Hostname(hostname)),
        hbone_mtls_port: 15008,
    }
}
