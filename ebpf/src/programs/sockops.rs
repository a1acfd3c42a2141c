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
use waysteer_common::abi::value::{ConnectionValue, LocalFlowValue, SocketValue, VerdictValue};
use waysteer_common::verdict::{PacketAction, Reason, Verdict};
use zerocopy::network_endian::U64;

use crate::maps::{CONNECTIONS, FLOWS, LOCAL_FLOWS};
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
    if verdict.flags & VerdictValue::STEER != 0 {
        if FLOWS.insert(tuple.in_netns(netns), verdict, 0).is_err() {
            report::action(PacketAction::RecordFailed);
        }
    } else if Reason::is_local_bypass(verdict.reason) {
        local_bypass(netns, &tuple);
    }
    let traffic = TrafficKey::of(netns, &verdict);
    if !remember(ops, socket, &traffic, &verdict) {
        // The guard judges its first packet, nobody counts it.
        return report::action(PacketAction::RecordFailed);
    }
    traffic::opened(&traffic);
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

/// Beside the socket, which costs less: for the guard until the peer is heard, and for
/// `state_changed`. On the socket where there is no room, where something is already, and where the
/// guard may still take the peer of an attempt before for this one's.
#[inline(always)]
fn remember(
    ops: *mut bpf_sock_ops,
    socket: *mut bpf_sock,
    traffic: &TrafficKey,
    verdict: &VerdictValue,
) -> bool {
    let begun_at = U64::new(report::now());
    let value = ConnectionValue {
        begun_at,
        traffic: *traffic,
    };
    let cookie = U64::new(cookie(ops));
    let is_on_socket = !maps::socket_value(socket).is_null()
        || (traffic.flags & TrafficKey::STEER != 0 && load::receiving_device(socket).is_some());
    if !is_on_socket && CONNECTIONS.insert(CookieKey { cookie }, value, 0).is_ok() {
        return true;
    }
    remember_on_socket(socket, begun_at, verdict)
}

#[inline(always)]
fn remember_on_socket(socket: *mut bpf_sock, begun_at: U64, verdict: &VerdictValue) -> bool {
    let value = SocketValue {
        begun_at,
        verdict: *verdict,
    };
    maps::set_socket_value(socket, &value)
}

/// A socket that `connect()` has said nothing of.
#[inline(always)]
fn unjudged(socket: *mut bpf_sock, netns: u64, tuple: &TupleKey) {
    // SAFETY: the caller has seen that it is not null.
    let mark = unsafe { (*socket).mark };
    if steer::marked_for_tunnel(mark) && lookup::pod(netns).is_some() {
        // What was said is lost, but not that it is steered; where to, the tunnel finds out itself.
        // Nobody counts it.
        if !remember_on_socket(socket, U64::ZERO, &Verdict::NONE.to_wire()) {
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
    let Some(ConnectionValue { begun_at, traffic }) = counted(ops) else {
        return;
    };
    if traffic.flags & TrafficKey::STEER != 0 {
        forget(ops, traffic.source.get());
    }
    let sent = bytes::sent(ops, last);
    let received = bytes::received(ops, last);
    let duration = report::now().wrapping_sub(begun_at.get());
    traffic::closed(&traffic, sent, received, duration);
}

/// Of a steered connection, what the tunnel has looked at long ago.
#[inline(always)]
fn forget(ops: *mut bpf_sock_ops, netns: u64) {
    if let Some(tuple) = load::connection(ops) {
        // It may have had no room.
        let _ = FLOWS.remove(tuple.in_netns(netns));
    }
}

/// Since when a connection that ends was open, and where it is counted.
#[inline(always)]
fn counted(ops: *mut bpf_sock_ops) -> Option<ConnectionValue> {
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
        return Some(ConnectionValue {
            begun_at,
            traffic: TrafficKey::of(netns, verdict),
        });
    }
    let cookie = U64::new(cookie(ops));
    let value = CONNECTIONS.get_ptr(CookieKey { cookie })?;
    // SAFETY: the verifier has proved that a non-null look-up result points to a whole value.
    let value = unsafe { *value };
    // Nobody else removes it.
    let _ = CONNECTIONS.remove(CookieKey { cookie });
    Some(value)
}
