//! The one place where a flow's fate is decided.
//!
//! The kernel runs [`classify`] over BPF maps, host tests run it over the compiled tables. First
//! match wins, in the order of the classification table of ARCHITECTURE.md. A look-up that meets a
//! dangling reference steers: the tunnel refuses what it cannot protect, a bypass would not.

mod neighbour;

pub use crate::lookup::{Flow, Lookup};

use zerocopy::network_endian::{U16, U32, U64};

use crate::abi::key::{
    AddressKey, CidrKey, EndpointKey, ServiceKey, ServicePortKey, WaypointKey, WaypointMemberKey,
};
use crate::abi::names::HBONE_PORT;
use crate::abi::pod::PodValue;
use crate::abi::settings::SettingsValue;
use crate::abi::value::{EndpointSetValue, EndpointValue, ServiceValue, WorkloadValue};
use crate::addr::Address;
use crate::verdict::{Class, NextHop, Reason, Verdict};

/// Decides a flow's class, next hop, and whether it goes through the tunnel.
pub fn classify<L: Lookup>(flow: &Flow<'_>, lookup: &L) -> Verdict {
    let mut verdict = Verdict::NONE;
    classify_into(flow, lookup, &mut verdict);
    verdict
}

/// [`classify`] for a small stack: `verdict` must be [`Verdict::NONE`], which steers, and is
/// filled in place.
#[inline(always)]
pub fn classify_into<L: Lookup>(flow: &Flow<'_>, lookup: &L, verdict: &mut Verdict) {
    let node = lookup.settings().flags.get();
    let route = match route(flow, lookup, node, verdict) {
        Route::Via(set, hop) => match pick(lookup, set) {
            Some(endpoint) => to_endpoint(flow, lookup, node, endpoint, hop, verdict),
            None => Route::Unresolved(hop),
        },
        route => route,
    };
    match route {
        Route::Decided | Route::Via(..) => {}
        Route::Unresolved(hop) => unresolved(verdict, hop),
        Route::Local(workload) => neighbour::decide(flow, lookup, node, workload, verdict),
    }
}

/// What remains to be found out after the destination is known.
enum Route<'a> {
    Decided,
    /// A set of endpoints was named, but is not there or empty.
    Unresolved(Hop),
    Via(&'a EndpointSetValue, Hop),
    /// Application to application, if nothing speaks against it; the next hop is filled in for that.
    /// One place for rows 6 and 8: the verifier follows what is written twice twice.
    Local(&'a WorkloadValue),
}

/// What the endpoints of a set are to the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hop {
    Waypoint,
    Destination,
}

/// Rows 1 to 5 and 7 to 10.
#[inline(always)]
fn route<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    node: u32,
    verdict: &mut Verdict,
) -> Route<'a> {
    if is_own_address(flow, lookup) {
        return flow.bypass(verdict, Class::Passthrough, Reason::OwnAddress);
    }
    // Row 1.
    if node & SettingsValue::SYNCED == 0 {
        return steer(verdict, Class::Direct, Reason::NotSynced);
    }
    if flow.pod.flags.get() & PodValue::KNOWN == 0 {
        return steer(verdict, Class::Direct, Reason::SourceUnknown);
    }
    // Row 2.
    if let Some(workload) = lookup.workload(&AddressKey {
        address: flow.destination,
    }) {
        return to_workload(flow, lookup, workload, verdict);
    }
    if let Some(service) = find_service(flow, lookup, node) {
        return to_service(flow, lookup, service, verdict);
    }
    // Row 10.
    if node & SettingsValue::INCOMPLETE != 0 {
        return steer(verdict, Class::Passthrough, Reason::UnknownIncomplete);
    }
    if node & SettingsValue::MESH_CIDRS != 0 && lookup.in_mesh(&flow.destination) {
        return steer(verdict, Class::Passthrough, Reason::UnknownInMesh);
    }
    flow.bypass(verdict, Class::Passthrough, Reason::Unknown)
}

#[inline(always)]
fn is_own_address<L: Lookup>(flow: &Flow<'_>, lookup: &L) -> bool {
    let pod = flow.pod;
    if flow.destination.same(&pod.v4) || flow.destination.same(&pod.v6) {
        return true;
    }
    pod.flags.get() & PodValue::MORE_ADDRESSES != 0
        && lookup.pod_address(&AddressKey {
            address: flow.destination,
        }) == Some(flow.netns)
}

