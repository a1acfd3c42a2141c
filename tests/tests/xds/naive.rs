//! What becomes of a connection, worked out from istiod's resources one by one: slow, without any
//! table, and without a line of the agent's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use prost::Message as _;
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer::source::xds::proto::discovery::Resource;
use waysteer::source::xds::proto::workload::{Address, GatewayAddress, Service, Workload};
use waysteer::source::xds::proto::workload::{address, gateway_address};
use waysteer_common::verdict::{Class, Reason};

const HBONE: i32 = 1;
const TCP: i32 = 0;

/// One of the verdicts that a connection may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) class: Class,
    /// None where the policies decide which.
    pub(super) reason: Option<Reason>,
    pub(super) steered: bool,
    /// With whether HBONE is spoken there.
    pub(super) next_hop: Option<(SocketAddr, bool)>,
}

/// Everything that istiod has, in the order of names. The source is the pod `default/w0` of `node1`,
/// which has one address.
pub(super) struct Naive {
    workloads: Vec<Workload>,
    services: Vec<Service>,
    policies: Vec<Authorization>,
}

fn outcome(class: Class, reason: Reason) -> Outcome {
    Outcome {
        class,
        reason: Some(reason),
        steered: true,
        next_hop: None,
    }
}

impl Outcome {
    fn at(self, to: SocketAddr, hbone: bool) -> Self {
        Self {
            next_hop: Some((to, hbone)),
            ..self
        }
    }

    fn bypassed(self, to: SocketAddr) -> Self {
        Self {
            steered: false,
            ..self.at(to, false)
        }
    }
}

