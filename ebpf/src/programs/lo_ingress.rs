//! `lo_ingress`: on `lo` of the pod's netns. Marked flows reach the tunnel's outbound listener, and
//! the application's answers to what the tunnel dialled find their way back.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::names::{MARK_MASK, OUTBOUND_PORT, RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::packet::{Parsed, Segment};
use waysteer_common::verdict::{Hook, PacketAction};

use super::{tcx_code, told};
use crate::load::Skb;
use crate::steer::{self, Action, Owner};

#[classifier]
pub fn lo_ingress(context: TcContext) -> i32 {
    tcx_code(lo(Skb(context.skb.skb)))
}

#[inline(always)]
fn lo(skb: Skb) -> Action {
    match skb.mark() & MARK_MASK {
        STEER_MARK | TUNNEL_MARK if is_plain(skb) => Action::Next,
        STEER_MARK | TUNNEL_MARK => {
            let mut segment = Segment::default();
            let action = marked(skb, &mut segment);
            told(Hook::LoIngress, &segment.tuple, action)
        }
        RETURN_MARK => {
            // One that `pod_egress` brought back.
            steer::accept_packet_type(skb);
            Action::Next
        }
        _ => Action::Next,
    }
}

/// Does what is to be done about a packet in its plainest shape, of a connection that exists or of
/// the tunnel; false where it is something else. A function of its own: the verifier forgets on
/// which of its ways it came to an answer.
#[inline(never)]
fn is_plain(skb: Skb) -> bool {
    let mark = skb.mark();
    if mark & MARK_MASK != TUNNEL_MARK {
        steer::accept_packet_type(skb);
        return steer::continues_connection(skb);
    }
    let is_plain = steer::is_tcp_to_elsewhere(skb);
    if is_plain {
        steer::set_packet_mark(skb, steer::with_mark(mark, RETURN_MARK));
    }
    is_plain
}

#[inline(always)]
fn marked(skb: Skb, segment: &mut Segment) -> Action {
    let parsed = skb.parse(segment);
    let mark = skb.mark();
    if mark & MARK_MASK == TUNNEL_MARK {
        return from_tunnel(skb, mark, parsed, segment);
    }
    match parsed {
        // `lo` knows nothing of VLANs; the tag is the application's own doing.
        Parsed::Tcp | Parsed::Tagged => steered(skb, segment),
        Parsed::FirstFragment => {
            steer::accept_packet_type(skb);
            steer::pass_or_drop_fragment(skb, &segment.tuple)
        }
        // Harmless without its first.
        Parsed::LaterFragment => Action::Next,
        // The mark is only ever set on TCP; what else carries it was marked by the application.
        Parsed::Other => Action::Next,
        Parsed::Unreadable => Action::Drop(PacketAction::UnreadableDropped),
    }
}

#[inline(always)]
fn steered(skb: Skb, segment: &Segment) -> Action {
    steer::accept_packet_type(skb);
    match steer::owner(skb, &segment.tuple) {
        Owner::Connection => return Action::Next,
        Owner::TimeWait(_) if !segment.is_syn() => return Action::Next,
        Owner::TimeWait(expected) => {
            return steer::end_time_wait(skb, segment.offset, segment.flags, expected);
        }
        Owner::None => {}
    }
    // Not only SYNs: under SYN cookies there is no socket until the third packet of the handshake.
    to_outbound_listener(skb, segment)
}

#[inline(always)]
fn to_outbound_listener(skb: Skb, segment: &Segment) -> Action {
    steer::assign_or_hold(
        skb,
        segment.tuple.source.is_v4(),
        OUTBOUND_PORT,
        PacketAction::OutboundAssigned,
        PacketAction::OutboundHeld,
    )
}

/// The tunnel dials the application from the client's address. The application's socket inherits
/// the packet's mark (`tcp_fwmark_accept`), so its answers are routed back to `lo`.
#[inline(always)]
fn from_tunnel(skb: Skb, mark: u32, parsed: Parsed, segment: &Segment) -> Action {
    match parsed {
        Parsed::Tcp if !segment.tuple.destination.is_loopback() => {
            steer::set_packet_mark(skb, steer::with_mark(mark, RETURN_MARK));
        }
        Parsed::Tcp
        | Parsed::FirstFragment
        | Parsed::Tagged
        | Parsed::LaterFragment
        | Parsed::Other
        | Parsed::Unreadable => {}
    }
    Action::Next
}
