//! `pod_ingress`: on the pod's `eth0`. What comes as HBONE is left alone, or held while there is
//! no tunnel; all other new TCP connections reach the tunnel's plaintext listener.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT};
use waysteer_common::packet::{Parsed, Segment};
use waysteer_common::verdict::{Hook, PacketAction};

use super::{tcx_code, told};
use crate::load::Skb;
use crate::steer::{self, Action, Glance, Owner};
use crate::{local_flows, report};

#[classifier]
pub fn pod_ingress(context: TcContext) -> i32 {
    tcx_code(ingress(Skb(context.skb.skb)))
}

#[inline(always)]
fn ingress(skb: Skb) -> Action {
    if skb.has_vlan() {
        // For a VLAN device of the pod's own making, or for nobody.
        report::action(PacketAction::VlanPassed);
        return Action::Next;
    }
    let seen = match skb.has_ethernet() {
        true => steer::glance(skb),
        false => Glance::Unclear,
    };
    match seen {
        Glance::Continues => return Action::Next,
        Glance::Unclear if continues_connection(skb) => return Action::Next,
        Glance::Unclear | Glance::Opens => {}
    }
    let mut segment = Segment::default();
    let action = judge(skb, &mut segment);
    told(Hook::PodIngress, &segment.tuple, action)
}

#[inline(never)]
fn continues_connection(skb: Skb) -> bool {
    steer::continues_connection(skb)
}

#[inline(always)]
fn judge(skb: Skb, segment: &mut Segment) -> Action {
    match skb.parse(segment) {
        Parsed::Tcp => {}
        Parsed::FirstFragment => return first_fragment(skb, segment),
        Parsed::Tagged => {
            report::action(PacketAction::VlanPassed);
            return Action::Next;
        }
        Parsed::Other => return Action::Next,
        Parsed::LaterFragment => {
            report::action(PacketAction::FragmentPassed);
            return Action::Next;
        }
        Parsed::Unreadable => return Action::Drop(PacketAction::UnreadableDropped),
    }
    if segment.tuple.destination_port.get() == HBONE_PORT {
        return hbone(skb, segment);
    }
    // Under SYN cookies it is not only the SYN that has no socket.
    if local_flows::lets_in(&segment.tuple) {
        report::action(PacketAction::ExemptPassed);
        return Action::Next;
    }
    match steer::owner(skb, &segment.tuple) {
        Owner::Connection => return Action::Next,
        Owner::TimeWait(_) if !segment.is_syn() => return Action::Next,
        Owner::TimeWait(expected) => {
            return steer::end_time_wait(skb, segment.offset, segment.flags, expected);
        }
        Owner::None => {}
    }
    // Not only SYNs: under SYN cookies there is no socket until the third packet of the handshake.
    to_plaintext_listener(skb, segment)
}

/// Is the tunnel's by itself, without our doing; but while there is no tunnel the stack would reset it.
#[inline(always)]
fn hbone(skb: Skb, segment: &Segment) -> Action {
    if !segment.is_syn() {
        return Action::Next;
    }
    let v4 = segment.tuple.source.is_v4();
    steer::pass_or_hold(skb, v4, HBONE_PORT, PacketAction::InboundHeld)
}

#[inline(always)]
fn first_fragment(skb: Skb, segment: &Segment) -> Action {
    if segment.tuple.destination_port.get() == HBONE_PORT || local_flows::lets_in(&segment.tuple) {
        return Action::Next;
    }
    steer::pass_or_drop_fragment(skb, &segment.tuple)
}

#[inline(always)]
fn to_plaintext_listener(skb: Skb, segment: &Segment) -> Action {
    steer::assign_or_hold(
        skb,
        segment.tuple.source.is_v4(),
        INBOUND_PLAINTEXT_PORT,
        PacketAction::InboundAssigned,
        PacketAction::InboundHeld,
    )
}
