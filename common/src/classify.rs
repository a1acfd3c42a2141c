//! The one place where a flow's fate is decided.
//!
//! The kernel runs [`classify`] over BPF maps, host tests run it over the compiled tables. First
//! match wins, in the order of the classification table of ARCHITECTURE.md. A look-up that meets a
//! dangling reference steers: the tunnel refuses what it cannot protect, a bypass would not.

pub use crate::lookup::{Flow, Lookup};

use zerocopy::network_endian::{U16, U32, U64};

use crate::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
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
    match route(flow, lookup, verdict) {
        Route::Decided => {}
        Route::Unresolved(hop) => unresolved(verdict, hop),
        Route::Via(set, hop) => match pick(lookup, set) {
            Some(endpoint) => to_endpoint(flow, endpoint, hop, verdict),
            None => unresolved(verdict, hop),
        },
    }
}

/// What remains to be found out after the destination is known.
enum Route<'a> {
    Decided,
    /// A set of endpoints was named, but is not there or empty.
    Unresolved(Hop),
    Via(&'a EndpointSetValue, Hop),
}

/// What the endpoints of a set are to the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hop {
    Waypoint,
    Destination,
}

/// Rows 1 to 5 and 7 to 10.
#[inline(always)]
fn route<'a, L: Lookup>(flow: &Flow<'_>, lookup: &'a L, verdict: &mut Verdict) -> Route<'a> {
    let node = lookup.settings().flags.get();
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
        return to_workload(flow, lookup, node, workload, verdict);
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
    if let Some(own) = lookup.service_cidr(&key) {
        return Some(own);
    }
    key.namespace = U64::ZERO;
    lookup.service_cidr(&key)
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
    node: u32,
    workload: &WorkloadValue,
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
        let reason = local_reason(flow, lookup, node, workload);
        if reason == Reason::LocalBypass {
            verdict.steer = false;
            return decided(verdict, Class::DirectLocal, reason);
        }
        decided(verdict, Class::DirectLocal, reason);
    } else {
        decided(verdict, Class::Direct, Reason::WorkloadHbone);
    }
    verdict.next_hop.port = HBONE_PORT;
    verdict.next_hop.hbone = true;
    Route::Decided
}

/// Whether a workload of this node may be reached past the tunnel.
#[inline(always)]
fn local_reason<L: Lookup>(
    flow: &Flow<'_>,
    lookup: &L,
    node: u32,
    workload: &WorkloadValue,
) -> Reason {
    let flags = workload.flags.get();
    if node & SettingsValue::DIRECT_LOCAL_BYPASS == 0 {
        return Reason::LocalTunnel;
    }
    if flags & WorkloadValue::TUNNELLED != 0 {
        return Reason::LocalTunnelled;
    }
    if flags & WorkloadValue::ENROLLED == 0 {
        return Reason::LocalNotEnrolled;
    }
    // A rejected entry may have been a policy.
    if node & (SettingsValue::INCOMPLETE | SettingsValue::POLICIES_CHANGE) != 0 {
        return Reason::LocalNotEvaluated;
    }
    if flags & WorkloadValue::POLICY == 0 {
        return Reason::LocalBypass;
    }
    match lookup.policy(&PolicyKey {
        netns: U64::new(flow.netns),
        policies: workload.policies,
        padding: [0; 4],
    }) {
        Some(policy) if policy.allows(U16::new(flow.port)) => Reason::LocalBypass,
        Some(_) => Reason::LocalPolicy,
        None => Reason::LocalNotEvaluated,
    }
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
fn to_endpoint(flow: &Flow<'_>, endpoint: &EndpointValue, hop: Hop, verdict: &mut Verdict) {
    let flags = endpoint.flags.get();
    let has_v4 = flags & EndpointValue::V4 != 0;
    let has_v6 = flags & EndpointValue::V6 != 0;
    if flags & EndpointValue::REMOTE != 0 || !(has_v4 || has_v6) {
        if hop == Hop::Destination && flags & EndpointValue::REMOTE != 0 {
            decided(verdict, Class::Direct, Reason::RemoteNetwork);
        } else if hop == Hop::Destination {
            decided(verdict, Class::Direct, Reason::EndpointUnresolved);
        } else {
            unresolved(verdict, hop);
        }
        return;
    }
    let next_hop = &mut verdict.next_hop;
    next_hop.workload = endpoint.workload.get();
    // The family that was dialled, where the endpoint has it.
    next_hop.address = if has_v4 && (!has_v6 || flow.destination.is_v4()) {
        Address::from_v4(endpoint.v4)
    } else {
        endpoint.v6
    };
    next_hop.port = endpoint.port.get();
    if hop == Hop::Waypoint {
        next_hop.hbone = true;
        next_hop.authority = flow.destination;
        next_hop.authority_port = flow.port;
        return;
    }
    next_hop.authority = next_hop.address;
    next_hop.authority_port = next_hop.port;
    if flags & EndpointValue::HBONE == 0 {
        decided(verdict, Class::Direct, Reason::ServiceMixed);
        return;
    }
    next_hop.hbone = true;
    next_hop.port = HBONE_PORT;
    if flags & EndpointValue::LOCAL != 0 {
        decided(verdict, Class::DirectLocal, Reason::ServiceLocal);
    } else {
        decided(verdict, Class::Direct, Reason::ServiceHbone);
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
