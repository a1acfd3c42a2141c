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
use waysteer_common::abi::key::{CookieKey, TrafficKey, TupleKey};
use waysteer_common::abi::value::{BypassedValue, LocalFlowValue, SocketValue, VerdictValue};
use waysteer_common::verdict::{PacketAction, Reason, Verdict};
use zerocopy::network_endian::U64;

use crate::maps::{BYPASSED, FLOWS, LOCAL_FLOWS};
use crate::{handover, load, lookup, maps, report, steer};

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
    // SAFETY: the helper accepts the context of this program type.
    let netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
    let Some(verdict) = verdict(ops, socket) else {
        return unjudged(socket, netns, &tuple);
    };
    let is_remembered = if verdict.flags & VerdictValue::STEER != 0 {
        if FLOWS.insert(tuple.in_netns(netns), verdict, 0).is_err() {
            report::action(PacketAction::RecordFailed);
        }
        remember(socket, report::now(), &verdict)
    } else {
        if Reason::is_local_bypass(verdict.reason) {
            local_bypass(netns, &tuple);
        }
        remember_bypass(ops, socket, netns, &verdict)
    };
    if !is_remembered {
        // The guard judges its first packet, nobody counts it.
        return report::action(PacketAction::RecordFailed);
    }
    traffic::opened(&TrafficKey::of(netns, &verdict));
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
}

/// What `connect()` has decided.
#[inline(always)]
fn verdict(ops: *mut bpf_sock_ops, socket: *mut bpf_sock) -> Option<VerdictValue> {
    let value = maps::socket_value(socket);
    if value.is_null() {
        return handover::take(cookie(ops));
    }
    // SAFETY: the verifier has seen the null check.
    Some(unsafe { (*value).verdict })
}

#[inline(always)]
fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

/// On the socket: the guard asks for it with each packet.
#[inline(always)]
fn remember(socket: *mut bpf_sock, begun_at: u64, verdict: &VerdictValue) -> bool {
    let value = SocketValue {
        begun_at: U64::new(begun_at),
        verdict: *verdict,
    };
    maps::set_socket_value(socket, &value)
}

/// Beside the socket, which costs less: from the second packet on only `state_changed` has to know.
/// On the socket where there is no room, or where it is already.
#[inline(always)]
fn remember_bypass(
    ops: *mut bpf_sock_ops,
    socket: *mut bpf_sock,
    netns: u64,
    verdict: &VerdictValue,
) -> bool {
    let begun_at = report::now();
    let value = BypassedValue {
        begun_at: U64::new(begun_at),
        traffic: TrafficKey::of(netns, verdict),
    };
    let cookie = U64::new(cookie(ops));
    let is_on_socket = !maps::socket_value(socket).is_null();
    if !is_on_socket && BYPASSED.insert(CookieKey { cookie }, value, 0).is_ok() {
        return true;
    }
    remember(socket, begun_at, verdict)
}

/// A socket that `connect()` has said nothing of.
#[inline(always)]
fn unjudged(socket: *mut bpf_sock, netns: u64, tuple: &TupleKey) {
    // SAFETY: the caller has seen that it is not null.
    let mark = unsafe { (*socket).mark };
    if steer::marked_for_tunnel(mark) && lookup::pod(netns).is_some() {
        // What was said is lost, but not that it is steered; where to, the tunnel finds out itself.
        // Nobody counts it.
        if !remember(socket, 0, &Verdict::NONE.to_wire()) {
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
        let_in(tuple, PacketAction::HostFlowRecorded);
    }
}

/// A pod dials its neighbour, who was told what policies say of the addresses that are known as the
/// pod's.
#[inline(always)]
fn local_bypass(netns: u64, tuple: &TupleKey) {
    if lookup::pod_address(tuple.source) == Some(netns) {
        let_in(tuple, PacketAction::LocalFlowRecorded);
    } else {
        report::action(PacketAction::LocalFlowRefused);
    }
}

/// Tells the destination's `pod_ingress` not to capture this connection.
#[inline(always)]
pub(super) fn let_in(tuple: &TupleKey, recorded: PacketAction) {
    let value = LocalFlowValue {
        recorded_at: U64::new(report::now()),
    };
    report::action(match LOCAL_FLOWS.insert(tuple, value, 0) {
        Ok(()) => recorded,
        Err(_) => PacketAction::RecordFailed,
    });
}

#[inline(always)]
fn state_changed(ops: *mut bpf_sock_ops) {
    let (last, new) = load::states(ops);
    if new != BPF_TCP_CLOSE {
        return;
    }
    let Some(BypassedValue { begun_at, traffic }) = counted(ops) else {
        return;
    };
    let sent = bytes::sent(ops, last);
    let received = bytes::received(ops, last);
    let duration = report::now().wrapping_sub(begun_at.get());
    traffic::closed(&traffic, sent, received, duration);
}

/// Since when a connection that ends was open, and where it is counted.
#[inline(always)]
fn counted(ops: *mut bpf_sock_ops) -> Option<BypassedValue> {
    let socket = load::event_socket(ops);
    if socket.is_null() {
        return None;
    }
    let value = maps::socket_value(socket);
    if !value.is_null() {
        // SAFETY: the verifier has seen the null check.
        let SocketValue { begun_at, verdict } = unsafe { &mut *value };
        if *begun_at == U64::ZERO {
            return None;
        }
        // SAFETY: the helper accepts the context of this program type.
        let netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
        // The socket may be closed again, or used again.
        let begun_at = core::mem::replace(begun_at, U64::ZERO);
        return Some(BypassedValue {
            begun_at,
            traffic: TrafficKey::of(netns, verdict),
        });
    }
    let cookie = U64::new(cookie(ops));
    let value = BYPASSED.get_ptr(CookieKey { cookie })?;
    // SAFETY: the verifier has proved that a non-null look-up result points to a whole value.
    let value = unsafe { *value };
    // Nobody else removes it.
    let _ = BYPASSED.remove(CookieKey { cookie });
    Some(value)
}
