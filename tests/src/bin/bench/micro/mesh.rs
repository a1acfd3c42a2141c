//! A mesh of a size, of which each kind of destination is dialled in turn.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, anyhow, ensure};
use waysteer::model::{Mesh, NamespacedName, NetworkAddress, SortedMap, Text, Uid};
use waysteer::source::file::{FileState, parse_mesh};

/// What all others are made from. A tenth as many services as workloads have three endpoints each.
const TEMPLATE: &str = "\
workloads:
- {uid: client, name: client, namespace: default, serviceAccount: client, node: node1,
   protocol: HBONE, workloadIps: [10.1.0.1], services: {}}
- {uid: neighbour, name: neighbour, namespace: default, serviceAccount: neighbour, node: node1,
   protocol: HBONE, workloadIps: [10.1.0.2], services: {}}
- {uid: waypoint, name: waypoint, namespace: default, serviceAccount: waypoint, node: node2,
   protocol: HBONE, workloadIps: [10.2.0.1], services: {\"default/waypoint.example\": {}}}
- {uid: hbone, name: hbone, namespace: default, serviceAccount: app, node: node2,
   protocol: HBONE, workloadIps: [100.127.0.1], services: {}}
- {uid: plain, name: plain, namespace: default, serviceAccount: app, node: node2,
   protocol: TCP, workloadIps: [100.127.0.2], services: {}}
services:
- {name: waypoint, namespace: default, hostname: waypoint.example, vips: [/10.3.0.1],
   ports: {15008: 15008}}
- {name: web, namespace: default, hostname: web.example, vips: [/10.3.0.2], ports: {80: 8080}}
- {name: shop, namespace: default, hostname: shop.example, vips: [/10.3.0.3], ports: {80: 8080},
   waypoint: {destination: \"default/waypoint.example\", hboneMtlsPort: 15008}}
policies:
- {name: web-only, namespace: default, scope: Namespace, action: Allow,
   rules: [[[{destinationPorts: [80]}]]], dryRun: false}
";

const ENDPOINTS: usize = 3;
const WORKLOADS: [u8; 4] = [100, 64, 0, 0];
const SERVICES: [u8; 4] = [10, 128, 0, 0];
const NOBODY: [u8; 4] = [198, 18, 0, 0];
/// Prime, so that who is dialled next is far from who was before.
const STRIDE: usize = 7919;

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(super) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

/// Who is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Nobody,
    Plain,
    Hbone,
    Service,
    Waypoint,
    Neighbour,
}

/// As many workloads, and what is the same in every mesh.
pub(super) fn of_size(workloads: usize) -> Result<Mesh> {
    let parsed = parse_mesh(TEMPLATE, "mesh.yaml").map_err(|error| anyhow!("{error:?}"))?;
    ensure!(parsed.rejected.is_empty(), "{:?}", parsed.diagnostics);
    let hbone = parsed
        .workloads
        .iter()
        .find(|of| *of.name == *"hbone")
        .cloned();
    let plain = parsed
        .workloads
        .iter()
        .find(|of| *of.name == *"plain")
        .cloned();
    let web = parsed
        .services
        .iter()
        .find(|of| *of.name == *"web")
        .cloned();
    let (Some(hbone), Some(plain), Some(web)) = (hbone, plain, web) else {
        return Err(anyhow!("the template lacks a name"));
    };
    let mut delta = FileState::default().next(parsed);
    for number in 0..workloads {
        let mut made = if number % 2 == 0 {
            hbone.clone()
        } else {
            plain.clone()
        };
        made.uid = Uid(Text::from(format!("app-{number}")));
        made.addresses = vec![address(WORKLOADS, number).into()];
        // Of those that are reached by HBONE some are endpoints.
        if number % 2 == 0 && number / 2 / ENDPOINTS < services(workloads) {
            let service = service_name(number / 2 / ENDPOINTS);
            made.services = SortedMap::from([(service, SortedMap::default())]);
        }
        delta.workloads.push(Box::new(made));
    }
    for number in 0..services(workloads) {
        let mut made = web.clone();
        made.hostname = service_name(number);
        made.vips = vec![NetworkAddress {
            network: Text::default(),
            address: address(SERVICES, number).into(),
        }];
        delta.services.push(made);
    }
    delta.complete = true;
    let mut mesh = Mesh::default();
    mesh.apply(delta);
    Ok(mesh)
}

impl Destination {
    /// One of them, another one each time.
    pub(super) fn pick(self, workloads: usize, turn: usize) -> SocketAddr {
        let far = |of: usize| turn * STRIDE % of.max(1);
        let (ip, port) = match self {
            Self::Nobody => (address(NOBODY, far(0x2_0000)), 80),
            Self::Hbone => (address(WORKLOADS, far(workloads / 2) * 2), 80),
            Self::Plain => (address(WORKLOADS, far(workloads / 2) * 2 + 1), 80),
            Self::Service => (address(SERVICES, far(services(workloads))), 80),
            Self::Waypoint => (Ipv4Addr::new(10, 3, 0, 3), 80),
            Self::Neighbour => (NEIGHBOUR, 80),
        };
        SocketAddr::new(ip.into(), port)
    }
}

fn services(workloads: usize) -> usize {
    workloads / 10
}

fn service_name(number: usize) -> NamespacedName {
    NamespacedName::new("default", format!("app-{number}.example"))
}

fn address(base: [u8; 4], number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_be_bytes(base) + number as u32)
}
