//! `sock_ops`: at `TCP_CONNECT_CB` the whole tuple is known and the SYN not yet sent.

mod bytes;
mod traffic;

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
    bpf_sock, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set,
};
use aya_ebpf::macros;
use aya_ebpf::programs::SockOpsContext;
use waysteer_common::abi::key::{TrafficKey, TupleKey};
use waysteer_common::abi::value::{ConnectionValue, SocketValue};
use waysteer_common::verdict::{PacketAction, Reason, Verdict};
use zerocopy::network_endian::U64;

use crate::{connections, load, local_flows, lookup, maps, report, steer};

#[macros::sock_ops]
pub fn sock_ops(context: SockOpsContext) -> u32 {
    let ops = context.ops;
    match context.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(ops),
        BPF_SOCK_OPS_STATE_CB => state_changed(ops),
        _ => {}
    }
    0
}

#[inline(always)]
fn connecting(ops: *mut bpf_sock_ops) {
    let Some(tuple) = load::connection(ops) else {
        return;
    };
    let socket = load::event_socket(ops);
    // Nobody judges what goes to loopback, but what was said of an attempt before may still be there.
    if socket.is_null() || tuple.destination.is_loopback() {
        return;
    }
    let Some(Begun {
        traffic,
        reason,
        begun_at,
        has_slot,
    }) = begun(ops, socket, &tuple)
    else {
        return unjudged(ops, socket, &tuple);
    };
    if Reason::is_local_bypass(reason) {
        local_bypass(traffic.source.get(), &tuple, begun_at, has_slot);
    }
    traffic::opened(&traffic);
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
}

/// Of a connection that begins: where it is counted, and why it goes there.
struct Begun {
    traffic: TrafficKey,
    reason: u8,
    begun_at: u64,
    /// Of `CONNECTIONS`, which knows its tuple when it ends.
    has_slot: bool,
}

/// What `connect()` has decided, to which is added what is known now.
#[inline(always)]
fn begun(ops: *mut bpf_sock_ops, socket: *mut bpf_sock, tuple: &TupleKey) -> Option<Begun> {
    if let Some(slot) = connections::find(cookie(ops)) {
        connections::open(slot, tuple);
        // SAFETY: `find` gives a whole value.
        let ConnectionValue {
            begun_at,
            netns,
            verdict,
            ..
        } = unsafe { &*slot };
        return Some(Begun {
            traffic: TrafficKey::of(netns.get(), verdict),
            reason: verdict.reason,
            begun_at: *begun_at,
            has_slot: true,
        });
    }
    let value = maps::socket_value(socket);
    if value.is_null() {
        return None;
    }
    // SAFETY: the verifier has seen the null check.
    let SocketValue { begun_at, verdict } = unsafe { &mut *value };
    let now = report::now();
    *begun_at = U64::new(now);
    Some(Begun {
        traffic: TrafficKey::of(netns(ops), verdict),
        reason: verdict.reason,
        begun_at: now,
        has_slot: false,
    })
}

#[inline(always)]
fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

#[inline(always)]
fn netns(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_get_netns_cookie(ops.cast()) }
}

/// A socket that `connect()` has said nothing of.
#[inline(always)]
fn unjudged(ops: *mut bpf_sock_ops, socket: *mut bpf_sock, tuple: &TupleKey) {
    let netns = netns(ops);
    // SAFETY: the caller has seen that it is not null.
    let mark = unsafe { (*socket).mark };
    if steer::marked_for_tunnel(mark) && lookup::pod(netns).is_some() {
        // What was said is lost, but not that it is steered; where to, the tunnel finds out itself.
        // Nobody counts it.
        let value = SocketValue {
            begun_at: U64::ZERO,
            verdict: Verdict::NONE.to_wire(),
        };
        if !maps::set_socket_value(socket, &value) {
            report::action(PacketAction::RecordFailed);
        }
        return;
    }
    host_to_pod(netns, tuple);
}

/// A process of the host's netns, such as the kubelet with a probe, dials a pod.
#[inline(always)]
fn host_to_pod(netns: u64, tuple: &TupleKey) {
    if lookup::settings().host_netns.get() == netns
        && lookup::pod_address(tuple.destination).is_some()
    {
        local_flows::record(tuple, report::now(), PacketAction::HostFlowRecorded);
    }
}

/// A pod dials its neighbour, who was told what policies say of the addresses that are known as the
/// pod's.
#[inline(always)]
fn local_bypass(netns: u64, tuple: &TupleKey, now: u64, has_slot: bool) {
    let recorded = PacketAction::LocalFlowRecorded;
    if lookup::pod_address(tuple.source) != Some(netns) {
        report::action(PacketAction::LocalFlowRefused);
    } else if has_slot {
        local_flows::begin(tuple, now, recorded);
    } else {
        local_flows::record(tuple, now, recorded);
    }
}

#[inline(always)]
fn state_changed(ops: *mut bpf_sock_ops) {
    let (last, new) = load::states(ops);
    if new != BPF_TCP_CLOSE {
        return;
    }
    let Some(Ended { traffic, begun_at }) = ended(ops) else {
        return;
    };
    let sent = bytes::sent(ops, last);
    let received = bytes::received(ops, last);
    let duration = report::now().wrapping_sub(begun_at);
    traffic::closed(&traffic, sent, received, duration);
}

/// Of a connection that ends: where it is counted, and since when it was open.
struct Ended {
    traffic: TrafficKey,
    begun_at: u64,
}

#[inline(always)]
fn ended(ops: *mut bpf_sock_ops) -> Option<Ended> {
    if let Some(slot) = connections::find(cookie(ops)) {
        // SAFETY: `find` gives a whole value.
        let ConnectionValue {
            begun_at,
            is_open,
            netns,
            verdict,
            tuple,
            ..
        } = unsafe { &*slot };
        let ended = Ended {
            traffic: TrafficKey::of(netns.get(), verdict),
            begun_at: *begun_at,
        };
        // Of an attempt that came to nothing, or of a connection.
        let is_counted = *is_open != 0;
        if is_counted && Reason::is_local_bypass(verdict.reason) {
            local_flows::end(tuple);
        }
        connections::end(slot);
        return is_counted.then_some(ended);
    }
    let socket = load::event_socket(ops);
    if socket.is_null() {
        return None;
    }
    let value = maps::socket_value(socket);
    if value.is_null() {
        return None;
    }
    // SAFETY: the verifier has seen the null check.
    let SocketValue { begun_at, verdict } = unsafe { &mut *value };
    if *begun_at == U64::ZERO {
        return None;
    }
    // The socket may be closed again, or used again.
    let begun_at = core::mem::replace(begun_at, U64::ZERO);
    Some(Ended {
        traffic: TrafficKey::of(netns(ops), verdict),
        begun_at: begun_at.get(),
    })
}
