//! The one place where a flow's fate is decided.
//!
//! The kernel runs [`classify`] over BPF maps, host tests run it over the compiled tables. First
//! match wins, in the order of the classification table of ARCHITECTURE.md. A look-up that meets a
//! dangling reference steers: the tunnel refuses what it cannot protect, a bypass would not.

use zerocopy::network_endian::{U16, U32, U64};

use crate::abi::key::{
    AddressKey, CidrKey, EndpointKey, ServiceKey, ServicePortKey, WaypointKey, WaypointMemberKey,
};
use crate::abi::pod::PodValue;
use crate::abi::settings::SettingsValue;
use crate::abi::value::{EndpointSetValue, EndpointValue, ServiceValue, WorkloadValue};
use crate::addr::Address;
use crate::verdict::{Class, NextHop, Reason, Verdict};

/// A connection attempt of an enrolled pod.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    pub pod: &'a PodValue,
    /// Netns cookie of the pod.
    pub netns: u64,
    pub destination: Address,
    pub port: u16,
}

/// What the classifier reads: BPF maps in the kernel, tables on the host.
pub trait Lookup {
    fn settings(&self) -> SettingsValue;
    /// The netns cookie of the enrolled pod that has this address.
    fn pod_address(&self, key: &AddressKey) -> Option<u64>;
    fn workload(&self, key: &AddressKey) -> Option<WorkloadValue>;
    fn service(&self, key: &ServiceKey) -> Option<ServiceValue>;
    /// The longest prefix that holds the address, of exactly the key's namespace.
    fn service_cidr(&self, key: &CidrKey) -> Option<ServiceValue>;
    fn service_port(&self, key: &ServicePortKey) -> Option<EndpointSetValue>;
    fn waypoint(&self, key: &WaypointKey) -> Option<EndpointSetValue>;
    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool;
    fn endpoint(&self, key: &EndpointKey) -> Option<EndpointValue>;
    /// Whether the address is in `mesh_cidrs`.
    fn in_mesh(&self, address: &Address) -> bool;
    fn random(&self) -> u32;
}

/// Decides a flow's class, next hop, and whether it goes through the tunnel.
#[inline(always)]
pub fn classify<L: Lookup>(flow: &Flow<'_>, lookup: &L) -> Verdict {
    let settings = lookup.settings();
    let node = settings.flags.get();
    let pod = flow.pod.flags.get();

    if is_own_address(flow, lookup) {
        return bypass(Class::Passthrough, Reason::OwnAddress, flow.dialled(0), 0);
    }
    // Row 1.
    if node & SettingsValue::SYNCED == 0 {
        return steer(Class::Direct, Reason::NotSynced, NextHop::NONE, 0);
    }
    if pod & PodValue::KNOWN == 0 {
        return steer(Class::Direct, Reason::SourceUnknown, NextHop::NONE, 0);
    }
    // Row 2.
    if let Some(workload) = lookup.workload(&AddressKey {
        address: flow.destination,
    }) {
        return to_workload(flow, lookup, node, &workload);
    }
    // Rows 3 to 6.
    if let Some(service) = find_service(flow, lookup, node) {
        return to_service(flow, lookup, &service);
    }
    // Row 10.
    if node & SettingsValue::INCOMPLETE != 0 {
        return steer(
            Class::Passthrough,
            Reason::UnknownIncomplete,
            NextHop::NONE,
            0,
        );
    }
    if node & SettingsValue::MESH_CIDRS != 0 && lookup.in_mesh(&flow.destination) {
        return steer(Class::Passthrough, Reason::UnknownInMesh, NextHop::NONE, 0);
    }
    bypass(Class::Passthrough, Reason::Unknown, flow.dialled(0), 0)
}