impl Naive {
    pub(super) fn new(resources: &[BTreeMap<String, Resource>; 2]) -> Result<Self> {
        let bytes = |resource: &Resource| resource.resource.clone().unwrap_or_default().value;
        let (mut workloads, mut services) = (Vec::new(), Vec::new());
        for resource in resources[0].values() {
            match Address::decode(bytes(resource).as_slice())?.r#type {
                Some(address::Type::Workload(workload)) => workloads.push(workload),
                Some(address::Type::Service(service)) => services.push(service),
                None => {}
            }
        }
        let policies = resources[1].values();
        let policies = policies.map(|of| Authorization::decode(bytes(of).as_slice()));
        Ok(Self {
            workloads,
            services,
            policies: policies.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn outcomes(&self, to: SocketAddr) -> Vec<Outcome> {
        let IpAddr::V4(ip) = to.ip() else {
            return Vec::new();
        };
        if ip == Ipv4Addr::new(10, 0, 0, 0) {
            return vec![outcome(Class::Passthrough, Reason::OwnAddress).bypassed(to)];
        }
        let Some(source) = self.workloads.iter().find(|w| w.name == "w0") else {
            return vec![outcome(Class::Direct, Reason::SourceUnknown)];
        };
        let octets = ip.octets().to_vec();
        let claims: Vec<&Workload> = self
            .workloads
            .iter()
            .filter(|w| w.addresses.contains(&octets))
            .collect();
        let protected = claims.iter().find(|w| w.tunnel_protocol != TCP);
        if let Some(workload) = protected.or(claims.first()) {
            return self.to_workload(source, workload, to);
        }
        let at: Vec<&Service> = self
            .services
            .iter()
            .filter(|s| s.addresses.iter().any(|a| a.address == octets))
            .collect();
        let own = at.iter().find(|s| s.namespace == "default");
        let public = || at.iter().filter(|s| s.visibility == 0);
        let canonical = public().find(|s| s.canonical);
        match own.or(canonical).or(public().next()) {
            Some(service) => self.to_service(source, service, to),
            None => vec![outcome(Class::Passthrough, Reason::Unknown).bypassed(to)],
        }
    }

    fn to_workload(&self, source: &Workload, to: &Workload, at: SocketAddr) -> Vec<Outcome> {
        if to.tunnel_protocol != TCP && to.tunnel_protocol != HBONE {
            return vec![outcome(Class::Direct, Reason::Invalid)];
        }
        if let Some(waypoint) = &to.waypoint {
            let name = name_of(waypoint);
            let is_there = self.service(&name).is_some();
            if !(is_there && source.services.contains_key(&name)) {
                return self.to_waypoint(source, &name, Reason::WorkloadWaypoint);
            }
        }
        if to.tunnel_protocol == TCP {
            return vec![outcome(Class::Direct, Reason::WorkloadPlain).bypassed(at)];
        }
        let tunnel = SocketAddr::new(at.ip(), 15008);
        if to.node != "node1" {
            return vec![outcome(Class::Direct, Reason::WorkloadHbone).at(tunnel, true)];
        }
        // No other pod of this node is enrolled.
        let mut local = outcome(Class::DirectLocal, Reason::LocalNotEnrolled).at(tunnel, true);
        if self.may_have_policy(to) {
            local.reason = None;
        }
        vec![local]
    }

    fn may_have_policy(&self, workload: &Workload) -> bool {
        let applies = |policy: &Authorization| match policy.scope {
            1 => policy.namespace.is_empty() || policy.namespace == workload.namespace,
            2 => false,
            _ => true,
        };
        self.policies.iter().any(applies)
    }

    fn to_service(&self, source: &Workload, service: &Service, to: SocketAddr) -> Vec<Outcome> {
        if let Some(waypoint) = &service.waypoint {
            return self.to_waypoint(source, &name_of(waypoint), Reason::ServiceWaypoint);
        }
        if mode(service) == 3 {
            return vec![outcome(Class::Passthrough, Reason::ServicePassthrough).bypassed(to)];
        }
        let port = u32::from(to.port());
        if service.ports.iter().all(|p| p.service_port != port) {
            return vec![outcome(Class::Direct, Reason::NoPort)];
        }
        let endpoints = self.endpoints(source, service);
        let all = || self.members(service);
        if all().all(|w| w.tunnel_protocol == TCP) && !endpoints.is_empty() {
            return vec![outcome(Class::Direct, Reason::ServicePlain).bypassed(to)];
        }
        if endpoints.is_empty() {
            return vec![outcome(Class::Direct, Reason::NoEndpoint)];
        }
        let each = endpoints.into_iter().map(|endpoint| {
            let ip = ip_of(endpoint);
            match (endpoint.tunnel_protocol, endpoint.node.as_str()) {
                (TCP, _) => {
                    let target = if port == 80 { 8080 } else { to.port() };
                    let at = SocketAddr::new(ip, target);
                    outcome(Class::Direct, Reason::ServiceMixed).at(at, false)
                }
                (HBONE, node) => {
                    let at = SocketAddr::new(ip, 15008);
                    let (class, reason) = match node {
                        "node1" => (Class::DirectLocal, Reason::ServiceLocal),
                        _ => (Class::Direct, Reason::ServiceHbone),
                    };
                    outcome(class, reason).at(at, true)
                }
                _ => outcome(Class::Direct, Reason::EndpointUnresolved),
            }
        });
        each.collect()
    }

    fn to_waypoint(&self, source: &Workload, name: &str, reason: Reason) -> Vec<Outcome> {
        let unresolved = || outcome(Class::ToServerWaypoint, Reason::WaypointUnresolved);
        let service = self.service(name).filter(|service| mode(service) != 3);
        let endpoints = service.map(|service| self.endpoints(source, service));
        let endpoints = endpoints.unwrap_or_default();
        if endpoints.is_empty() {
            return vec![unresolved()];
        }
        let each = endpoints.into_iter().map(|w| match w.tunnel_protocol {
            TCP | HBONE => {
                let at = SocketAddr::new(ip_of(w), 15008);
                outcome(Class::ToServerWaypoint, reason).at(at, true)
            }
            _ => unresolved(),
        });
        each.collect()
    }

    /// Those that `source` may be sent to.
    fn endpoints(&self, source: &Workload, service: &Service) -> Vec<&Workload> {
        let balancing = service.load_balancing.clone().unwrap_or_default();
        let usable = self.members(service).filter(|w| {
            let is_healthy = w.status == 0 || balancing.health_policy == 1;
            is_healthy && w.capacity != Some(0)
        });
        let usable: Vec<&Workload> = usable.collect();
        let matches = |w: &&Workload| {
            balancing
                .routing_preference
                .iter()
                .all(|scope| match scope {
                    // No workload has a locality, all are of one cluster.
                    4 => w.node == source.node,
                    _ => true,
                })
        };
        let preferred: Vec<&Workload> = usable.iter().copied().filter(matches).collect();
        match balancing.mode {
            1 => preferred,
            2 if !preferred.is_empty() => preferred,
            _ => usable,
        }
    }

    fn members(&self, service: &Service) -> impl Iterator<Item = &Workload> {
        let name = format!("{}/{}", service.namespace, service.hostname);
        let all = self.workloads.iter();
        all.filter(move |w| w.services.contains_key(&name))
    }

    fn service(&self, name: &str) -> Option<&Service> {
        let is_named = |s: &&Service| format!("{}/{}", s.namespace, s.hostname) == name;
        self.services.iter().find(is_named)
    }
}

fn mode(service: &Service) -> i32 {
    service.load_balancing.as_ref().map_or(0, |of| of.mode)
}

fn name_of(waypoint: &GatewayAddress) -> String {
    match &waypoint.destination {
        Some(gateway_address::Destination::Hostname(name)) => {
            format!("{}/{}", name.namespace, name.hostname)
        }
        Some(gateway_address::Destination::Address(_)) | None => String::new(),
    }
}

fn ip_of(workload: &Workload) -> IpAddr {
    let octets = <[u8; 4]>::try_from(workload.addresses[0].as_slice());
    IpAddr::from(octets.expect("an IPv4 address"))
}
