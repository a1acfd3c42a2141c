//! Which endpoints a service port has, and how they stand in the maps.

use std::net::IpAddr;

use waysteer_common::abi::value::{EndpointSetValue, EndpointValue};
use waysteer_common::addr::Address;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

use super::id::workload_id;
use super::index::Index;
use super::place::Place;
use super::sampler;
use crate::model::{
    ApplicationProtocol, HealthPolicy, HealthStatus, IpFamilies, LoadBalancerMode,
    RoutingPreference, Service, TunnelProtocol, Workload,
};

/// A candidate with its weight; `None` for the share of a waypoint that cannot be resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) workload: Option<&'a Workload>,
    pub(super) port: u16,
    pub(super) v4: Option<[u8; 4]>,
    pub(super) v6: Option<Address>,
    pub(super) weight: u128,
}

/// What a service is resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The application dialled it.
    Destination,
    /// It is a waypoint; its port need not be defined where the workload has an application tunnel.
    Waypoint,
}

/// The endpoints that a source at `place` may be sent to; empty where there is none.
pub(super) fn candidates<'a>(
    index: &'a Index,
    service: &Service,
    port: u16,
    place: Option<&Place>,
    purpose: Purpose,
) -> Vec<Candidate<'a>> {
    let usable = index.endpoints(&service.hostname).filter_map(|workload| {
        let port = target_port(service, workload, port, purpose)?;
        (is_healthy(service, workload) && is_reachable(index, workload) && workload.capacity > 0)
            .then_some((workload, port))
    });
    preferred(service, usable.collect(), place)
        .into_iter()
        .map(|(workload, port)| candidate(workload, port, service.ip_families))
        .collect()
}

/// A workload as an endpoint.
pub(super) fn candidate(workload: &Workload, port: u16, families: IpFamilies) -> Candidate<'_> {
    let (wants_v4, wants_v6) = match families {
        IpFamilies::Automatic | IpFamilies::Dual => (true, true),
        IpFamilies::V4Only => (true, false),
        IpFamilies::V6Only => (false, true),
    };
    let known = workload.protocol != TunnelProtocol::Unknown;
    let v4 = workload.addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    });
    let v6 = workload.addresses.iter().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(Address::from_v6(v6.octets())),
    });
    Candidate {
        workload: Some(workload),
        port,
        // Without an address, an endpoint is left to the tunnel.
        v4: v4.filter(|_| wants_v4 && known),
        v6: v6.filter(|_| wants_v6 && known),
        weight: u128::from(workload.capacity),
    }
}

/// Whether every endpoint that anybody could pick behind this service is plain TCP on our network.
/// All endpoints count, also those that we would not pick: who rewrites the address knows nothing
/// of our health and locality.
pub(super) fn all_plain(index: &Index, service: &Service) -> bool {
    // What a rejected entry would have been is not known.
    index.mesh.rejected.is_empty()
        && index
            .endpoints(&service.hostname)
            .all(|w| w.protocol == TunnelProtocol::Tcp && !index.is_remote(w))
}

/// A set as it stands in the maps.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) value: EndpointSetValue,
    pub(super) endpoints: Vec<EndpointValue>,
}

