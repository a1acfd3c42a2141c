//! From istiod's messages to the model.
//!
//! A number that this version does not know where an enumeration is expected is no error: it
//! becomes "unknown", which is steered.

use std::fmt;
use std::net::IpAddr;

use super::address::{self, Vip, gateway, name, port};
use super::intern::Interner;
use super::proto::workload as proto;
use crate::model::{
    ApplicationProtocol, HealthPolicy, HealthStatus, IpFamilies, LoadBalancer, LoadBalancerMode,
    Locality, NamespacedName, NetworkMode, RoutingPreference, Service, SortedMap, Text,
    TunnelProtocol, Uid, Visibility, WeightedWaypoint, Workload,
};

/// Why a resource cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalid {
    field: String,
    message: String,
}

impl Invalid {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

pub(super) fn workload(from: proto::Workload, names: &mut Interner) -> Result<Workload, Invalid> {
    let protocol = match from.tunnel_protocol() {
        _ if proto::TunnelProtocol::try_from(from.tunnel_protocol).is_err() => {
            TunnelProtocol::Unknown
        }
        proto::TunnelProtocol::None => TunnelProtocol::Tcp,
        proto::TunnelProtocol::Hbone => TunnelProtocol::Hbone,
        // Of sidecars, which take plain TCP too; ztunnel sends them that.
        proto::TunnelProtocol::LegacyIstioMtls => TunnelProtocol::Tcp,
    };
    // Not found by address where it might share the node's.
    let network_mode = match proto::NetworkMode::try_from(from.network_mode) {
        Ok(proto::NetworkMode::Standard) => NetworkMode::Standard,
        Ok(proto::NetworkMode::HostNetwork) | Err(_) => NetworkMode::HostNetwork,
    };
    let status = match proto::WorkloadStatus::try_from(from.status) {
        Ok(proto::WorkloadStatus::Healthy) => HealthStatus::Healthy,
        Ok(proto::WorkloadStatus::Unhealthy) | Err(_) => HealthStatus::Unhealthy,
    };
    if from.uid.is_empty() {
        return Err(Invalid::new("uid", "it is empty"));
    }
    let addresses: Result<Vec<IpAddr>, Invalid> = from
        .addresses
        .iter()
        .map(|bytes| address::ip("addresses", bytes))
        .collect();
    let services: Result<SortedMap<NamespacedName, SortedMap<u16, u16>>, Invalid> = from
        .services
        .into_iter()
        .map(|(service, list)| {
            Ok((
                name("services", &service, names)?,
                ports("services", list.ports)?,
            ))
        })
        .collect();
    let policies = from.authorization_policies.iter();
    let policies: Result<_, Invalid> = policies
        .map(|policy| name("authorization_policies", policy, names))
        .collect();
    let waypoint = from.waypoint.map(|to| gateway("waypoint", to, names));
    let network_gateway = from
        .network_gateway
        .map(|to| gateway("network_gateway", to, names));
    let application_tunnel = from.application_tunnel.map(application_tunnel);
    Ok(Workload {
        uid: Uid(from.uid.into()),
        name: from.name.into(),
        namespace: names.text(from.namespace),
        workload_name: names.text(from.workload_name),
        trust_domain: names.text(or(from.trust_domain, "cluster.local")),
        service_account: names.text(or(from.service_account, "default")),
        addresses: addresses?,
        hostname: names.text(from.hostname),
        node: names.text(from.node),
        network: names.text(from.network),
        cluster_id: names.text(or(from.cluster_id, "Kubernetes")),
        protocol,
        network_mode,
        status,
        capacity: from.capacity.unwrap_or(1),
        waypoint: waypoint.transpose()?,
        network_gateway: network_gateway.transpose()?,
        native_tunnel: from.native_tunnel,
        application_tunnel: application_tunnel.transpose()?,
        locality: from
            .locality
            .map(|from| locality(from, names))
            .unwrap_or_default(),
        services: services?,
        authorization_policies: policies?,
    })
}

pub(super) fn service(from: proto::Service, names: &mut Interner) -> Result<Service, Invalid> {
    if from.hostname.is_empty() {
        return Err(Invalid::new("hostname", "it is empty"));
    }
    let ip_families = match proto::IpFamilies::try_from(from.ip_families) {
        Ok(proto::IpFamilies::Automatic) | Err(_) => IpFamilies::Automatic,
        Ok(proto::IpFamilies::Ipv4Only) => IpFamilies::V4Only,
        Ok(proto::IpFamilies::Ipv6Only) => IpFamilies::V6Only,
        Ok(proto::IpFamilies::Dual) => IpFamilies::Dual,
    };
    let mut load_balancer = from.load_balancing.map(load_balancer).unwrap_or_default();
    let visibility = match proto::Visibility::try_from(from.visibility) {
        Ok(proto::Visibility::Public) => Visibility::Public,
        Ok(proto::Visibility::Namespace) => Visibility::Namespace,
        Err(_) => {
            // For whom it is, is not known: whoever dials it is steered.
            load_balancer.mode = LoadBalancerMode::Unknown;
            Visibility::Public
        }
    };
    let (mut vips, mut cidr_vips) = (Vec::new(), Vec::new());
    for from in from.addresses {
        match address::vip("addresses", from, names)? {
            Vip::Exact(address) => vips.push(address),
            Vip::Block(block) => cidr_vips.push(block),
        }
    }
    let waypoint = from.waypoint.map(|to| gateway("waypoint", to, names));
    let weighted: Result<_, Invalid> = from
        .weighted_waypoints
        .into_iter()
        .map(|from| weighted_waypoint(from, names))
        .collect();
    let subject_alt_names = from.subject_alt_names.into_iter();
    Ok(Service {
        hostname: NamespacedName {
            namespace: names.text(from.namespace),
            name: names.text(from.hostname),
        },
        name: names.text(from.name),
        vips,
        cidr_vips,
        ports: ports("ports", from.ports)?,
        waypoint: waypoint.transpose()?,
        weighted_waypoints: weighted?,
        load_balancer,
        ip_families,
        visibility,
        canonical: from.canonical,
        subject_alt_names: subject_alt_names.map(Text::from).collect(),
    })
}

fn ports<C: FromIterator<(u16, u16)>>(field: &str, from: Vec<proto::Port>) -> Result<C, Invalid> {
    from.into_iter()
        .map(|from| {
            let proto::Port {
                service_port,
                target_port,
            } = from;
            Ok((port(field, service_port)?, port(field, target_port)?))
        })
        .collect()
}

fn weighted_waypoint(
    from: proto::WeightedWaypoint,
    names: &mut Interner,
) -> Result<WeightedWaypoint, Invalid> {
    let field = "weighted_waypoints";
    let proto::WeightedWaypoint {
        destination,
        weight,
    } = from;
    let destination = destination.ok_or_else(|| Invalid::new(field, "no destination"))?;
    Ok(WeightedWaypoint {
        destination: gateway(field, destination, names)?,
        weight,
    })
}

fn load_balancer(from: proto::LoadBalancing) -> LoadBalancer {
    use proto::load_balancing::{HealthPolicy as FromHealthPolicy, Mode, Scope};
    let mut mode = match Mode::try_from(from.mode) {
        Ok(Mode::UnspecifiedMode) => LoadBalancerMode::Standard,
        Ok(Mode::Strict) => LoadBalancerMode::Strict,
        Ok(Mode::Failover) => LoadBalancerMode::Failover,
        Ok(Mode::Passthrough) => LoadBalancerMode::Passthrough,
        Err(_) => LoadBalancerMode::Unknown,
    };
    let mut routing_preferences = Vec::new();
    for scope in from.routing_preference {
        routing_preferences.push(match Scope::try_from(scope) {
            Ok(Scope::Region) => RoutingPreference::Region,
            Ok(Scope::Zone) => RoutingPreference::Zone,
            Ok(Scope::Subzone) => RoutingPreference::Subzone,
            Ok(Scope::Node) => RoutingPreference::Node,
            Ok(Scope::Cluster) => RoutingPreference::Cluster,
            Ok(Scope::Network) => RoutingPreference::Network,
            Ok(Scope::UnspecifiedScope) => continue,
            Err(_) => {
                mode = LoadBalancerMode::Unknown;
                continue;
            }
        });
    }
    let health_policy = match FromHealthPolicy::try_from(from.health_policy) {
        Ok(FromHealthPolicy::OnlyHealthy) => HealthPolicy::OnlyHealthy,
        Ok(FromHealthPolicy::AllowAll) => HealthPolicy::AllowAll,
        Err(_) => {
            mode = LoadBalancerMode::Unknown;
            HealthPolicy::OnlyHealthy
        }
    };
    LoadBalancer {
        mode,
        routing_preferences,
        health_policy,
    }
}

fn application_tunnel(from: proto::ApplicationTunnel) -> Result<ApplicationProtocol, Invalid> {
    use proto::application_tunnel::Protocol;
    let port = port("application_tunnel", from.port)?;
    let port = (port != 0).then_some(port);
    Ok(match Protocol::try_from(from.protocol) {
        Ok(Protocol::None) => ApplicationProtocol::None { port },
        // What is not known is not spoken past the tunnel either.
        Ok(Protocol::Proxy) | Err(_) => ApplicationProtocol::Proxy { port },
    })
}

fn locality(from: proto::Locality, names: &mut Interner) -> Locality {
    let proto::Locality {
        region,
        zone,
        subzone,
    } = from;
    Locality {
        region: names.text(region),
        zone: names.text(zone),
        subzone: names.text(subzone),
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() {
        default.to_owned()
    } else {
        text
    }
}

/// The addresses of a resource that was not accepted, as far as they can be read, and whether some
/// cannot.
pub(super) fn addresses(from: &proto::address::Type) -> (Vec<IpAddr>, bool) {
    let (all, unknown): (Vec<Option<IpAddr>>, bool) = match from {
        proto::address::Type::Workload(workload) => {
            let read = |bytes: &Vec<u8>| address::ip("", bytes).ok();
            // Its services may lead here too.
            (
                workload.addresses.iter().map(read).collect(),
                !workload.services.is_empty(),
            )
        }
        proto::address::Type::Service(service) => {
            let blocks = service.addresses.iter().any(|a| a.length.is_some());
            let read = |from: &proto::NetworkAddress| address::ip("", &from.address).ok();
            (service.addresses.iter().map(read).collect(), blocks)
        }
    };
    let unknown = unknown || all.iter().any(Option::is_none);
    (all.into_iter().flatten().collect(), unknown)
}
