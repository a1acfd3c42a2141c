//! `sock_ops`: at `TCP_CONNECT_CB` the whole tuple is known and the SYN not yet sent.

mod bytes;
mod traffic;

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
    bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_sock_ops_cb_flags_set};
use aya_ebpf::macros;
use aya_ebpf::programs::SockOpsContext;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::value::{LocalFlowValue, SocketValue, VerdictValue};
use waysteer_common::verdict::{PacketAction, Reason};
use zerocopy::network_endian::U64;

use crate::maps::{FLOWS, LOCAL_FLOWS};
use crate::{load, lookup, maps, report};

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
    // SAFETY: the helper accepts the context of this program type.
    let netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
    let Some(value) = socket_value(ops) else {
        return host_to_pod(netns, &tuple);
    };
    let verdict = value.verdict;
    if verdict.flags & VerdictValue::STEER != 0 {
        if FLOWS.insert(tuple.in_netns(netns), verdict, 0).is_err() {
            report::action(PacketAction::RecordFailed);
        }
    } else if Reason::is_local_bypass(verdict.reason) {
        local_bypass(netns, &tuple);
    }
    traffic::opened(netns, &verdict);
    // SAFETY: the helper accepts the context of this program type.
    unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
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
    let Some(value) = socket_value(ops) else {
        return;
    };
    let sent = bytes::sent(ops, last);
    let received = bytes::received(ops, last);
    let duration = report::now().wrapping_sub(value.decided_at.get());
    // SAFETY: the helper accepts the context of this program type.
    let netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
    traffic::closed(netns, &value.verdict, sent, received, duration);
}

#[inline(always)]
fn socket_value(ops: *mut bpf_sock_ops) -> Option<SocketValue> {
    let socket = load::event_socket(ops);
    if socket.is_null() {
        return None;
    }
    let value = maps::socket_value(socket);
    if value.is_null() {
        return None;
    }
    // SAFETY: the verifier has seen the null check.
    Some(unsafe { *value })
}
