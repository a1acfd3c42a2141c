//! `services[]`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::entry::{Draft, Key, Read, peek};
use super::fields::{Field, Fields};
use super::problems::Problems;
use super::scalar::{Vip, vip_of};
use super::workload::{gateway, gateway_address, ports};
use super::yaml::Node;
use crate::model::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, NamespacedName, RoutingPreference,
    Service, Text, Uid, Visibility, WeightedWaypoint,
};

const MODES: [(&str, LoadBalancerMode); 4] = [
    ("Standard", LoadBalancerMode::Standard),
    ("Strict", LoadBalancerMode::Strict),
    ("Failover", LoadBalancerMode::Failover),
    ("Passthrough", LoadBalancerMode::Passthrough),
];
const PREFERENCES: [(&str, RoutingPreference); 6] = [
    ("Region", RoutingPreference::Region),
    ("Zone", RoutingPreference::Zone),
    ("Subzone", RoutingPreference::Subzone),
    ("Node", RoutingPreference::Node),
    ("Cluster", RoutingPreference::Cluster),
    ("Network", RoutingPreference::Network),
];
const HEALTH_POLICIES: [(&str, HealthPolicy); 2] = [
    ("OnlyHealthy", HealthPolicy::OnlyHealthy),
    ("AllowAll", HealthPolicy::AllowAll),
];
const IP_FAMILIES: [(&str, IpFamilies); 3] = [
    ("IPv4", IpFamilies::V4Only),
    ("IPv6", IpFamilies::V6Only),
    ("Dual", IpFamilies::Dual),
];
const VISIBILITIES: [(&str, Visibility); 2] = [
    ("Public", Visibility::Public),
    ("Namespace", Visibility::Namespace),
];

/// A service with what the file says about its endpoints, which the model keeps with workloads.
#[derive(Debug)]
pub(super) struct FileService {
    pub(super) service: Service,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) line: usize,
    pub(super) path: String,
    pub(super) workload: Uid,
    pub(super) ports: BTreeMap<u16, u16>,
}

impl Read for FileService {
    fn label(node: &Node<'_>) -> Option<String> {
        let namespace = peek(node, "namespace")?;
        let hostname = peek(node, "hostname").or_else(|| peek(node, "name"))?;
        Some(format!("service {namespace}/{hostname}"))
    }

    fn read(root: &Field<'_, '_>, problems: &mut Problems) -> Draft<Self> {
        let mut service = blank();
        let mut endpoints = Vec::new();
        let Some(mut fields) = root.fields(problems) else {
            return draft(service, endpoints, true);
        };
        service.name = fields.required_text("name", problems);
        service.hostname = NamespacedName {
            namespace: fields.required_text("namespace", problems),
            name: fields.required_text("hostname", problems),
        };
        let lacks_addresses = read_vips(&mut fields, &mut service, problems);
        if let Some(field) = fields.get("ports") {
            service.ports = ports(&field, problems, |port, problems| {
                port.port_or_zero(problems)
            });
        }
        if let Some(field) = fields.get("endpoints") {
            endpoints = read_endpoints(&field, problems);
        }
        read_waypoints(&mut fields, &mut service, problems);
        if let Some(field) = fields.get("loadBalancer") {
            service.load_balancer = read_load_balancer(&field, problems);
        }
        if let Some(field) = fields.get("ipFamilies") {
            let families = field.one_of(&IP_FAMILIES, problems);
            service.ip_families = families.unwrap_or(IpFamilies::Automatic);
        }
        if let Some(field) = fields.get("visibility") {
            let visibility = field.one_of(&VISIBILITIES, problems);
            service.visibility = visibility.unwrap_or(Visibility::Public);
        }
        service.canonical = fields.flag("canonical", problems);
        for name in fields.list("subjectAltNames", problems) {
            let name = name.text(problems).map(Text::from);
            service.subject_alt_names.extend(name);
        }
        fields.finish(problems);
        draft(service, endpoints, lacks_addresses)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.service.vips.iter().map(|vip| vip.address).collect()
    }
}

fn draft(service: Service, endpoints: Vec<Endpoint>, lacks_addresses: bool) -> Draft<FileService> {
    let NamespacedName { namespace, name } = &service.hostname;
    let is_named = !namespace.is_empty() && !name.is_empty();
    Draft {
        key: is_named.then(|| Key::Service(service.hostname.clone())),
        // A block has too many addresses to name.
        lacks_addresses: lacks_addresses || !service.cidr_vips.is_empty(),
        value: FileService { service, endpoints },
    }
}

