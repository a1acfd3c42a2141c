//! How many bytes a connection has carried, from what the kernel has counted: that includes SYN and
//! FIN, which take a sequence number each.

use aya_ebpf::bindings::{
    BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK,
    bpf_sock_ops,
};
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;

use crate::{load, settings};

/// Bit of `enum sock_flags` that `tcp_fin` sets.
const SOCK_DONE: u64 = 1 << 1;

/// Of a connection that is going from state `last` to closed: the bytes that arrived at the peer.
#[inline(always)]
pub(super) fn sent(ops: *mut bpf_sock_ops, last: u32) -> u64 {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let acknowledged = unsafe { (*ops).bytes_acked };
    // SAFETY: as above.
    let first_pending = unsafe { (*ops).snd_una };
    // SAFETY: as above.
    let next = unsafe { (*ops).snd_nxt };
    let has_ended = matches!(
        last,
        BPF_TCP_FIN_WAIT1 | BPF_TCP_FIN_WAIT2 | BPF_TCP_CLOSING | BPF_TCP_LAST_ACK
    );
    let fin = u64::from(has_ended && first_pending == next);
    // Nothing at all is acknowledged where there was no handshake.
    acknowledged.saturating_sub(1 + fin)
}

/// The bytes that arrived here.
#[inline(always)]
pub(super) fn received(ops: *mut bpf_sock_ops, last: u32) -> u64 {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let received = unsafe { (*ops).bytes_received };
    let fin = match last {
        BPF_TCP_CLOSE_WAIT | BPF_TCP_LAST_ACK | BPF_TCP_CLOSING => true,
        // The peer's end has come just now; or an application that did not wait for it has
        // closed, and the end will not be counted.
        BPF_TCP_FIN_WAIT2 => peer_has_ended(ops),
        _ => false,
    };
    received.saturating_sub(u64::from(fin))
}

#[inline(always)]
fn peer_has_ended(ops: *mut bpf_sock_ops) -> bool {
    let offset = settings::socket_flags();
    let socket = load::event_socket(ops);
    if offset == 0 || socket.is_null() {
        return true;
    }
    // SAFETY: the verifier has seen the null check.
    let socket = unsafe { bpf_skc_to_tcp_sock(socket.cast()) }.cast::<u8>();
    if socket.is_null() {
        return true;
    }
    // SAFETY: the kernel's own type information has the field there.
    unsafe { load::field::<u64>(socket, offset) & SOCK_DONE != 0 }
}
