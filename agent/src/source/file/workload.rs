//! `workloads[]`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::entry::{Draft, Key, Read, peek};
use super::fields::{Field, Fields};
use super::problems::Problems;
use super::scalar::{not_a_port, parse_name, parse_port};
use super::yaml::Node;
use crate::model::{
    ApplicationProtocol, GatewayAddress, HealthStatus, Locality, NetworkMode, SortedMap, Text,
    TunnelProtocol, Uid, Workload,
};

const PROTOCOLS: [(&str, TunnelProtocol); 2] = [
    ("HBONE", TunnelProtocol::Hbone),
    ("TCP", TunnelProtocol::Tcp),
];
const NETWORK_MODES: [(&str, NetworkMode); 2] = [
    ("Standard", NetworkMode::Standard),
    ("HostNetwork", NetworkMode::HostNetwork),
];
const STATUSES: [(&str, HealthStatus); 2] = [
    ("Healthy", HealthStatus::Healthy),
    ("Unhealthy", HealthStatus::Unhealthy),
];

impl Read for Workload {
    fn label(node: &Node<'_>) -> Option<String> {
        match (
            peek(node, "namespace"),
            peek(node, "name"),
            peek(node, "uid"),
        ) {
            (Some(namespace), Some(name), Some(uid)) => Some(label(namespace, name, uid)),
            (Some(namespace), Some(name), None) => Some(format!("workload {namespace}/{name}")),
            (_, _, Some(uid)) => Some(format!("workload {uid}")),
            (_, _, None) => None,
        }
    }

    fn read(root: &Field<'_, '_>, problems: &mut Problems) -> Draft<Self> {
        let mut workload = blank();
        let Some(mut fields) = root.fields(problems) else {
            return draft(workload, true);
        };
        workload.uid = Uid(fields.required_text("uid", problems));
        workload.namespace = fields.required_text("namespace", problems);
        workload.name = fields.text("name", problems);
        read_identity(&mut fields, &mut workload, problems);
        read_place(&mut fields, &mut workload, problems);
        let mut lacks_addresses = read_addresses(&mut fields, &mut workload, problems);
        read_protocol(&mut fields, &mut workload, problems);
        workload.waypoint = gateway(&mut fields, "waypoint", problems);
        workload.network_gateway = gateway(&mut fields, "networkGateway", problems);
        if let Some(services) = fields.get("services") {
            // A service's virtual addresses reach its endpoints too.
            lacks_addresses |= read_services(&services, &mut workload, problems);
        }
        for policy in fields.list("authorizationPolicies", problems) {
            let name = policy.namespaced_name(problems);
            workload.authorization_policies.extend(name);
        }
        workload.workload_name = fields.text("workloadName", problems);
        // Redirection has no use for these; ztunnel puts them into metrics.
        for key in ["workloadType", "canonicalName", "canonicalRevision"] {
            fields.text(key, problems);
        }
        fields.finish(problems);
        draft(workload, lacks_addresses)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        match self.network_mode {
            NetworkMode::Standard => self.addresses.clone(),
            // The node's address is not this workload's.
            NetworkMode::HostNetwork => Vec::new(),
        }
    }
}

pub(super) fn label(namespace: &str, name: &str, uid: &str) -> String {
    format!("workload {namespace}/{name} ({uid})")
}

/// `{destination: "ns/host" or "network/IP", hboneMtlsPort: 15008}`.
pub(super) fn gateway(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    problems: &mut Problems,
) -> Option<GatewayAddress> {
    let field = fields.get(key)?;
    gateway_address(&field, problems)
}

pub(super) fn gateway_address(
    field: &Field<'_, '_>,
    problems: &mut Problems,
) -> Option<GatewayAddress> {
    let mut fields = field.fields(problems)?;
    let destination = fields.required("destination", problems);
    let destination = destination.and_then(|destination| destination.destination(problems));
    let port = fields.required("hboneMtlsPort", problems);
    let port = port.and_then(|port| port.port(problems));
    fields.finish(problems);
    Some(GatewayAddress {
        destination: destination?,
        hbone_mtls_port: port?,
    })
}

/// A map of ports; `read` reads the target port.
pub(super) fn ports(
    field: &Field<'_, '_>,
    problems: &mut Problems,
    read: impl Fn(&Field<'_, '_>, &mut Problems) -> Option<u16>,
) -> BTreeMap<u16, u16> {
    let mut ports = BTreeMap::new();
    for (key, target) in field.pairs(problems) {
        let port = parse_port(key);
        if port.is_none() {
            target.error(problems, not_a_port(key));
        }
        if let (Some(target), Some(port)) = (read(&target, problems), port) {
            ports.insert(port, target);
        }
    }
    ports
}

