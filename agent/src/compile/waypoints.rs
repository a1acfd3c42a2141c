//! Waypoints: `WAYPOINTS`, the endpoints behind them, and `WAYPOINT_MEMBERS`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use waysteer_common::abi::key::WaypointKey;

use super::endpoints::{self, Candidate, Purpose, Set};
use super::id::{self, workload_id};
use super::index::{Found, Index};
use super::output::Output;
use super::place::{self, Place};
use super::registry::{Registered, Waypoint};
use crate::model::{
    GatewayAddress, GatewayDestination, IpFamilies, LoadBalancerMode, WeightedWaypoint,
};

/// The entries of one waypoint. In return the ids of the workloads that have become endpoints of
/// their first waypoint, or are no longer of any.
pub(super) fn compile(index: &Index, output: &mut Output, id: u64) -> Vec<u64> {
    let Some(registered) = index.waypoints.get(id) else {
        output.put_waypoint(id, BTreeMap::new());
        return output.put_members(id, &BTreeSet::new());
    };
    output.put_waypoint(id, sets(index, id, registered));
    output.put_members(id, &members(index, registered))
}

/// A waypoint without a usable endpoint has no entry, and the classifier steers.
fn sets(index: &Index, id: u64, registered: &Registered) -> BTreeMap<WaypointKey, Set> {
    let mut sets = BTreeMap::new();
    for (group, place) in index.groups(registered.grouped) {
        let candidates = match &registered.waypoint {
            Waypoint::One(address) => resolve(index, address, place),
            Waypoint::Weighted(waypoints) => weighted(index, waypoints, place),
        };
        if candidates
            .iter()
            .all(|candidate| candidate.workload.is_none())
        {
            continue;
        }
        let set = id::waypoint_set_id(id, group);
        let key = WaypointKey {
            waypoint: id.into(),
            group: group.into(),
            padding: [0; 4],
        };
        sets.insert(key, endpoints::set(index, set, &candidates, false));
    }
    sets
}

/// The enrolled pods that are endpoints of a waypoint of workloads: only they are ever asked about.
fn members(index: &Index, registered: &Registered) -> BTreeSet<u64> {
    let found = match &registered.waypoint {
        Waypoint::One(address) if !registered.workloads.is_empty() => index.find(address),
        Waypoint::One(_) | Waypoint::Weighted(_) => None,
    };
    let Some(found) = found else {
        return BTreeSet::new();
    };
    let pods = index.pods.values().filter_map(|pod| index.workload_of(pod));
    let members = pods.filter(|pod| match &found {
        Found::Service(service) => pod.services.contains_key(&service.hostname),
        Found::Workload(workload) => workload.uid == pod.uid,
    });
    members.map(|pod| workload_id(&pod.uid)).collect()
}

impl Index {
    /// Whether a waypoint's endpoints depend on where the source is.
    pub(super) fn is_waypoint_grouped(&self, waypoint: &Waypoint) -> bool {
        let mut addresses = waypoint.addresses();
        addresses.any(|address| match self.find(address) {
            Some(Found::Service(service)) => place::is_grouped(service),
            Some(Found::Workload(_)) | None => false,
        })
    }
}

/// All endpoints of all waypoints, each with its share of its waypoint's share. The share of a
/// waypoint that cannot be resolved stays its own: its flows must not go to the others unasked.
fn weighted<'a>(
    index: &'a Index,
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

fn resolve<'a>(
    index: &'a Index,
    address: &GatewayAddress,
    place: Option<&Place>,
) -> Vec<Candidate<'a>> {
    let port = address.hbone_mtls_port;
    let candidates = match index.find(address) {
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