impl Flow<'_> {
    /// What the application itself dialled, in plain TCP.
    #[inline(always)]
    fn dialled(&self, workload: u64) -> NextHop {
        NextHop {
            address: self.destination,
            port: self.port,
            hbone: false,
            authority: self.destination,
            authority_port: self.port,
            workload,
        }
    }
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
fn find_service<L: Lookup>(flow: &Flow<'_>, lookup: &L, node: u32) -> Option<ServiceValue> {
    let key = ServiceKey {
        namespace: U64::ZERO,
        address: flow.destination,
    };
    if let Some(public) = lookup.service(&key) {
        let flags = public.flags.get();
        if flags & ServiceValue::NAMESPACED != 0 {
            let key = ServiceKey {
                namespace: flow.pod.namespace,
                address: flow.destination,
            };
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
    let own = CidrKey {
        namespace: flow.pod.namespace,
        address: flow.destination.octets(),
    };
    if let Some(own) = lookup.service_cidr(&own) {
        return Some(own);
    }
    lookup.service_cidr(&CidrKey {
        namespace: U64::ZERO,
        address: flow.destination.octets(),
    })
}

/// Rows 3 to 6.
#[inline(always)]
fn to_service<L: Lookup>(flow: &Flow<'_>, lookup: &L, service: &ServiceValue) -> Verdict {
    let flags = service.flags.get();
    let id = service.id.get();
    if flags & ServiceValue::INVALID != 0 {
        return steer(Class::Direct, Reason::Invalid, NextHop::NONE, id);
    }
    // Row 3.
    if flags & ServiceValue::WAYPOINT != 0 {
        let grouped = flags & ServiceValue::WAYPOINT_GROUPED != 0;
        return to_waypoint(
            flow,
            lookup,
            service.waypoint,
            grouped,
            Reason::ServiceWaypoint,
            id,
        );
    }
    // Row 4.
    if flags & ServiceValue::PASSTHROUGH != 0 {
        return bypass(
            Class::Passthrough,
            Reason::ServicePassthrough,
            flow.dialled(0),
            id,
        );
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
        return steer(Class::Direct, Reason::NoPort, NextHop::NONE, id);
    };
    if set.count.get() == 0 {
        return steer(Class::Direct, Reason::NoEndpoint, NextHop::NONE, id);
    }
    // Row 6. The destination may stay unrewritten only if no endpoint behind it needs HBONE.
    if set.flags.get() & EndpointSetValue::ALL_PLAIN != 0 {
        return bypass(Class::Direct, Reason::ServicePlain, flow.dialled(0), id);
    }
    let Some(endpoint) = pick(lookup, &set) else {
        return steer(Class::Direct, Reason::NoEndpoint, NextHop::NONE, id);
    };
    to_endpoint(flow, &endpoint, id)
}

#[inline(always)]
fn to_endpoint(flow: &Flow<'_>, endpoint: &EndpointValue, service: u64) -> Verdict {
    let flags = endpoint.flags.get();
    if flags & EndpointValue::REMOTE != 0 {
        let next_hop = NextHop {
            workload: endpoint.workload.get(),
            ..NextHop::NONE
        };
        return steer(Class::Direct, Reason::RemoteNetwork, next_hop, service);
    }
    let Some(address) = endpoint_address(endpoint, flow.destination.is_v4()) else {
        return steer(
            Class::Direct,
            Reason::EndpointUnresolved,
            NextHop::NONE,
            service,
        );
    };
    let port = endpoint.port.get();
    let hbone = flags & EndpointValue::HBONE != 0;
    let next_hop = NextHop {
        address,
        port: if hbone {
            crate::abi::names::HBONE_PORT
        } else {
            port
        },
        hbone,
        authority: address,
        authority_port: port,
        workload: endpoint.workload.get(),
    };
    if !hbone {
        steer(Class::Direct, Reason::ServiceMixed, next_hop, service)
    } else if flags & EndpointValue::LOCAL != 0 {
        steer(Class::DirectLocal, Reason::ServiceLocal, next_hop, service)
    } else {
        steer(Class::Direct, Reason::ServiceHbone, next_hop, service)
    }
}

/// Rows 7 to 9.
#[inline(always)]
fn to_workload<L: Lookup>(
    flow: &Flow<'_>,
    lookup: &L,
    node: u32,
    workload: &WorkloadValue,
) -> Verdict {
    let flags = workload.flags.get();
    let id = workload.id.get();
    if flags & WorkloadValue::INVALID != 0 {
        return steer(Class::Direct, Reason::Invalid, NextHop::NONE, 0);
    }
    // Row 7.
    if flags & WorkloadValue::WAYPOINT != 0 && !is_from_waypoint(flow, lookup, workload) {
        let grouped = flags & WorkloadValue::WAYPOINT_GROUPED != 0;
        return to_waypoint(
            flow,
            lookup,
            workload.waypoint,
            grouped,
            Reason::WorkloadWaypoint,
            0,
        );
    }
    // Row 9.
    if flags & WorkloadValue::HBONE == 0 {
        return bypass(Class::Direct, Reason::WorkloadPlain, flow.dialled(id), 0);
    }
    // Row 8.
    let next_hop = NextHop {
        port: crate::abi::names::HBONE_PORT,
        hbone: true,
        ..flow.dialled(id)
    };
    if flags & WorkloadValue::LOCAL == 0 {
        return steer(Class::Direct, Reason::WorkloadHbone, next_hop, 0);
    }
    let reason = if node & SettingsValue::DIRECT_LOCAL_BYPASS == 0 {
        Reason::LocalTunnel
    } else if node & SettingsValue::INCOMPLETE != 0 || flags & WorkloadValue::POLICY != 0 {
        // A rejected entry may have been a policy.
        Reason::LocalPolicy
    } else if flags & WorkloadValue::TUNNELLED != 0 {
        Reason::LocalTunnelled
    } else if flags & WorkloadValue::ENROLLED == 0 {
        Reason::LocalNotEnrolled
    } else {
        return bypass(Class::DirectLocal, Reason::LocalBypass, flow.dialled(id), 0);
    };
    steer(Class::DirectLocal, reason, next_hop, 0)
}

#[inline(always)]
fn is_from_waypoint<L: Lookup>(flow: &Flow<'_>, lookup: &L, workload: &WorkloadValue) -> bool {
    flow.pod.flags.get() & PodValue::WAYPOINT != 0
        && lookup.is_waypoint_member(&WaypointMemberKey {
            waypoint: workload.waypoint,
            workload: flow.pod.workload,
        })
}

/// Rows 3 and 7: the authority stays what the application dialled.
#[inline(always)]
fn to_waypoint<L: Lookup>(
    flow: &Flow<'_>,
    lookup: &L,
    waypoint: U64,
    grouped: bool,
    reason: Reason,
    service: u64,
) -> Verdict {
    let group = if grouped { flow.pod.group } else { U32::ZERO };
    let key = WaypointKey {
        waypoint,
        group,
        padding: [0; 4],
    };
    let endpoint = match lookup.waypoint(&key) {
        Some(set) if set.count.get() != 0 => pick(lookup, &set),
        Some(_) | None => None,
    };
    if let Some(endpoint) = endpoint
        && endpoint.flags.get() & EndpointValue::REMOTE == 0
        && let Some(address) = endpoint_address(&endpoint, flow.destination.is_v4())
    {
        let next_hop = NextHop {
            address,
            port: endpoint.port.get(),
            hbone: true,
            ..flow.dialled(endpoint.workload.get())
        };
        return steer(Class::ToServerWaypoint, reason, next_hop, service);
    }
    steer(
        Class::ToServerWaypoint,
        Reason::WaypointUnresolved,
        NextHop::NONE,
        service,
    )
}

/// Draws an endpoint by weight, see [`EndpointValue`].
#[inline(always)]
fn pick<L: Lookup>(lookup: &L, set: &EndpointSetValue) -> Option<EndpointValue> {
    let count = set.count.get();
    let slot = ((u64::from(lookup.random()) * u64::from(count)) >> 32) as u32;
    let key = |index: u32| EndpointKey {
        set: set.set,
        generation: set.generation,
        index: U32::new(index),
    };
    let endpoint = lookup.endpoint(&key(slot))?;
    let alias = endpoint.alias.get();
    if alias == slot || lookup.random() < endpoint.threshold.get() {
        return Some(endpoint);
    }
    lookup.endpoint(&key(alias))
}

/// The endpoint's address, of the wanted family if it has one.
#[inline(always)]
fn endpoint_address(endpoint: &EndpointValue, want_v4: bool) -> Option<Address> {
    let flags = endpoint.flags.get();
    let has_v4 = flags & EndpointValue::V4 != 0;
    let has_v6 = flags & EndpointValue::V6 != 0;
    if has_v4 && (want_v4 || !has_v6) {
        Some(Address::from_v4(endpoint.v4))
    } else if has_v6 {
        Some(endpoint.v6)
    } else {
        None
    }
}

#[inline(always)]
fn steer(class: Class, reason: Reason, next_hop: NextHop, service: u64) -> Verdict {
    Verdict {
        class,
        reason,
        steer: true,
        next_hop,
        service,
    }
}

#[inline(always)]
fn bypass(class: Class, reason: Reason, next_hop: NextHop, service: u64) -> Verdict {
    Verdict {
        class,
        reason,
        steer: false,
        next_hop,
        service,
    }
}
