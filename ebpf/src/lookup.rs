//! The classifier's look-ups, over BPF maps. Values are read in place: a program's stack is too
//! small for copies of them.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::bpf_get_prandom_u32;
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, MeshCidr, PolicyValue, ServiceValue, WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, Lookup, classify_into};
use waysteer_common::verdict::Verdict;
use zerocopy::network_endian::U64;

use crate::maps::{
    ENDPOINTS, MESH_CIDRS, POD_ADDRESSES, PODS, POLICIES, SERVICE_CIDRS, SERVICE_PORTS, SERVICES,
    SETTINGS, WAYPOINT_MEMBERS, WAYPOINTS, WORKLOADS,
};

/// A reference to a map's value.
macro_rules! found {
    ($map:ident, $key:expr) => {{
        let value = $map.get_ptr($key)?;
        // SAFETY: the verifier has proved that a non-null look-up result points to a whole value,
        // which stays allocated while the program runs.
        Some(unsafe { &*value })
    }};
}

/// With a port, for want of a sixth argument.
const DIALLING: u32 = 1 << 16;

/// The kernel's maps.
pub(crate) struct Maps;

#[inline(always)]
pub(crate) fn settings() -> &'static SettingsValue {
    SETTINGS.get(0).unwrap_or(const { &SettingsValue::NONE })
}

#[inline(always)]
pub(crate) fn pod(netns: u64) -> Option<&'static PodValue> {
    let value = PODS.get_ptr(PodKey {
        netns: U64::new(netns),
    })?;
    // SAFETY: the verifier has proved that a non-null look-up result points to a whole value,
    // which stays allocated while the program runs.
    Some(unsafe { &*value })
}

/// The classifier. `verdict` must be [`Verdict::NONE`].
#[inline(always)]
pub(crate) fn decide(flow: &Flow<'_>, verdict: &mut Verdict) {
    let Flow {
        pod,
        netns,
        destination,
        port,
        is_dialling,
    } = flow;
    let port = u32::from(*port) | if *is_dialling { DIALLING } else { 0 };
    classify_flow(*pod, *netns, destination, port, verdict);
}

/// A global function, which takes plain memory: the verifier looks at it once in a program, and not
/// once for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
fn classify_flow(
    pod: *const PodValue,
    netns: u64,
    destination: *const Address,
    port: u32,
    verdict: *mut Verdict,
) -> u32 {
    // SAFETY: the verifier has proved of every caller that what is not null is of that size.
    let pod = unsafe { pod.as_ref() };
    // SAFETY: as above.
    let destination = unsafe { destination.as_ref() };
    // SAFETY: as above.
    let verdict = unsafe { verdict.as_mut() };
    if let (Some(pod), Some(&destination), Some(verdict)) = (pod, destination, verdict) {
        let flow = Flow {
            pod,
            netns,
            destination,
            port: port as u16,
            is_dialling: port & DIALLING != 0,
        };
        classify_into(&flow, &Maps, verdict);
    }
    0
}

#[inline(always)]
pub(crate) fn pod_address(address: Address) -> Option<u64> {
    let value = POD_ADDRESSES.get_ptr(AddressKey { address })?;
    // SAFETY: as in `found`.
    Some(unsafe { *value }.netns.get())
}

impl Lookup for Maps {
    #[inline(always)]
    fn settings(&self) -> &SettingsValue {
        settings()
    }

    #[inline(always)]
    fn pod_address(&self, key: &AddressKey) -> Option<u64> {
        pod_address(key.address)
    }

    #[inline(always)]
    fn workload(&self, key: &AddressKey) -> Option<&WorkloadValue> {
        found!(WORKLOADS, key)
    }

    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<&PolicyValue> {
        found!(POLICIES, key)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        found!(SERVICES, key)
    }

    #[inline(always)]
    fn service_cidr(&self, key: &CidrKey) -> Option<&ServiceValue> {
        SERVICE_CIDRS.get(&Key::new(CidrKey::NAMESPACE_BITS + 128, *key))
    }

    #[inline(always)]
    fn service_port(&self, key: &ServicePortKey) -> Option<&EndpointSetValue> {
        found!(SERVICE_PORTS, key)
    }

    #[inline(always)]
    fn waypoint(&self, key: &WaypointKey) -> Option<&EndpointSetValue> {
        found!(WAYPOINTS, key)
    }

    #[inline(always)]
    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool {
        WAYPOINT_MEMBERS.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointValue> {
        found!(ENDPOINTS, key)
    }

    #[inline(always)]
    fn in_mesh(&self, address: &Address) -> bool {
        let found = MESH_CIDRS.get(&Key::new(128, address.octets()));
        found.is_some_and(|value| MeshCidr::is_for(*value, address))
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes no argument and has no precondition.
        unsafe { bpf_get_prandom_u32() }
    }
}
