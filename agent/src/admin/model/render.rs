//! Values of the model as JSON: names as the model has them, nothing left out.

use std::fmt::Debug;

use serde_json::{Map, Value, json};

use crate::compile::{EnrolledPod, KnownWaypoint};
use crate::model::{
    ApplicationProtocol, Condition, GatewayAddress, GatewayDestination, Match, Policy, Service,
    StringMatch, Uid, Workload,
};

pub(super) fn workload(workload: &Workload) -> Value {
    let Workload {
        uid,
        name,
        namespace,
        workload_name,
        trust_domain,
        service_account,
        addresses,
        hostname,
        node,
        network,
        cluster_id,
        protocol,
        network_mode,
        status,
        capacity,
        waypoint,
        network_gateway,
        native_tunnel,
        application_tunnel,
        locality,
        services,
        authorization_policies,
    } = workload;
    let services = services.iter().map(|(service, ports)| {
        let ports = ports
            .iter()
            .map(|(port, target)| (port.to_string(), json!(target)));
        (service.to_string(), Value::Object(ports.collect()))
    });
    json!({
        "uid": uid.to_string(), "name": &**name, "namespace": &**namespace,
        "workload_name": &**workload_name, "trust_domain": &**trust_domain,
        "service_account": &**service_account, "addresses": addresses, "hostname": &**hostname,
        "node": &**node, "network": &**network, "cluster_id": &**cluster_id,
        "protocol": label(protocol), "network_mode": label(network_mode),
        "status": label(status), "capacity": capacity,
        "waypoint": waypoint.as_ref().map(gateway),
        "network_gateway": network_gateway.as_ref().map(gateway),
        "native_tunnel": native_tunnel,
        "application_tunnel": application_tunnel.as_ref().map(application_tunnel_of),
        "locality": [&*locality.region, &*locality.zone, &*locality.subzone],
        "services": Value::Object(services.collect::<Map<_, _>>()),
        "authorization_policies": texts(authorization_policies),
    })
}

pub(super) fn service(service: &Service) -> Value {
    let Service {
        name,
        hostname,
        vips,
        cidr_vips,
        ports,
        waypoint,
        weighted_waypoints,
        load_balancer,
        ip_families,
        visibility,
        canonical,
        subject_alt_names,
    } = service;
    let weighted = weighted_waypoints
        .iter()
        .map(|of| json!({ "waypoint": gateway(&of.destination), "weight": of.weight }));
    json!({
        "name": &**name, "hostname": hostname.to_string(), "vips": texts(vips),
        "cidr_vips": texts(cidr_vips), "ports": ports,
        "waypoint": waypoint.as_ref().map(gateway),
        "weighted_waypoints": weighted.collect::<Vec<_>>(),
        "load_balancer": {
            "mode": label(&load_balancer.mode),
            "routing_preferences":
                load_balancer.routing_preferences.iter().map(label).collect::<Vec<_>>(),
            "health_policy": label(&load_balancer.health_policy),
        },
        "ip_families": label(ip_families), "visibility": label(visibility),
        "canonical": canonical, "subject_alt_names": texts(subject_alt_names),
    })
}

pub(super) fn policy(policy: &Policy) -> Value {
    let Policy {
        name,
        scope,
        action,
        rules,
        dry_run,
        unknown,
    } = policy;
    let rules = rules.iter().map(|rule| {
        let clauses = rule.clauses.iter();
        let clauses = clauses.map(|clause| clause.matches.iter().map(matching).collect());
        clauses.collect::<Vec<Vec<Value>>>()
    });
    json!({
        "name": name.to_string(), "scope": label(scope), "action": label(action),
        "rules": rules.collect::<Vec<_>>(), "dry_run": dry_run, "unknown": unknown.as_deref(),
    })
}

pub(super) fn waypoint(known: &KnownWaypoint<'_>) -> Value {
    let KnownWaypoint {
        id,
        addresses,
        services,
        workloads,
    } = known;
    json!({
        "id": id, "addresses": addresses.iter().map(|of| gateway(of)).collect::<Vec<_>>(),
        "services": services, "workloads": workloads,
    })
}

pub(super) fn pod(pod: &EnrolledPod, workload: Option<&Uid>) -> Value {
    let EnrolledPod {
        netns,
        name,
        namespace,
        service_account,
        addresses,
    } = pod;
    json!({
        "netns": netns, "name": name, "namespace": namespace,
        "service_account": service_account, "addresses": addresses,
        "workload": workload.map(ToString::to_string),
    })
}

/// Only what is asked of a connection.
fn matching(of: &Match) -> Value {
    let Match {
        namespaces,
        principals,
        service_accounts,
        source_ips,
        destination_ips,
        destination_ports,
    } = of;
    let account =
        |account: &crate::model::ServiceAccount| format!("{}/{}", account.namespace, account.name);
    let fields = [
        ("namespaces", condition(namespaces, string)),
        ("principals", condition(principals, string)),
        ("service_accounts", condition(service_accounts, account)),
        ("source_ips", condition(source_ips, ToString::to_string)),
        (
            "destination_ips",
            condition(destination_ips, ToString::to_string),
        ),
        (
            "destination_ports",
            condition(destination_ports, ToString::to_string),
        ),
    ];
    let asked = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(asked.collect())
}

fn condition<T>(condition: &Condition<T>, text: impl Fn(&T) -> String) -> Option<Value> {
    let all = |values: &[T]| values.iter().map(&text).collect::<Vec<_>>();
    let is_asked = !condition.is_empty();
    is_asked
        .then(|| json!({ "any_of": all(&condition.any_of), "none_of": all(&condition.none_of) }))
}

/// As Istio writes them.
fn string(of: &StringMatch) -> String {
    match of {
        StringMatch::Exact(text) => text.to_string(),
        StringMatch::Prefix(text) => format!("{text}*"),
        StringMatch::Suffix(text) => format!("*{text}"),
        StringMatch::Presence => "*".to_owned(),
    }
}

fn gateway(of: &GatewayAddress) -> String {
    let port = of.hbone_mtls_port;
    match &of.destination {
        GatewayDestination::Address(address) => format!("{address} port {port}"),
        GatewayDestination::Hostname(name) => format!("{name} port {port}"),
    }
}

fn application_tunnel_of(of: &ApplicationProtocol) -> Value {
    match of {
        ApplicationProtocol::None { port } => json!({ "protocol": "none", "port": port }),
        ApplicationProtocol::Proxy { port } => json!({ "protocol": "proxy", "port": port }),
    }
}

/// Of an enum without fields.
fn label(of: &impl Debug) -> String {
    format!("{of:?}").to_lowercase()
}

fn texts<'a, T: ToString + 'a>(all: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    all.into_iter().map(ToString::to_string).collect()
}
