//! The bed's mesh file, in ztunnel's local format.

use super::{EMPTY, GATE, LOST, OWN, SHOP, WAYPOINT, WEB, WEB_LOCAL};
use crate::topology::{Topology, service_addresses};

/// Of the pods that there are; what has no place of its own here is reached over HBONE.
pub(super) fn file(topology: &Topology) -> String {
    let mut text = String::from("workloads:\n");
    let service = |name: &str| format!("default/{name}.default.svc.cluster.local");
    let gateway = |name: &str| {
        format!(
            "{{destination: \"{}\", hboneMtlsPort: 15008}}",
            service(name)
        )
    };
    let placed = [
        ("client", "node1", "HBONE", vec!["own"]),
        ("server", "node1", "HBONE", vec!["web-local"]),
        ("other", "node1", "HBONE", vec![]),
        ("plain", "node1", "TCP", vec![]),
        ("far", "node2", "HBONE", vec!["web", "shop", "lost"]),
        ("behind", "node2", "HBONE", vec![]),
        ("far-plain", "node2", "TCP", vec![]),
        ("waypoint", "node2", "HBONE", vec!["waypoint"]),
        ("gate", "node2", "HBONE", vec!["gate"]),
    ];
    for pod in topology.pods() {
        let name = pod.name.as_str();
        let place = placed.iter().find(|(placed, ..)| *placed == name);
        let more = (name, "node1", "HBONE", vec![]);
        let (name, node, protocol, services) = place.unwrap_or(&more).clone();
        let services: Vec<String> = services
            .into_iter()
            .map(|name| format!("\"{}\": {{}}", service(name)))
            .collect();
        let [v4, v6] = pod.addresses.both();
        text += &format!(
            "- {{uid: \"cluster1//Pod/default/{name}\", name: {name}, namespace: default, \
                 serviceAccount: {name}, trustDomain: cluster.local, node: {node}, \
                 protocol: {protocol}, workloadIps: [\"{v4}\", \"{v6}\"], services: {{{}}}",
            services.join(", ")
        );
        if name == "behind" {
            text += &format!(", waypoint: {}", gateway("gate"));
        }
        text += "}\n";
    }
    text += "services:\n";
    for (name, number, ports, waypoint) in [
        ("web", WEB, "{80: 8080}", None),
        ("web-local", WEB_LOCAL, "{80: 8080}", None),
        ("shop", SHOP, "{80: 80, 2525: 2525}", Some("waypoint")),
        ("lost", LOST, "{80: 8080}", Some("missing")),
        ("empty", EMPTY, "{80: 8080}", None),
        ("own", OWN, "{80: 8080}", None),
        ("waypoint", WAYPOINT, "{15008: 15008}", None),
        ("gate", GATE, "{15008: 15008}", None),
    ] {
        let [v4, v6] = service_addresses(number).both();
        text += &format!(
            "- {{name: {name}, namespace: default, \
                 hostname: {name}.default.svc.cluster.local, vips: [\"/{v4}\", \"/{v6}\"], \
                 ports: {ports}"
        );
        if let Some(waypoint) = waypoint {
            text += &format!(", waypoint: {}", gateway(waypoint));
        }
        text += "}\n";
    }
    text
}