/// Exact addresses first, then the longest CIDR; in both, the service of the client's own
/// namespace before the one that everybody gets.
#[inline(always)]
fn find_service<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    node: u32,
) -> Option<&'a ServiceValue> {
    let mut key = ServiceKey {
        namespace: U64::ZERO,
        address: flow.destination,
    };
    if let Some(public) = lookup.service(&key) {
        let flags = public.flags.get();
        if flags & ServiceValue::NAMESPACED != 0 {
            key.namespace = flow.pod.namespace;
            if let Some(own) = lookup.service(&key) {
                return Some(own);
            }
        }
        if flags & ServiceValue::HIDDEN == 0 {
            return Some(public);
        }
    }
    if node & SettingsValue::SERVICE_CIDRS == 0 {
        return None;
    }
    let mut key = CidrKey {
        namespace: flow.pod.namespace,
        address: flow.destination.octets(),
    };
    if let Some(own) = lookup.service_cidr(&key)
        && own.is_for(&flow.destination)
    {
        return Some(own);
    }
    key.namespace = U64::ZERO;
    let public = lookup.service_cidr(&key)?;
    public.is_for(&flow.destination).then_some(public)
}

/// Rows 3 to 6.
#[inline(always)]
fn to_service<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    service: &ServiceValue,
    verdict: &mut Verdict,
) -> Route<'a> {
    let flags = service.flags.get();
    verdict.service = service.id.get();
    if flags & ServiceValue::INVALID != 0 {
        return steer(verdict, Class::Direct, Reason::Invalid);
    }
    // Row 3.
    if flags & ServiceValue::WAYPOINT != 0 {
        let grouped = flags & ServiceValue::WAYPOINT_GROUPED != 0;
        steer(verdict, Class::ToServerWaypoint, Reason::ServiceWaypoint);
        return to_waypoint(flow, lookup, service.waypoint, grouped);
    }
    // Row 4.
    if flags & ServiceValue::PASSTHROUGH != 0 {
        return flow.bypass(verdict, Class::Passthrough, Reason::ServicePassthrough);
    }
    // Row 5.
    let group = if flags & ServiceValue::GROUPED != 0 {
        flow.pod.group
    } else {
        U32::ZERO
    };
    let key = ServicePortKey {
        service: service.id,
        group,
        port: U16::new(flow.port),
        padding: [0; 2],
    };
    let Some(set) = lookup.service_port(&key) else {
        return steer(verdict, Class::Direct, Reason::NoPort);
    };
    // The destination may stay as it is only if no endpoint behind it needs HBONE.
    if set.flags.get() & EndpointSetValue::ALL_PLAIN != 0 {
        return flow.bypass(verdict, Class::Direct, Reason::ServicePlain);
    }
    // Row 6.
    Route::Via(set, Hop::Destination)
}

/// Rows 7 to 9.
#[inline(always)]
fn to_workload<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    workload: &'a WorkloadValue,
    verdict: &mut Verdict,
) -> Route<'a> {
    let flags = workload.flags.get();
    if flags & WorkloadValue::INVALID != 0 {
        return steer(verdict, Class::Direct, Reason::Invalid);
    }
    // Row 7.
    if flags & WorkloadValue::WAYPOINT != 0 && !is_from_waypoint(flow, lookup, workload) {
        let grouped = flags & WorkloadValue::WAYPOINT_GROUPED != 0;
        steer(verdict, Class::ToServerWaypoint, Reason::WorkloadWaypoint);
        return to_waypoint(flow, lookup, workload.waypoint, grouped);
    }
    flow.dialled(&mut verdict.next_hop);
    verdict.next_hop.workload = workload.id.get();
    // Row 9.
    if flags & WorkloadValue::HBONE == 0 {
        verdict.steer = false;
        return decided(verdict, Class::Direct, Reason::WorkloadPlain);
    }
    // Row 8.
    if flags & WorkloadValue::LOCAL != 0 {
        return Route::Local(workload);
    }
    verdict.next_hop.port = HBONE_PORT;
    verdict.next_hop.hbone = true;
    decided(verdict, Class::Direct, Reason::WorkloadHbone)
}

#[inline(always)]
fn is_from_waypoint<L: Lookup>(flow: &Flow<'_>, lookup: &L, workload: &WorkloadValue) -> bool {
    flow.pod.flags.get() & PodValue::WAYPOINT != 0
        && lookup.is_waypoint_member(&WaypointMemberKey {
            waypoint: workload.waypoint,
            workload: flow.pod.workload,
        })
}

#[inline(always)]
fn to_waypoint<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    waypoint: U64,
    grouped: bool,
) -> Route<'a> {
    let group = if grouped { flow.pod.group } else { U32::ZERO };
    match lookup.waypoint(&WaypointKey {
        waypoint,
        group,
        padding: [0; 4],
    }) {
        Some(set) => Route::Via(set, Hop::Waypoint),
        None => Route::Unresolved(Hop::Waypoint),
    }
}

