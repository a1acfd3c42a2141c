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

enum Found<'n> {
    Service(&'n Service),
    Workload(&'n Workload),
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
        if let Some(workload) = self.workload_at(ip) {
            return self.to_workload(source, workload, to);
        }
        match self.service_at(ip) {
            Some(service) => self.to_service(source, service, to),
            None => vec![outcome(Class::Passthrough, Reason::Unknown).bypassed(to)],
        }
    }

    /// Of several the one that is not plain TCP.
    fn workload_at(&self, ip: Ipv4Addr) -> Option<&Workload> {
        let octets = ip.octets().to_vec();
        let claims = || {
            self.workloads
                .iter()
                .filter(|w| w.addresses.contains(&octets))
        };
        let protected = claims().find(|w| w.tunnel_protocol != TCP);
        protected.or_else(|| claims().next())
    }

    /// The one that has the address itself, or else the longest block around it: of the source's own
    /// namespace, or else of those that are for all.
    fn service_at(&self, ip: Ipv4Addr) -> Option<&Service> {
        let exactly = self.at_length(ip, 32);
        let blocks = || (0..32).rev().map(|length| self.at_length(ip, length));
        own(&exactly)
            .or(public(&exactly))
            .or_else(|| blocks().find_map(|at| own(&at)))
            .or_else(|| blocks().find_map(|at| public(&at)))
    }

    /// Those with a block of that length around the address.
    fn at_length(&self, ip: Ipv4Addr, length: u32) -> Vec<&Service> {
        let network = |ip: u32| ip.checked_shr(32 - length).unwrap_or(0);
        let has = |service: &&Service| {
            service.addresses.iter().any(|address| {
                let octets = <[u8; 4]>::try_from(address.address.as_slice()).unwrap_or_default();
                let found = network(u32::from_be_bytes(octets));
                address.length.unwrap_or(32) == length && found == network(u32::from(ip))
            })
        };
        self.services.iter().filter(has).collect()
    }

    fn to_workload(&self, source: &Workload, to: &Workload, at: SocketAddr) -> Vec<Outcome> {
        if to.tunnel_protocol != TCP && to.tunnel_protocol != HBONE {
            return vec![outcome(Class::Direct, Reason::Invalid)];
        }
        if let Some(waypoint) = &to.waypoint {
            let is_it = match self.find(waypoint) {
                Some(Found::Service(service)) => source.services.contains_key(&full(service)),
                Some(Found::Workload(workload)) => workload.uid == source.uid,
                None => false,
            };
            if !is_it {
                return self.to_waypoint(source, waypoint, Reason::WorkloadWaypoint);
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
        let weighted = &service.weighted_waypoints;
        let mut shares = weighted.iter().filter(|share| share.weight > 0).peekable();
        if shares.peek().is_some() {
            let each = shares.filter_map(|share| share.destination.as_ref());
            let each = each.map(|to| self.to_waypoint(source, to, Reason::ServiceWaypoint));
            let all: Vec<Outcome> = each.flatten().collect();
            let is_unresolved = |one: &Outcome| one.reason == Some(Reason::WaypointUnresolved);
            return match all.iter().all(is_unresolved) {
                true => vec![outcome(Class::ToServerWaypoint, Reason::WaypointUnresolved)],
                false => all,
            };
        }
        if let Some(waypoint) = &service.waypoint {
            return self.to_waypoint(source, waypoint, Reason::ServiceWaypoint);
        }
        if !weighted.is_empty() {
            return vec![outcome(Class::ToServerWaypoint, Reason::WaypointUnresolved)];
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

    fn to_waypoint(&self, source: &Workload, to: &GatewayAddress, reason: Reason) -> Vec<Outcome> {
        let unresolved = || outcome(Class::ToServerWaypoint, Reason::WaypointUnresolved);
        let endpoints = match self.find(to) {
            Some(Found::Service(service)) if mode(service) != 3 => self.endpoints(source, service),
            Some(Found::Workload(workload)) => vec![workload],
            Some(Found::Service(_)) | None => Vec::new(),
        };
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
        let name = full(service);
        let all = self.workloads.iter();
        all.filter(move |w| w.services.contains_key(&name))
    }

    /// What a waypoint's address leads to, services first.
    fn find(&self, to: &GatewayAddress) -> Option<Found<'_>> {
        match to.destination.as_ref()? {
            gateway_address::Destination::Hostname(name) => {
                let is_it =
                    |s: &&Service| s.namespace == name.namespace && s.hostname == name.hostname;
                self.services.iter().find(is_it).map(Found::Service)
            }
            gateway_address::Destination::Address(address) => {
                let octets = <[u8; 4]>::try_from(address.address.as_slice()).ok()?;
                let at = self.at_length(octets.into(), 32);
                let service = public(&at).or(at.first().copied()).map(Found::Service);
                service.or_else(|| self.workload_at(octets.into()).map(Found::Workload))
            }
        }
    }
}

fn mode(service: &Service) -> i32 {
    service.load_balancing.as_ref().map_or(0, |of| of.mode)
}

fn full(service: &Service) -> String {
    format!("{}/{}", service.namespace, service.hostname)
}

/// Of the source's own namespace.
fn own<'n>(at: &[&'n Service]) -> Option<&'n Service> {
    at.iter().copied().find(|s| s.namespace == "default")
}

fn public<'n>(at: &[&'n Service]) -> Option<&'n Service> {
    let all = || at.iter().copied().filter(|s| s.visibility == 0);
    all().find(|s| s.canonical).or_else(|| all().next())
}

fn ip_of(workload: &Workload) -> IpAddr {
    let octets = <[u8; 4]>::try_from(workload.addresses[0].as_slice());
    IpAddr::from(octets.expect("an IPv4 address"))
}