/// The generation is a digest of the contents.
pub(super) fn set(index: &Index, id: u64, candidates: &[Candidate<'_>], all_plain: bool) -> Set {
    let weights: Vec<u128> = candidates.iter().map(|c| c.weight).collect();
    let slots = sampler::slots(&weights);
    let endpoints: Vec<EndpointValue> = candidates
        .iter()
        .zip(slots)
        .map(|(c, slot)| endpoint_value(index, c, slot))
        .collect();
    let generation = xxh3_64(endpoints.as_bytes()) as u32;
    let flags = if all_plain {
        EndpointSetValue::ALL_PLAIN
    } else {
        0
    };
    let value = EndpointSetValue {
        set: id.into(),
        generation: generation.into(),
        count: (endpoints.len() as u32).into(),
        flags: flags.into(),
        padding: [0; 4],
    };
    Set { value, endpoints }
}

fn endpoint_value(index: &Index, candidate: &Candidate<'_>, slot: sampler::Slot) -> EndpointValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let workload = candidate.workload;
    let flags = flag(candidate.v4.is_some(), EndpointValue::V4)
        | flag(candidate.v6.is_some(), EndpointValue::V6)
        | flag(
            workload.is_some_and(|w| w.protocol != TunnelProtocol::Tcp),
            EndpointValue::HBONE,
        )
        | flag(
            workload.is_some_and(|w| index.is_local(w)),
            EndpointValue::LOCAL,
        )
        | flag(
            workload.is_some_and(|w| index.is_remote(w)),
            EndpointValue::REMOTE,
        );
    EndpointValue {
        workload: workload.map_or(0, |w| workload_id(&w.uid)).into(),
        threshold: slot.threshold.into(),
        alias: slot.alias.into(),
        flags: flags.into(),
        port: candidate.port.into(),
        v4: candidate.v4.unwrap_or_default(),
        v6: candidate.v6.unwrap_or_default(),
        ..EndpointValue::default()
    }
}

/// The port that an endpoint serves a service port on; `None` where it does not.
fn target_port(service: &Service, workload: &Workload, port: u16, purpose: Purpose) -> Option<u16> {
    let of_service = service.ports.get(&port).copied();
    match purpose {
        Purpose::Destination => of_service?,
        Purpose::Waypoint if of_service.is_none() && workload.application_tunnel.is_none() => {
            return None;
        }
        Purpose::Waypoint => of_service.unwrap_or(0),
    };
    if let Some(&own) = workload
        .services
        .get(&service.hostname)
        .and_then(|ports| ports.get(&port))
    {
        return Some(own);
    }
    // 0 is a named port, which this workload does not have.
    of_service
        .filter(|&target| target != 0)
        .or(match workload.application_tunnel {
            Some(
                ApplicationProtocol::None { port: Some(_) }
                | ApplicationProtocol::Proxy { port: Some(_) },
            ) => Some(port),
            Some(
                ApplicationProtocol::None { port: None }
                | ApplicationProtocol::Proxy { port: None },
            )
            | None => None,
        })
}

fn is_healthy(service: &Service, workload: &Workload) -> bool {
    match (workload.status, service.load_balancer.health_policy) {
        (HealthStatus::Healthy, _) | (HealthStatus::Unhealthy, HealthPolicy::AllowAll) => true,
        (HealthStatus::Unhealthy, HealthPolicy::OnlyHealthy) => false,
    }
}

/// Without an address a workload is reached by its host name, or on another network by a gateway.
fn is_reachable(index: &Index, workload: &Workload) -> bool {
    !workload.addresses.is_empty()
        || !workload.hostname.is_empty()
        || index.is_remote(workload) && workload.network_gateway.is_some()
}

/// The best by routing preferences, as ztunnel ranks them.
fn preferred<'a>(
    service: &Service,
    usable: Vec<(&'a Workload, u16)>,
    place: Option<&Place>,
) -> Vec<(&'a Workload, u16)> {
    let strict = match service.load_balancer.mode {
        LoadBalancerMode::Strict => true,
        LoadBalancerMode::Failover => false,
        LoadBalancerMode::Standard | LoadBalancerMode::Passthrough | LoadBalancerMode::Unknown => {
            return usable;
        }
    };
    let Some(place) = place else {
        return usable;
    };
    let preferences = &service.load_balancer.routing_preferences;
    let ranked: Vec<_> = usable
        .into_iter()
        .map(|endpoint| (rank(preferences, endpoint.0, place), endpoint))
        .filter(|(rank, _)| !strict || rank.matched == preferences.len())
        .collect();
    let best = ranked.iter().map(|(rank, _)| rank.total()).max();
    ranked
        .into_iter()
        .filter(|(rank, _)| Some(rank.total()) == best)
        .map(|(_, endpoint)| endpoint)
        .collect()
}

struct Rank {
    /// Preferences matched in a row.
    matched: usize,
    /// Where the network is preferred first, an endpoint on it outranks every one that is not.
    bonus: usize,
}

impl Rank {
    fn total(&self) -> usize {
        self.matched + self.bonus
    }
}

fn rank(preferences: &[RoutingPreference], workload: &Workload, place: &Place) -> Rank {
    let network_first = preferences.first() == Some(&RoutingPreference::Network);
    let mut rank = Rank {
        matched: 0,
        bonus: 0,
    };
    for preference in preferences {
        let matches = match preference {
            RoutingPreference::Region => workload.locality.region == place.locality.region,
            RoutingPreference::Zone => workload.locality.zone == place.locality.zone,
            RoutingPreference::Subzone => workload.locality.subzone == place.locality.subzone,
            RoutingPreference::Node => workload.node == place.node,
            RoutingPreference::Cluster => workload.cluster_id == place.cluster_id,
            RoutingPreference::Network if network_first => {
                if workload.network != place.network {
                    // On another network the remaining preferences still tell better from worse.
                    continue;
                }
                rank.bonus = preferences.len().saturating_sub(1);
                true
            }
            RoutingPreference::Network => workload.network == place.network,
        };
        if !matches {
            break;
        }
        rank.matched += 1;
    }
    rank
}
