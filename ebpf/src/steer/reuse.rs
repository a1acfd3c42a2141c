//! A source port used again while the tunnel's socket of the connection before is in TIME_WAIT.
//!
//! The stack ends TIME_WAIT for such a SYN (`TCP_TW_SYN` of `tcp_timewait_state_process`), and then
//! looks for a listener on the port that was dialled: the application's own. Handing the SYN to the
//! tunnel's listener instead leaves TIME_WAIT in place, and `inet_ehash_insert` refuses a second
//! socket of the same tuple, for up to a minute. So TIME_WAIT is ended first, by the reset of
//! RFC 1337: a copy of the SYN with other flags. The SYN itself comes back behind it.

use aya_ebpf::bindings::{BPF_F_INGRESS, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_l4_csum_replace, bpf_redirect, bpf_skb_store_bytes,
    bpf_skc_to_tcp_timewait_sock,
};
use waysteer_common::packet::{Packet as _, Segment};
use waysteer_common::verdict::PacketAction;

use super::{Action, LOOPBACK_INDEX};
use crate::load::Skb;
use crate::{report, settings};

const ETHERNET_HEADER: u32 = 14;
// In the TCP header.
const SEQUENCE: u32 = 4;
const FLAGS: u32 = 13;
const CHECKSUM: u32 = 16;

/// What the socket in TIME_WAIT expects next; 0 where that is not known.
#[inline(always)]
pub(super) fn expected_sequence(socket: *mut bpf_sock) -> u32 {
    let offset = settings::time_wait_rcv_nxt();
    if offset == 0 {
        return 0;
    }
    // SAFETY: the socket is one that the verifier vouches for.
    let socket = unsafe { bpf_skc_to_tcp_timewait_sock(socket.cast()) }.cast::<u8>();
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the kernel's own type information has the field there, and the verifier checks it.
    let field = unsafe { socket.add(offset as usize) };
    // SAFETY: as above.
    unsafe { field.cast::<u32>().read_volatile() }
}

/// Makes way for a SYN whose tuple is in TIME_WAIT. It never goes up the stack as a SYN, because
/// the application's own listener could get it.
#[inline(never)]
pub(crate) fn end_time_wait(skb: Skb, offset: u32, flags: u8, expected: u32) -> Action {
    const HELD: Action = Action::Drop(PacketAction::TimeWaitHeld);
    if settings::dry_run() {
        return Action::Next;
    }
    // SAFETY: the verifier rewrites loads from the context it passed.
    if unsafe { (*skb.0).tc_index } != 0 {
        // It has come back, and TIME_WAIT is still there: `tcp_rfc1337` is set. Held.
        return HELD;
    }
    report::action(PacketAction::PortReused);
    let Some(start) = tcp_header(skb, offset) else {
        return HELD;
    };
    let Some(sequence) = skb.load_absolute::<4>(start + SEQUENCE) else {
        return HELD;
    };
    let sequence = u32::from_ne_bytes(sequence);
    let flags = u16::from(flags);
    // SAFETY: the verifier rewrites loads from the context it passed.
    let device = unsafe { (*skb.0).ifindex };
    // As the stack has it, an old SYN from outside must not end TIME_WAIT.
    let age = u32::from_be(sequence).wrapping_sub(expected).cast_signed();
    if expected == 0 || (device != LOOPBACK_INDEX && age <= 0) {
        // What belongs to no connection is answered with an ACK, whose receiver, being in
        // SYN_SENT, resets what is left here, and whose next SYN finds the way free: Linux sends it
        // at once (`tcp_rcv_synsent_state_process`). Not with the ACK flag, which would begin
        // TIME_WAIT anew.
        return match set_flags(skb, start, flags, 0) {
            true => Action::Next,
            false => HELD,
        };
    }
    let reset = u16::from(Segment::RST);
    let sent = set_flags(skb, start, flags, reset)
        && set_sequence(skb, start, sequence, expected.to_be())
        && clone_to_ingress(skb, device)
        && set_sequence(skb, start, expected.to_be(), sequence)
        && set_flags(skb, start, reset, flags);
    if !sent {
        return HELD;
    }
    // SAFETY: the verifier allows stores to this field of the context it passed.
    unsafe { (*skb.0).tc_index = 1 };
    // SAFETY: the helper only records the device; the packet moves when the program has returned.
    unsafe { bpf_redirect(device, u64::from(BPF_F_INGRESS)) };
    Action::Redirect
}

/// Where stores find the TCP header: behind an Ethernet header, or where the device has none, at
/// the beginning. `None` where it is neither.
#[inline(always)]
fn tcp_header(skb: Skb, offset: u32) -> Option<u32> {
    let seen = u64::from_ne_bytes(skb.load(offset)?);
    let is_at = |start| skb.load_absolute(start).map(u64::from_ne_bytes) == Some(seen);
    let behind = offset + ETHERNET_HEADER;
    if is_at(behind) {
        Some(behind)
    } else if is_at(offset) {
        Some(offset)
    } else {
        None
    }
}

#[inline(always)]
fn set_flags(skb: Skb, start: u32, old: u16, new: u16) -> bool {
    // The flags are the lower half of a 16-bit word of the checksum.
    replace(
        skb,
        start,
        FLAGS,
        &[new as u8],
        u64::from(old.to_be()),
        u64::from(new.to_be()),
        2,
    )
}

#[inline(always)]
fn set_sequence(skb: Skb, start: u32, old: u32, new: u32) -> bool {
    replace(
        skb,
        start,
        SEQUENCE,
        &new.to_ne_bytes(),
        u64::from(old),
        u64::from(new),
        4,
    )
}

/// Writes into the TCP header; `old` and `new` are words of `size` bytes as they are in memory,
/// whose difference goes into the checksum.
#[inline(always)]
fn replace<const N: usize>(
    skb: Skb,
    start: u32,
    field: u32,
    bytes: &[u8; N],
    old: u64,
    new: u64,
    size: u64,
) -> bool {
    // SAFETY: `bytes` is `N` bytes long, which is what the helper is told.
    let stored =
        unsafe { bpf_skb_store_bytes(skb.0, start + field, bytes.as_ptr().cast(), N as u32, 0) };
    // SAFETY: the helper checks the offset.
    stored == 0 && unsafe { bpf_l4_csum_replace(skb.0, start + CHECKSUM, old, new, size) } == 0
}

/// A copy of the packet, as if it had come once more, ahead of everything redirected later.
#[inline(always)]
fn clone_to_ingress(skb: Skb, device: u32) -> bool {
    // SAFETY: the helper copies the packet, and the context stays valid.
    unsafe { bpf_clone_redirect(skb.0, device, u64::from(BPF_F_INGRESS)) == 0 }
}
