//! The mesh, in ztunnel's local format.

use std::fmt::Write as _;

use waysteer_tests::topology::{Addresses, Topology, service_addresses};

use super::{NEIGHBOUR, PORT, SHOP};

const WAYPOINT: u8 = 20;
/// Of the further ones.
const NODE: usize = 100;

/// A mesh of the stage's pods and `extra` more, which are elsewhere.
pub(super) fn file(topology: &Topology, extra: usize) -> String {
    let mut text = String::from("workloads:\n");
    for pod in topology.pods() {
        let name = pod.name.as_str();
        let Addresses { v4, v6 } = pod.addresses;
        let (node, protocol, service) = match name {
            "far" => ("node2", "HBONE", "\"default/shop.example\": {}"),
            "waypoint" => ("node2", "HBONE", "\"default/waypoint.example\": {}"),
            "server" => ("node1", "HBONE", "\"default/neighbour.example\": {}"),
            "far-plain" => ("node2", "TCP", ""),
            "plain" | "plain2" | "rules" | "ruled" | "hooked" => ("node1", "TCP", ""),
            _ => ("node1", "HBONE", ""),
        };
        let _ = writeln!(
            text,
            "- {{uid: \"cluster1//Pod/default/{name}\", name: {name}, namespace: default, \
             serviceAccount: {name}, trustDomain: cluster.local, node: {node}, \
             protocol: {protocol}, workloadIps: [\"{v4}\", \"{v6}\"], services: {{{service}}}}}"
        );
    }
    for number in 0..extra {
        let [_, b, c, d] = (number as u32).to_be_bytes();
        let _ = writeln!(
            text,
            "- {{uid: \"cluster1//Pod/other/app-{number}\", name: app-{number}, namespace: other, \
             serviceAccount: app, trustDomain: cluster.local, node: node-{}, protocol: HBONE, \
             workloadIps: [\"100.{b}.{c}.{d}\"], services: {{}}}}",
            number / NODE
        );
    }
    text += "services:\n";
    for (name, number, port, waypoint) in [
        (
            "shop",
            SHOP,
            PORT,
            ", waypoint: {destination: \"default/waypoint.example\", hboneMtlsPort: 15008}",
        ),
        ("neighbour", NEIGHBOUR, PORT, ""),
        ("waypoint", WAYPOINT, 15008, ""),
    ] {
        let Addresses { v4, v6 } = service_addresses(number);
        let _ = writeln!(
            text,
            "- {{name: {name}, namespace: default, hostname: {name}.example, \
             vips: [\"/{v4}\", \"/{v6}\"], ports: {{{port}: {port}}}{waypoint}}}"
        );
    }
    text
}