fn blank() -> Service {
    Service {
        name: Text::default(),
        hostname: NamespacedName::new("", ""),
        vips: Vec::new(),
        cidr_vips: Vec::new(),
        ports: BTreeMap::new(),
        waypoint: None,
        weighted_waypoints: Vec::new(),
        load_balancer: LoadBalancer::default(),
        ip_families: IpFamilies::Automatic,
        visibility: Visibility::Public,
        canonical: false,
        subject_alt_names: Vec::new(),
    }
}

/// `vips` and ztunnel's own field for blocks, `cidrVips`; whether some could not be read.
fn read_vips(fields: &mut Fields<'_, '_>, service: &mut Service, problems: &mut Problems) -> bool {
    let mut lacks_some = false;
    let mut seen = HashSet::new();
    for key in ["vips", "cidrVips"] {
        let Some(list) = fields.get(key) else {
            continue;
        };
        lacks_some |= !list.is_list();
        for item in list.list(problems) {
            match read_vip(&item, problems) {
                None => lacks_some = true,
                Some(vip) if !seen.insert(vip.clone()) => {}
                Some(Vip::Address(vip)) => service.vips.push(vip),
                Some(Vip::Cidr(vip)) => service.cidr_vips.push(vip),
            }
        }
    }
    lacks_some
}

/// `network/IP`, `network/CIDR` or, as ztunnel writes a block, `{network, cidr}`.
fn read_vip(field: &Field<'_, '_>, problems: &mut Problems) -> Option<Vip> {
    if !field.is_map() {
        return field.vip(problems);
    }
    let mut fields = field.fields(problems)?;
    let network = fields.text("network", problems);
    let cidr = fields.required("cidr", problems);
    let cidr = cidr.and_then(|cidr| cidr.cidr(problems));
    fields.finish(problems);
    Some(vip_of(network, cidr?))
}

/// `{UID: {workloadUid, port: {80: 8080}, status}}`.
fn read_endpoints(field: &Field<'_, '_>, problems: &mut Problems) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (key, field) in field.pairs(problems) {
        let Some(mut fields) = field.fields(problems) else {
            continue;
        };
        let workload = fields.text("workloadUid", problems);
        if !workload.is_empty() && *workload != *key {
            field.error(problems, "workloadUid differs from the key");
        }
        let map = fields.get("port");
        let ports = map.map_or_else(BTreeMap::new, |map| {
            ports(&map, problems, |port, problems| port.port(problems))
        });
        // The workload's own status decides.
        fields.text("status", problems);
        fields.finish(problems);
        endpoints.push(Endpoint {
            line: field.line(),
            path: field.path().to_owned(),
            workload: Uid((*key).into()),
            ports,
        });
    }
    endpoints
}

fn read_waypoints(fields: &mut Fields<'_, '_>, service: &mut Service, problems: &mut Problems) {
    service.waypoint = gateway(fields, "waypoint", problems);
    let Some(list) = fields.get("weightedWaypoints") else {
        return;
    };
    let mut sum = 0;
    for item in list.list(problems) {
        let Some(mut fields) = item.fields(problems) else {
            return;
        };
        let destination = fields.required("destination", problems);
        let destination = destination.and_then(|field| gateway_address(&field, problems));
        let weight = fields.required("weight", problems);
        let weight = weight.and_then(|weight| weight.number(problems));
        fields.finish(problems);
        let (Some(destination), Some(weight)) = (destination, weight) else {
            return;
        };
        sum += u64::from(weight);
        let waypoint = WeightedWaypoint {
            destination,
            weight,
        };
        service.weighted_waypoints.push(waypoint);
    }
    if sum == 0 && !service.weighted_waypoints.is_empty() {
        list.error(problems, "the weights sum to zero");
    }
}

fn read_load_balancer(field: &Field<'_, '_>, problems: &mut Problems) -> LoadBalancer {
    let mut balancer = LoadBalancer::default();
    let Some(mut fields) = field.fields(problems) else {
        return balancer;
    };
    if let Some(mode) = fields.get("mode") {
        balancer.mode = mode.one_of_or(&MODES, LoadBalancerMode::Unknown, problems);
    }
    for preference in fields.list("routingPreferences", problems) {
        let preference = preference.one_of(&PREFERENCES, problems);
        balancer.routing_preferences.extend(preference);
    }
    if let Some(policy) = fields.get("healthPolicy") {
        let policy = policy.one_of(&HEALTH_POLICIES, problems);
        balancer.health_policy = policy.unwrap_or(HealthPolicy::OnlyHealthy);
    }
    fields.finish(problems);
    balancer
}
