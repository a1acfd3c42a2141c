//! `lo_ingress`: on `lo` of the pod's netns. Marked flows reach the tunnel's outbound listener, and
//! the application's answers to what the tunnel dialled find their way back.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::names::{MARK_MASK, OUTBOUND_PORT, RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::packet::{Parsed, Segment};
use waysteer_common::verdict::{Hook, PacketAction};

use super::{tcx_code, told};
use crate::load::Skb;
use crate::steer::{self, Action, Glance, Owner};

#[classifier]
pub fn lo_ingress(context: TcContext) -> i32 {
    tcx_code(lo(Skb(context.skb.skb)))
}

#[inline(always)]
fn lo(skb: Skb) -> Action {
    let mark = skb.mark();
    match mark & MARK_MASK {
        STEER_MARK | TUNNEL_MARK if is_done(skb, mark) => Action::Next,
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
/// the tunnel; false where it is something else.
#[inline(always)]
fn is_done(skb: Skb, mark: u32) -> bool {
    if mark & MARK_MASK == TUNNEL_MARK {
        let is_done = steer::is_tcp_to_elsewhere(skb);
        if is_done {
            to_application(skb, mark);
        }
        return is_done;
    }
    steer::accept_packet_type(skb);
    match steer::glance(skb) {
        Glance::Continues => true,
        Glance::Opens => false,
        Glance::Unclear => continues_connection(skb),
    }
}

#[inline(never)]
fn continues_connection(skb: Skb) -> bool {
    steer::continues_connection(skb)
}

/// The tunnel dials the application from the client's address. The application's socket inherits
/// the packet's mark (`tcp_fwmark_accept`), so its answers are routed back to `lo`.
#[inline(always)]
fn to_application(skb: Skb, mark: u32) {
    steer::set_packet_mark(skb, steer::with_mark(mark, RETURN_MARK));
}

#[inline(always)]
fn marked(skb: Skb, segment: &mut Segment) -> Action {
    let parsed = steer::parse_behind_ethernet(skb, segment);
    // Read again: the verifier need not follow each mark through all that comes after.
    let mark = skb.mark();
    if mark & MARK_MASK == TUNNEL_MARK {
        if matches!(parsed, Parsed::Tcp) && !segment.tuple.destination.is_loopback() {
            to_application(skb, mark);
        }
        return Action::Next;
    }
    match parsed {
        // `lo` knows nothing of VLANs; the tag is the application's own doing.
        Parsed::Tcp | Parsed::Tagged => steered(skb, segment),
        Parsed::FirstFragment => steer::pass_or_drop_fragment(skb, &segment.tuple),
        // Harmless without its first.
        Parsed::LaterFragment => Action::Next,
        // The mark is only ever set on TCP; what else carries it was marked by the application.
        Parsed::Other => Action::Next,
        Parsed::Unreadable => Action::Drop(PacketAction::UnreadableDropped),
    }
}

#[inline(always)]
fn steered(skb: Skb, segment: &Segment) -> Action {
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
