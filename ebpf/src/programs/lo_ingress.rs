//! `lo_ingress`: on `lo` of the pod's netns. Marked flows reach the tunnel's outbound listener, and
//! the application's answers to what the tunnel dialled find their way back.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::names::{MARK_MASK, OUTBOUND_PORT, RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::packet::{Parsed, Segment};
use waysteer_common::verdict::PacketAction;

use super::tcx_code;
use crate::load::Skb;
use crate::report;
use crate::steer::{self, Action, Owner};

#[classifier]
pub fn lo_ingress(context: TcContext) -> i32 {
    tcx_code(lo(Skb(context.skb.skb)))
}

#[inline(always)]
fn lo(skb: Skb) -> Action {
    let mark = skb.mark();
    match mark & MARK_MASK {
        STEER_MARK => steered(skb),
        TUNNEL_MARK => from_tunnel(skb, mark),
        RETURN_MARK => {
            // One that `pod_egress` brought back.
            steer::accept_packet_type(skb);
            Action::Next
        }
        _ => Action::Next,
    }
}

#[inline(always)]
fn steered(skb: Skb) -> Action {
    let mut segment = Segment::default();
    match skb.parse(&mut segment) {
        Parsed::Tcp => {}
        // Harmless without its first, which is judged below.
        Parsed::LaterFragment => return Action::Next,
        // The mark is only ever set on TCP; what else carries it was marked by the application.
        Parsed::Other => return Action::Next,
        Parsed::Unreadable => {
            report::action(PacketAction::UnreadableDropped);
            return Action::Drop;
        }
    }
    steer::accept_packet_type(skb);
    match steer::owner(skb, &segment.tuple) {
        Owner::Connection => return Action::Next,
        Owner::TimeWait if !segment.is_syn() => return Action::Next,
        Owner::TimeWait => report::action(PacketAction::PortReused),
        Owner::None => {}
    }
    if segment.is_fragment() {
        report::action(PacketAction::FragmentDropped);
        return Action::Drop;
    }
    // Not only SYNs: under SYN cookies there is no socket until the third packet of the handshake.
    to_outbound_listener(skb, &segment)
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
fn from_tunnel(skb: Skb, mark: u32) -> Action {
    let mut segment = Segment::default();
    match skb.parse(&mut segment) {
        Parsed::Tcp if segment.tuple.destination.is_loopback() => {}
        Parsed::Tcp => steer::set_packet_mark(skb, steer::with_mark(mark, RETURN_MARK)),
        Parsed::LaterFragment | Parsed::Other | Parsed::Unreadable => {}
    }
    Action::Next
}
