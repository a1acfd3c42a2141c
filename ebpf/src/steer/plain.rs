//! Packets in their plainest shape, which is nearly all of them: one read each. What is said of
//! these is what would be said after all the reading; of others nothing is said.

use aya_ebpf::bindings::{BPF_TCP_LISTEN, BPF_TCP_TIME_WAIT, bpf_sock};
use aya_ebpf::helpers::generated::bpf_sk_release;
use waysteer_common::packet::plain::{
    HeadV4, HeadV6, TUPLE_V4, TUPLE_V6, flags_v4, flags_v6, goes_elsewhere_v4, goes_elsewhere_v6,
    segment_v4, segment_v6,
};
use waysteer_common::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet as _, Parsed, Segment};

use super::{cookies, look_up_raw};
use crate::load::Skb;

/// Whether the packet is of a connection that exists or is being set up, or of none, and then for
/// the stack to refuse; else [`super::owner`] has to find out. To be called from a function of its own:
/// the verifier forgets on which of its ways it came to an answer.
#[inline(always)]
pub(crate) fn continues_connection(skb: Skb) -> bool {
    match skb.ethertype() {
        ETHERTYPE_IPV4 => {
            let Some(mut head) = skb.load(0) else {
                return false;
            };
            let head: &mut HeadV4 = &mut head;
            is_no_syn(flags_v4(head))
                && (!cookies::may_be_out()
                    || is_connection(look_up_raw(skb, head[TUPLE_V4..].as_mut_ptr().cast(), 12)))
        }
        ETHERTYPE_IPV6 => {
            let Some(mut head) = skb.load(0) else {
                return false;
            };
            let head: &mut HeadV6 = &mut head;
            is_no_syn(flags_v6(head))
                && (!cookies::may_be_out()
                    || is_connection(look_up_raw(skb, head[TUPLE_V6..].as_mut_ptr().cast(), 36)))
        }
        _ => false,
    }
}

/// What is seen at once of a packet behind an Ethernet header. Most need not be looked at any longer.
pub(crate) enum Glance {
    /// As [`continues_connection`].
    Continues,
    /// A connection begins.
    Opens,
    Unclear,
}

#[inline(always)]
pub(crate) fn glance(skb: Skb) -> Glance {
    let flags = match skb.ethertype() {
        ETHERTYPE_IPV4 => skb.behind_ethernet().and_then(flags_v4),
        ETHERTYPE_IPV6 => skb.behind_ethernet().and_then(flags_v6),
        _ => None,
    };
    match flags {
        Some(flags) if Segment::is_opening(flags) => Glance::Opens,
        Some(_) if !cookies::may_be_out() => Glance::Continues,
        _ => Glance::Unclear,
    }
}

/// [`Skb::parse`] of a packet behind an Ethernet header.
#[inline(never)]
pub(crate) fn parse_behind_ethernet(skb: Skb, segment: &mut Segment) -> Parsed {
    let read = match skb.ethertype() {
        ETHERTYPE_IPV4 => skb
            .behind_ethernet()
            .and_then(|head| Some(segment_v4(head, flags_v4(head)?))),
        ETHERTYPE_IPV6 => skb
            .behind_ethernet()
            .and_then(|head| Some(segment_v6(head, flags_v6(head)?))),
        _ => None,
    };
    match read {
        Some(read) => {
            *segment = read;
            Parsed::Tcp
        }
        None => skb.parse(segment),
    }
}

/// Whether a packet behind an Ethernet header is TCP to other than loopback; else it has to be read.
#[inline(always)]
pub(crate) fn is_tcp_to_elsewhere(skb: Skb) -> bool {
    match skb.ethertype() {
        ETHERTYPE_IPV4 => skb
            .behind_ethernet()
            .is_some_and(|head| flags_v4(head).is_some() && goes_elsewhere_v4(head)),
        ETHERTYPE_IPV6 => skb
            .behind_ethernet()
            .is_some_and(|head| flags_v6(head).is_some() && goes_elsewhere_v6(head)),
        _ => false,
    }
}

#[inline(always)]
fn is_no_syn(flags: Option<u8>) -> bool {
    flags.is_some_and(|flags| !Segment::is_opening(flags))
}

#[inline(always)]
fn is_connection(socket: *mut bpf_sock) -> bool {
    if socket.is_null() {
        return false;
    }
    // SAFETY: the verifier has seen the null check.
    let state = unsafe { (*socket).state };
    // SAFETY: the look-up took the reference that is released here.
    unsafe { bpf_sk_release(socket.cast()) };
    state != BPF_TCP_LISTEN && state != BPF_TCP_TIME_WAIT
}
