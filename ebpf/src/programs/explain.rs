//! `explain`: never attached, only test-run. Answers what the classifier, over the live maps,
//! decides about a flow, and what it has read on the way. `connect` programs cannot be test-run;
//! this one runs the same code over the same maps, by look-ups that are written down.

use core::cell::Cell;
use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_store_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::event::{EXPLAIN_OFFSET, ExplainRequest, TRACE_OFFSET, TraceEntry};
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PodAddressValue, PolicyValue, ServiceValue, WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, Lookup, classify_into};
use waysteer_common::verdict::{Table, Verdict};
use zerocopy::network_endian::U64;

use crate::lookup::{self, Maps};

const ANSWERED: i32 = 0;
const NO_SUCH_POD: i32 = 1;
const MALFORMED: i32 = 2;

#[classifier]
pub fn explain(context: TcContext) -> i32 {
    let packet = context.skb.skb;
    let mut verdict = Verdict::NONE;
    let code = decide(packet, &mut verdict);
    if code == ANSWERED {
        answer(packet, &verdict);
    }
    code
}

/// What was asked, judged. The functions are three for the sake of their stacks.
#[inline(never)]
fn decide(packet: *mut __sk_buff, verdict: &mut Verdict) -> i32 {
    let Ok(request) = TcContext::new(packet).load::<ExplainRequest>(EXPLAIN_OFFSET as usize) else {
        return MALFORMED;
    };
    let netns = request.netns.get();
    let Some(pod) = lookup::pod(netns) else {
        return NO_SUCH_POD;
    };
    let recorded = Recorded {
        packet,
        offset: Cell::new(TRACE_OFFSET),
    };
    let key = PodKey {
        netns: request.netns,
    };
    recorded.note(Table::Pods, &key, Some(pod));
    let flow = Flow {
        pod,
        netns,
        destination: request.destination,
        port: request.port.get(),
        is_dialling: true,
    };
    classify_into(&flow, &recorded, verdict);
    ANSWERED
}

#[inline(never)]
fn answer(packet: *mut __sk_buff, verdict: &Verdict) {
    let value = verdict.to_wire();
    let from = (&raw const value).cast();
    store(packet, EXPLAIN_OFFSET, from, size_of_val(&value) as u32);
}

/// The look-ups of [`Maps`], written down in the packet.
struct Recorded {
    packet: *mut __sk_buff,
    /// Of the next entry. Never compared: the kernel refuses what is behind the packet's end, and
    /// the verifier need not know the number.
    offset: Cell<u32>,
}

impl Recorded {
    /// Key and value are copied by the kernel from where they are: there is no room on the stack.
    #[inline(always)]
    fn note<K, V>(&self, table: Table, key: &K, value: Option<&V>) {
        let offset = self.offset.get();
        self.offset.set(offset + size_of::<TraceEntry>() as u32);
        let packet = self.packet;
        let head = u64::from(table.number()) | u64::from(value.is_some()) << 8;
        begin(packet, offset, head);
        let at = offset + TraceEntry::KEY;
        store(
            packet,
            at,
            core::ptr::from_ref(key).cast(),
            size_of::<K>() as u32,
        );
        if let Some(value) = value {
            let at = offset + TraceEntry::VALUE;
            store(
                packet,
                at,
                core::ptr::from_ref(value).cast(),
                size_of::<V>() as u32,
            );
        }
    }

    #[inline(always)]
    fn noted<'a, K, V>(&self, table: Table, key: &K, value: Option<&'a V>) -> Option<&'a V> {
        self.note(table, key, value);
        value
    }
}

/// The table, and whether there is an entry: a function of its own, for its stack.
#[inline(never)]
fn begin(packet: *mut __sk_buff, offset: u32, head: u64) {
    let head = head.to_le_bytes();
    store(
        packet,
        offset,
        head.as_ptr().cast(),
        size_of_val(&head) as u32,
    );
}

/// What does not fit is not told.
#[inline(always)]
fn store(packet: *mut __sk_buff, offset: u32, from: *const c_void, length: u32) {
    // SAFETY: `from` is of that length, and the packet is the program's own.
    unsafe { bpf_skb_store_bytes(packet.cast(), offset, from, length, 0) };
}

impl Lookup for Recorded {
    #[inline(always)]
    fn settings(&self) -> &SettingsValue {
        let settings = lookup::settings();
        self.note(Table::Settings, &0_u32, Some(settings));
        settings
    }

    #[inline(always)]
    fn pod_address(&self, key: &AddressKey) -> Option<u64> {
        let netns = Maps.pod_address(key);
        let value = PodAddressValue {
            netns: U64::new(netns.unwrap_or_default()),
        };
        self.note(Table::PodAddresses, key, netns.is_some().then_some(&value));
        netns
    }

    #[inline(always)]
    fn workload(&self, key: &AddressKey) -> Option<&WorkloadValue> {
        self.noted(Table::Workloads, key, Maps.workload(key))
    }

    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<&PolicyValue> {
        self.noted(Table::Policies, key, Maps.policy(key))
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        self.noted(Table::Services, key, Maps.service(key))
    }

    #[inline(always)]
    fn service_cidr(&self, key: &CidrKey) -> Option<&ServiceValue> {
        self.noted(Table::ServiceCidrs, key, Maps.service_cidr(key))
    }

    #[inline(always)]
    fn service_port(&self, key: &ServicePortKey) -> Option<&EndpointSetValue> {
        self.noted(Table::ServicePorts, key, Maps.service_port(key))
    }

    #[inline(always)]
    fn waypoint(&self, key: &WaypointKey) -> Option<&EndpointSetValue> {
        self.noted(Table::Waypoints, key, Maps.waypoint(key))
    }

    #[inline(always)]
    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool {
        let is_member = Maps.is_waypoint_member(key);
        self.note(Table::WaypointMembers, key, is_member.then_some(&1_u8));
        is_member
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointValue> {
        self.noted(Table::Endpoints, key, Maps.endpoint(key))
    }

    #[inline(always)]
    fn in_mesh(&self, address: &Address) -> bool {
        let is_in = Maps.in_mesh(address);
        self.note(Table::MeshCidrs, address, is_in.then_some(&1_u8));
        is_in
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        Maps.random()
    }
}
