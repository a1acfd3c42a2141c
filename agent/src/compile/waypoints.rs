//! Waypoints: `WAYPOINTS`, the endpoints behind them, and `WAYPOINT_MEMBERS`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use waysteer_common::abi::key::{WaypointKey, WaypointMemberKey};

use super::endpoints::{self, Candidate, Purpose};
use super::id::{self, workload_id};
use super::index::{self, Index, Place};
use super::tables::Tables;
use crate::model::{
    GatewayAddress, GatewayDestination, IpFamilies, LoadBalancerMode, Service, WeightedWaypoint,
    Workload,
};

/// What a service or a workload is reached through.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waypoint<'a> {
    One(&'a GatewayAddress),
    Weighted(&'a [WeightedWaypoint]),
}

impl Waypoint<'_> {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::One(address) => id::waypoint_id(address),
            Self::Weighted(waypoints) => id::weighted_waypoint_id(waypoints),
        }
    }
}

/// Weighted waypoints take the place of the single one.
pub(super) fn of_service(service: &Service) -> Option<Waypoint<'_>> {
    if service.weighted_waypoints.iter().any(|w| w.weight > 0) {
        return Some(Waypoint::Weighted(&service.weighted_waypoints));
    }
    service.waypoint.as_ref().map(Waypoint::One)
}

pub(super) fn is_grouped(index: &Index<'_>, waypoint: &Waypoint<'_>) -> bool {
    let grouped = |address: &GatewayAddress| match find(index, address) {
        Some(Found::Service(service)) => index::is_grouped(service),
        Some(Found::Workload(_)) | None => false,
    };
    match waypoint {
        Waypoint::One(address) => grouped(address),
        Waypoint::Weighted(waypoints) => waypoints.iter().any(|w| grouped(&w.destination)),
    }
}

/// The groups that sets are compiled for.
pub(super) fn groups<'i>(
    index: &'i Index<'_>,
    grouped: bool,
) -> impl Iterator<Item = (u32, Option<&'i Place>)> {
    let shared = (!grouped).then_some((0, None));
    let places = grouped.then(|| {
        index
            .places
            .iter()
            .map(|(group, place)| (*group, Some(place)))
    });
    shared.into_iter().chain(places.into_iter().flatten())
}

pub(super) fn compile(index: &Index<'_>, tables: &mut Tables) {
    let mut all = BTreeMap::new();
    for service in index.mesh.services.values() {
        if let Some(waypoint) = of_service(service) {
            all.insert(waypoint.id(), waypoint);
        }
    }
    for workload in index.mesh.workloads.values() {
        if let Some(address) = &workload.waypoint {
            let waypoint = Waypoint::One(address);
            insert_members(index, tables, address);
            all.insert(waypoint.id(), waypoint);
        }
    }
    for (id, waypoint) in all {
        for (group, place) in groups(index, is_grouped(index, &waypoint)) {
            insert(index, tables, id, &waypoint, group, place);
        }
    }
}

/// A waypoint without a usable endpoint has no entry, and the classifier steers.
fn insert(
    index: &Index<'_>,
    tables: &mut Tables,
    waypoint_id: u64,
    waypoint: &Waypoint<'_>,
    group: u32,
    place: Option<&Place>,
) {
    let candidates = match waypoint {
        Waypoint::One(address) => resolve(index, address, place),
        Waypoint::Weighted(waypoints) => weighted(index, waypoints, place),
    };
    if candidates
        .iter()
        .all(|candidate| candidate.workload.is_none())
    {
        return;
    }
    let set = id::waypoint_set_id(waypoint_id, group);
    let set = endpoints::insert_set(index, &mut tables.endpoints, set, &candidates, false);
    let key = WaypointKey {
        waypoint: waypoint_id.into(),
        group: group.into(),
        padding: [0; 4],
    };
    tables.waypoints.insert(key, set);
}