fn draft(workload: Workload, lacks_addresses: bool) -> Draft<Workload> {
    Draft {
        key: (!workload.uid.0.is_empty()).then(|| Key::Workload(workload.uid.clone())),
        value: workload,
        lacks_addresses,
    }
}

fn blank() -> Workload {
    Workload {
        uid: Uid(Text::default()),
        name: Text::default(),
        namespace: Text::default(),
        workload_name: Text::default(),
        trust_domain: Text::default(),
        service_account: Text::default(),
        addresses: Vec::new(),
        hostname: Text::default(),
        node: Text::default(),
        network: Text::default(),
        cluster_id: Text::default(),
        protocol: TunnelProtocol::Tcp,
        network_mode: NetworkMode::Standard,
        status: HealthStatus::Healthy,
        capacity: 1,
        waypoint: None,
        network_gateway: None,
        native_tunnel: false,
        application_tunnel: None,
        locality: Locality::default(),
        services: SortedMap::default(),
        authorization_policies: BTreeSet::new(),
    }
}

fn read_identity(fields: &mut Fields<'_, '_>, workload: &mut Workload, problems: &mut Problems) {
    let or = |text: Text, default: &str| match text.is_empty() {
        true => default.into(),
        false => text,
    };
    workload.trust_domain = or(fields.text("trustDomain", problems), "cluster.local");
    workload.service_account = or(fields.text("serviceAccount", problems), "default");
    workload.cluster_id = or(fields.text("clusterId", problems), "Kubernetes");
}

fn read_place(fields: &mut Fields<'_, '_>, workload: &mut Workload, problems: &mut Problems) {
    workload.hostname = fields.text("hostname", problems);
    workload.node = fields.text("node", problems);
    workload.network = fields.text("network", problems);
    if let Some(mut locality) = fields
        .get("locality")
        .and_then(|field| field.fields(problems))
    {
        workload.locality = Locality {
            region: locality.text("region", problems),
            zone: locality.text("zone", problems),
            subzone: locality.text("subzone", problems),
        };
        locality.finish(problems);
    }
}

/// Whether some addresses could not be read.
fn read_addresses(
    fields: &mut Fields<'_, '_>,
    workload: &mut Workload,
    problems: &mut Problems,
) -> bool {
    let Some(list) = fields.required("workloadIps", problems) else {
        return true;
    };
    let mut lacks_some = !list.is_list();
    let mut seen = HashSet::new();
    for item in list.list(problems) {
        match item.address(problems) {
            None => lacks_some = true,
            Some(address) if seen.insert(address) => workload.addresses.push(address),
            Some(_) => {}
        }
    }
    lacks_some
}

fn read_protocol(fields: &mut Fields<'_, '_>, workload: &mut Workload, problems: &mut Problems) {
    if let Some(field) = fields.get("protocol") {
        workload.protocol = field.one_of_or(&PROTOCOLS, TunnelProtocol::Unknown, problems);
    }
    if let Some(field) = fields.get("networkMode") {
        let mode = field.one_of(&NETWORK_MODES, problems);
        workload.network_mode = mode.unwrap_or(NetworkMode::Standard);
    }
    if let Some(field) = fields.get("status") {
        let status = field.one_of(&STATUSES, problems);
        workload.status = status.unwrap_or(HealthStatus::Unhealthy);
    }
    if let Some(field) = fields.get("capacity") {
        workload.capacity = field.number(problems).unwrap_or(1);
    }
    workload.native_tunnel = fields.flag("nativeTunnel", problems);
    if let Some(field) = fields.get("applicationTunnel") {
        workload.application_tunnel = read_application_tunnel(&field, problems);
    }
}

fn read_application_tunnel(
    field: &Field<'_, '_>,
    problems: &mut Problems,
) -> Option<ApplicationProtocol> {
    let mut fields = field.fields(problems)?;
    let protocol = fields.required("protocol", problems);
    let is_proxy = protocol.and_then(|protocol| {
        let known = [("NONE", false), ("PROXY", true)];
        protocol.one_of(&known, problems)
    });
    let port = fields.get("port").and_then(|port| port.port(problems));
    fields.finish(problems);
    match is_proxy? {
        true => Some(ApplicationProtocol::Proxy { port }),
        false => Some(ApplicationProtocol::None { port }),
    }
}

/// Whether some services could not be read.
fn read_services(field: &Field<'_, '_>, workload: &mut Workload, problems: &mut Problems) -> bool {
    let mut lacks_some = !field.is_map();
    for (key, overrides) in field.pairs(problems) {
        let Some(name) = parse_name(key) else {
            overrides.error(problems, "is not a namespace/hostname");
            lacks_some = true;
            continue;
        };
        let overrides = match overrides.is_null() {
            true => SortedMap::default(),
            false => ports(&overrides, problems, |port, problems| port.port(problems))
                .into_iter()
                .collect(),
        };
        workload.services.insert(name, overrides);
    }
    lacks_some
}