/// Draws an endpoint by weight, see [`EndpointValue`].
#[inline(always)]
fn pick<'a, L: Lookup>(lookup: &'a L, set: &EndpointSetValue) -> Option<&'a EndpointValue> {
    let count = set.count.get();
    let slot = ((u64::from(lookup.random()) * u64::from(count)) >> 32) as u32;
    let mut key = EndpointKey {
        set: set.set,
        generation: set.generation,
        index: U32::new(slot),
    };
    let endpoint = lookup.endpoint(&key)?;
    let alias = endpoint.alias;
    if alias.get() == slot || lookup.random() < endpoint.threshold.get() {
        return Some(endpoint);
    }
    key.index = alias;
    lookup.endpoint(&key)
}

/// Rows 3, 6 and 7: what the endpoint picked makes of the flow.
#[inline(always)]
fn to_endpoint<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    node: u32,
    endpoint: &EndpointValue,
    hop: Hop,
    verdict: &mut Verdict,
) -> Route<'a> {
    let flags = endpoint.flags.get();
    let has_v4 = flags & EndpointValue::V4 != 0;
    let has_v6 = flags & EndpointValue::V6 != 0;
    if flags & EndpointValue::REMOTE != 0 || !(has_v4 || has_v6) {
        return if hop == Hop::Destination && flags & EndpointValue::REMOTE != 0 {
            decided(verdict, Class::Direct, Reason::RemoteNetwork)
        } else if hop == Hop::Destination {
            decided(verdict, Class::Direct, Reason::EndpointUnresolved)
        } else {
            Route::Unresolved(hop)
        };
    }
    let next_hop = &mut verdict.next_hop;
    next_hop.workload = endpoint.workload.get();
    // The family that was dialled, where the endpoint has it.
    let dials_v4 = flow.destination.is_v4();
    let has_family = if dials_v4 { has_v4 } else { has_v6 };
    next_hop.address = if dials_v4 == has_family {
        Address::from_v4(endpoint.v4)
    } else {
        endpoint.v6
    };
    next_hop.port = endpoint.port.get();
    if hop == Hop::Waypoint {
        next_hop.hbone = true;
        next_hop.authority = flow.destination;
        next_hop.authority_port = flow.port;
        return Route::Decided;
    }
    next_hop.authority = next_hop.address;
    next_hop.authority_port = next_hop.port;
    if flags & EndpointValue::HBONE == 0 {
        return decided(verdict, Class::Direct, Reason::ServiceMixed);
    }
    // A socket cannot be counted on to reach the other family.
    if flags & EndpointValue::LOCAL != 0
        && has_family
        && let Some(workload) = neighbour::find(flow, lookup, node, next_hop)
    {
        return Route::Local(workload);
    }
    next_hop.hbone = true;
    next_hop.port = HBONE_PORT;
    if flags & EndpointValue::LOCAL != 0 {
        decided(verdict, Class::DirectLocal, Reason::ServiceLocal)
    } else {
        decided(verdict, Class::Direct, Reason::ServiceHbone)
    }
}

#[inline(always)]
fn unresolved(verdict: &mut Verdict, hop: Hop) {
    match hop {
        Hop::Waypoint => verdict.reason = Reason::WaypointUnresolved,
        Hop::Destination => {
            decided(verdict, Class::Direct, Reason::NoEndpoint);
        }
    }
}

impl Flow<'_> {
    /// What the application itself dialled, in plain TCP.
    #[inline(always)]
    fn dialled(&self, next_hop: &mut NextHop) {
        next_hop.address = self.destination;
        next_hop.port = self.port;
        next_hop.authority = self.destination;
        next_hop.authority_port = self.port;
    }

    #[inline(always)]
    fn bypass<'a>(&self, verdict: &mut Verdict, class: Class, reason: Reason) -> Route<'a> {
        verdict.steer = false;
        self.dialled(&mut verdict.next_hop);
        decided(verdict, class, reason)
    }
}

/// Into the tunnel, with no next hop known so far.
#[inline(always)]
fn steer<'a>(verdict: &mut Verdict, class: Class, reason: Reason) -> Route<'a> {
    decided(verdict, class, reason)
}

#[inline(always)]
fn decided<'a>(verdict: &mut Verdict, class: Class, reason: Reason) -> Route<'a> {
    verdict.class = class;
    verdict.reason = reason;
    Route::Decided
}
