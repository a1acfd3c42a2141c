//! The maps. Names, keys and values are the ABI, see `docs/maps.md`.
//!
//! Hash maps are not preallocated, so the ceiling costs nothing and memory follows use.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::btf_maps::{
    Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, SkStorage,
};
use aya_ebpf::helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use waysteer_common::abi::event::{DropEvent, VerdictEvent};
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, FlowKey, PolicyKey, ServiceKey, ServicePortKey, TrafficKey,
    TupleKey, WaypointKey, WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    ConnectionValue, DropsToldValue, EndpointSetValue, EndpointValue, LocalConnectionValue,
    LocalFlowValue, PodAddressValue, PolicyValue, ServiceValue, SocketValue, SynCookiesValue,
    TrafficValue, WorkloadValue,
};
use waysteer_common::verdict::{COUNTER_SLOTS, PacketAction, TRAFFIC_SLOTS};

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// Half of it in the object that tests of upgrades exchange with this one.
const fn capacity(entries: usize) -> usize {
    if cfg!(feature = "other-layout") {
        entries / 2
    } else {
        entries
    }
}

// Configuration: written by the agent only.

#[btf_map]
pub(crate) static SETTINGS: Array<SettingsValue, 1> = Array::new();
#[btf_map]
pub(crate) static PODS: HashMap<PodKey, PodValue, 4_096, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static POD_ADDRESSES: HashMap<AddressKey, PodAddressValue, 16_384, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static WORKLOADS: HashMap<
    AddressKey,
    WorkloadValue,
    { capacity(1_048_576) },
    ON_DEMAND,
> = HashMap::new();
#[btf_map]
pub(crate) static POLICIES: HashMap<PolicyKey, PolicyValue, 262_144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, ServiceValue, 262_144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static SERVICE_CIDRS: LpmTrie<CidrKey, ServiceValue, 65_536> = LpmTrie::new();
#[btf_map]
pub(crate) static SERVICE_PORTS: HashMap<ServicePortKey, EndpointSetValue, 1_048_576, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, EndpointValue, 4_194_304, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static WAYPOINTS: HashMap<WaypointKey, EndpointSetValue, 65_536, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static WAYPOINT_MEMBERS: HashMap<WaypointMemberKey, u8, 65_536, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static MESH_CIDRS: LpmTrie<[u8; 16], u8, 1_024> = LpmTrie::new();

// State: written by the programs, rebuildable when an entry is lost.

#[btf_map]
pub(crate) static SOCKETS: SkStorage<SocketValue> = SkStorage::new();
#[btf_map]
pub(crate) static CONNECTIONS: Array<ConnectionValue, 16_384> = Array::new();
#[btf_map]
pub(crate) static PACKET_FLOWS: LruHashMap<FlowKey, u8, 16_384> = LruHashMap::new();
#[btf_map]
pub(crate) static LOCAL_CONNECTIONS: Array<
    LocalConnectionValue,
    { LocalConnectionValue::SLOTS as usize },
> = Array::new();
#[btf_map]
pub(crate) static LOCAL_FLOWS: LruHashMap<TupleKey, LocalFlowValue, 65_536> = LruHashMap::new();

#[btf_map]
pub(crate) static SYN_COOKIES: Array<SynCookiesValue, 1> = Array::new();

// Observation: read by the agent only.

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { COUNTER_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static PACKET_COUNTERS: PerCpuArray<u64, { PacketAction::SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static TRAFFIC: PerCpuArray<TrafficValue, { TRAFFIC_SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static POD_TRAFFIC: PerCpuHashMap<TrafficKey, TrafficValue, 16_384, ON_DEMAND> =
    PerCpuHashMap::new();
#[btf_map]
pub(crate) static OTHER_TRAFFIC: PerCpuArray<TrafficValue, { TRAFFIC_SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<VerdictEvent, 1_048_576> = RingBuf::new();
/// Apart, so that drops take no room from verdicts.
#[btf_map]
pub(crate) static DROPS: RingBuf<DropEvent, 65_536> = RingBuf::new();
#[btf_map]
pub(crate) static DROPS_TOLD: LruHashMap<PodKey, DropsToldValue, 1_024> = LruHashMap::new();

/// What `SOCKETS` holds for a socket; null where nothing.
#[inline(always)]
pub(crate) fn socket_value(socket: *mut bpf_sock) -> *mut SocketValue {
    // SAFETY: the socket is one that the verifier vouches for, and no value is passed.
    unsafe { bpf_sk_storage_get(sockets(), socket.cast(), core::ptr::null_mut(), 0) }.cast()
}

/// Sets what `SOCKETS` holds for a socket; false where memory lacks. To make it costs more than all
/// else that is done for a connection, and so only those have it that need it.
#[inline(always)]
pub(crate) fn set_socket_value(socket: *mut bpf_sock, value: &SocketValue) -> bool {
    // SAFETY: the socket is one that the verifier vouches for; a new value is all zero.
    let stored: *mut SocketValue = unsafe {
        bpf_sk_storage_get(
            sockets(),
            socket.cast(),
            core::ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    }
    .cast();
    if stored.is_null() {
        return false;
    }
    // SAFETY: the verifier has seen the null check.
    unsafe { *stored = *value };
    true
}

#[inline(always)]
pub(crate) fn remove_socket_value(socket: *mut bpf_sock) {
    if !socket_value(socket).is_null() {
        // SAFETY: the socket is one that the verifier vouches for.
        unsafe { bpf_sk_storage_delete(sockets(), socket.cast()) };
    }
}

#[inline(always)]
fn sockets() -> *mut core::ffi::c_void {
    (&raw const SOCKETS).cast_mut().cast()
}
