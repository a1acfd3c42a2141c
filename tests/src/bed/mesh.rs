//! The bed's mesh: in ztunnel's local format, and as istiod tells it.

use std::fmt::Write as _;

use waysteer::source::xds::proto::discovery::Resource;
use waysteer::source::xds::proto::workload as proto;

use super::{EMPTY, GATE, LOST, OPEN_PORT, OPEN_SERVICE_PORT, OWN, SHOP, WAYPOINT, WEB, WEB_LOCAL};
use crate::istiod::resources::{of_service, of_workload};
use crate::topology::{Addresses, Topology, service_addresses};

/// The waypoint of a workload of the bed.
const WORKLOAD_WAYPOINT: (&str, &str) = ("behind", "gate");

/// A workload of the bed.
struct Placed<'t> {
    name: &'t str,
    node: &'static str,
    protocol: &'static str,
    services: &'static [&'static str],
    addresses: &'t Addresses,
}

/// Name, number, ports and waypoint.
type Service = (
    &'static str,
    u8,
    &'static [(u16, u16)],
    Option<&'static str>,
);

const SERVICES: [Service; 8] = [
    ("web", WEB, &[(80, 8080)], None),
    (
        "web-local",
        WEB_LOCAL,
        &[(80, 8080), (OPEN_SERVICE_PORT, OPEN_PORT)],
        None,
    ),
    ("shop", SHOP, &[(80, 80), (2525, 2525)], Some("waypoint")),
    ("lost", LOST, &[(80, 8080)], Some("missing")),
    ("empty", EMPTY, &[(80, 8080)], None),
    ("own", OWN, &[(80, 8080)], None),
    ("waypoint", WAYPOINT, &[(15008, 15008)], None),
    ("gate", GATE, &[(15008, 15008)], None),
];

/// The pods that there are; what has no place of its own here is reached over HBONE.
fn workloads(topology: &Topology) -> impl Iterator<Item = Placed<'_>> {
    topology.pods().map(|pod| {
        let name = pod.name.as_str();
        let (node, protocol, services): (_, _, &'static [&'static str]) = match name {
            "client" => ("node1", "HBONE", &["own"]),
            "server" => ("node1", "HBONE", &["web-local"]),
            "plain" => ("node1", "TCP", &[]),
            "far" => ("node2", "HBONE", &["web", "shop", "lost"]),
            "behind" => ("node2", "HBONE", &[]),
            "far-plain" => ("node2", "TCP", &[]),
            "waypoint" => ("node2", "HBONE", &["waypoint"]),
            "gate" => ("node2", "HBONE", &["gate"]),
            _ => ("node1", "HBONE", &[]),
        };
        Placed {
            name,
            node,
            protocol,
            services,
            addresses: &pod.addresses,
        }
    })
}

fn hostname(service: &str) -> String {
    format!("{service}.default.svc.cluster.local")
}

pub(super) fn file(topology: &Topology) -> String {
    let mut text = String::from("workloads:\n");
    let gateway = |name: &str| {
        let hostname = hostname(name);
        format!("{{destination: \"default/{hostname}\", hboneMtlsPort: 15008}}")
    };
    for placed in workloads(topology) {
        let Placed {
            name,
            node,
            protocol,
            services,
            addresses: Addresses { v4, v6 },
        } = placed;
        let services: Vec<String> = services
            .iter()
            .map(|name| format!("\"default/{}\": {{}}", hostname(name)))
            .collect();
        let _ = write!(
            text,
            "- {{uid: \"cluster1//Pod/default/{name}\", name: {name}, namespace: default, \
                 serviceAccount: {name}, trustDomain: cluster.local, node: {node}, \
                 protocol: {protocol}, workloadIps: [\"{v4}\", \"{v6}\"], services: {{{}}}",
            services.join(", ")
        );
        if name == WORKLOAD_WAYPOINT.0 {
            let _ = write!(text, ", waypoint: {}", gateway(WORKLOAD_WAYPOINT.1));
        }
        text += "}\n";
    }
    text += "services:\n";
    for (name, number, ports, waypoint) in SERVICES {
        let Addresses { v4, v6 } = service_addresses(number);
        let ports: Vec<String> = ports.iter().map(|(of, to)| format!("{of}: {to}")).collect();
        let _ = write!(
            text,
            "- {{name: {name}, namespace: default, hostname: {}, vips: [\"/{v4}\", \"/{v6}\"], \
             ports: {{{}}}",
            hostname(name),
            ports.join(", ")
        );
        if let Some(waypoint) = waypoint {
            let _ = write!(text, ", waypoint: {}", gateway(waypoint));
        }
        text += "}\n";
    }
    text
}

/// The same, as resources of version 1.
pub(super) fn resources(topology: &Topology) -> Vec<Resource> {
    let workloads = workloads(topology).map(|placed| of_workload(&workload(&placed), "1"));
    let services = SERVICES.iter().map(|of| of_service(&service(of), "1"));
    workloads.chain(services).collect()
}

/// A service of the bed as istiod has it.
pub(super) fn service_of(name: &str) -> Option<proto::Service> {
    SERVICES.iter().find(|of| of.0 == name).map(service)
}

/// A workload of the bed as istiod has it.
pub(super) fn workload_of(topology: &Topology, name: &str) -> Option<proto::Workload> {
    let mut all = workloads(topology);
    all.find(|placed| placed.name == name)
        .map(|placed| workload(&placed))
}

pub(super) fn gateway(service: &str) -> proto::GatewayAddress {
    let hostname = proto::NamespacedHostname {
        namespace: "default".into(),
        hostname: hostname(service),
    };
    proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Hostname(hostname)),
        hbone_mtls_port: 15008,
    }
}

fn workload(placed: &Placed<'_>) -> proto::Workload {
    let Placed {
        name,
        node,
        protocol,
        services,
        addresses: Addresses { v4, v6 },
    } = placed;
    let protocol = match *protocol {
        "HBONE" => proto::TunnelProtocol::Hbone,
        _ => proto::TunnelProtocol::None,
    };
    let in_service = |service: &&str| {
        let name = format!("default/{}", hostname(service));
        (name, proto::PortList::default())
    };
    proto::Workload {
        uid: format!("cluster1//Pod/default/{name}"),
        name: (*name).into(),
        namespace: "default".into(),
        service_account: (*name).into(),
        node: (*node).into(),
        tunnel_protocol: protocol.into(),
        addresses: vec![v4.octets().to_vec(), v6.octets().to_vec()],
        services: services.iter().map(in_service).collect(),
        waypoint: (*name == WORKLOAD_WAYPOINT.0).then(|| gateway(WORKLOAD_WAYPOINT.1)),
        ..proto::Workload::default()
    }
}

fn service((name, number, ports, waypoint): &Service) -> proto::Service {
    let Addresses { v4, v6 } = service_addresses(*number);
    let address = |address: Vec<u8>| proto::NetworkAddress {
        network: String::new(),
        address,
        length: None,
    };
    let port = |(service, target): &(u16, u16)| proto::Port {
        service_port: (*service).into(),
        target_port: (*target).into(),
    };
    proto::Service {
        name: (*name).into(),
        namespace: "default".into(),
        hostname: hostname(name),
        addresses: vec![address(v4.octets().into()), address(v6.octets().into())],
        ports: ports.iter().map(port).collect(),
        waypoint: waypoint.map(gateway),
        ..proto::Service::default()
    }
}