/// All endpoints of all waypoints, each with its share of its waypoint's share. The share of a
/// waypoint that cannot be resolved stays its own: its flows must not go to the others unasked.
fn weighted<'a>(
    index: &Index<'a>,
    waypoints: &[WeightedWaypoint],
    place: Option<&Place>,
) -> Vec<Candidate<'a>> {
    /// Precision of an endpoint's share within its waypoint.
    const UNIT: u128 = 1 << 20;
    let mut all = Vec::new();
    for waypoint in waypoints.iter().filter(|w| w.weight > 0) {
        let weight = u128::from(waypoint.weight);
        let candidates = resolve(index, &waypoint.destination, place);
        let sum: u128 = candidates.iter().map(|c| c.weight).sum();
        if sum == 0 {
            all.push(Candidate {
                workload: None,
                port: 0,
                v4: None,
                v6: None,
                weight: weight * UNIT,
            });
            continue;
        }
        all.extend(candidates.into_iter().map(|candidate| {
            let share = (candidate.weight * UNIT / sum).max(1);
            Candidate {
                weight: weight * share,
                ..candidate
            }
        }));
    }
    all
}

enum Found<'a> {
    Service(&'a Service),
    Workload(&'a Workload),
}

fn find<'a>(index: &Index<'a>, address: &GatewayAddress) -> Option<Found<'a>> {
    match &address.destination {
        GatewayDestination::Hostname(name) => {
            let service = index.mesh.services.get(name).map(Found::Service);
            service.or_else(|| {
                let mut workloads = index.mesh.workloads.values();
                workloads
                    .find(|w| w.namespace == name.namespace && w.hostname == name.name)
                    .map(Found::Workload)
            })
        }
        GatewayDestination::Address(wanted) => {
            let services: Vec<&Service> = index
                .mesh
                .services
                .values()
                .filter(|s| s.vips.contains(wanted))
                .collect();
            let service = Index::public_choice(&services).or(services.first().copied());
            service.map(Found::Service).or_else(|| {
                if wanted.network != index.node.network {
                    return None;
                }
                index
                    .addresses
                    .get(&wanted.address)
                    .copied()
                    .map(Found::Workload)
            })
        }
    }
}

fn resolve<'a>(
    index: &Index<'a>,
    address: &GatewayAddress,
    place: Option<&Place>,
) -> Vec<Candidate<'a>> {
    let port = address.hbone_mtls_port;
    let candidates = match find(index, address) {
        Some(Found::Service(service))
            if service.load_balancer.mode != LoadBalancerMode::Passthrough =>
        {
            endpoints::candidates(index, service, port, place, Purpose::Waypoint)
        }
        Some(Found::Workload(workload)) => {
            vec![endpoints::candidate(workload, port, IpFamilies::Automatic)]
        }
        Some(Found::Service(_)) | None => Vec::new(),
    };
    match &address.destination {
        GatewayDestination::Hostname(_) => candidates,
        // Named by an address, a waypoint is reached in that address' family if it has it.
        GatewayDestination::Address(wanted) => candidates
            .into_iter()
            .map(|candidate| in_family(candidate, wanted.address))
            .collect(),
    }
}

fn in_family(candidate: Candidate<'_>, wanted: IpAddr) -> Candidate<'_> {
    match wanted {
        IpAddr::V4(v4) if candidate.v4.is_some() => {
            let own = candidate
                .workload
                .is_some_and(|w| w.addresses.contains(&wanted));
            let v4 = if own { Some(v4.octets()) } else { candidate.v4 };
            Candidate {
                v4,
                v6: None,
                ..candidate
            }
        }
        IpAddr::V6(v6) if candidate.v6.is_some() => {
            let own = candidate
                .workload
                .is_some_and(|w| w.addresses.contains(&wanted));
            let address = waysteer_common::addr::Address::from_v6(v6.octets());
            let v6 = if own { Some(address) } else { candidate.v6 };
            Candidate {
                v4: None,
                v6,
                ..candidate
            }
        }
        IpAddr::V4(_) | IpAddr::V6(_) => candidate,
    }
}

/// Only enrolled pods are ever asked about.
fn insert_members(index: &Index<'_>, tables: &mut Tables, address: &GatewayAddress) {
    let found = find(index, address);
    for pod in index.pod_workloads.iter().flatten() {
        let member = match &found {
            Some(Found::Service(service)) => pod.services.contains_key(&service.hostname),
            Some(Found::Workload(workload)) => workload.uid == pod.uid,
            None => false,
        };
        if member {
            let key = WaypointMemberKey {
                waypoint: id::waypoint_id(address).into(),
                workload: workload_id(&pod.uid).into(),
            };
            tables.waypoint_members.insert(key, 1);
        }
    }
}
