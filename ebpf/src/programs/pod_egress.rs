//! `pod_egress`: the guard on the pod's `eth0`. What should have been steered and was not, because
//! its sender never called `connect()`, or because somebody took its mark or our routes away, is
//! brought back; what cannot be brought back does not leave.

use aya_ebpf::bindings::{BPF_TCP_SYN_SENT, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::names::{HBONE_PORT, MARK_MASK, RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::abi::value::{SocketValue, VerdictValue};
use waysteer_common::classify::Flow;
use waysteer_common::packet::{Parsed, Segment};
use waysteer_common::verdict::{Hook, PacketAction, Reason, Verdict};
use zerocopy::network_endian::U64;

use super::{tcx_code, told};
use crate::connections;
use crate::load::{self, Skb};
use crate::local_flows;
use crate::lookup;
use crate::maps::{self, PACKET_FLOWS};
use crate::report;
use crate::steer::{self, Action};

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

/// What the sending socket tells of a packet.
enum Sender {
    /// A TCP socket whose verdict says so, or whose peer is the tunnel.
    Steered,
    /// A TCP socket whose verdict says so, and that is about to connect.
    Bypassed,
    /// A TCP socket whose peer is not the tunnel, and that sends no SYN any more, or never did:
    /// bypassed, accepted, or older than the pod's enrolment. Its packets need not be read.
    PastSyn,
    /// A TCP socket that is about to connect and has no verdict: for want of memory, older than the
    /// pod's enrolment, or of the kernel itself.
    Unjudged(*mut bpf_sock),
    /// A raw or packet socket, a virtual machine, or the kernel's answer for no socket.
    NotTcp,
}

#[classifier]
pub fn pod_egress(context: TcContext) -> i32 {
    tcx_code(egress(Skb(context.skb.skb)))
}

#[inline(always)]
fn egress(skb: Skb) -> Action {
    let mark = skb.mark();
    match mark & MARK_MASK {
        TUNNEL_MARK => return Action::Next,
        STEER_MARK => return bring_back(skb, mark, STEER_MARK),
        RETURN_MARK => return bring_back(skb, mark, RETURN_MARK),
        _ => {}
    }
    match sender(skb) {
        Sender::Steered => bring_back(skb, mark, STEER_MARK),
        Sender::Bypassed | Sender::PastSyn => Action::Next,
        Sender::Unjudged(_) | Sender::NotTcp => {
            let mut segment = Segment::default();
            let action = judge(skb, mark, &mut segment);
            told(Hook::PodEgress, &segment.tuple, action)
        }
    }
}

#[inline(always)]
fn bring_back(skb: Skb, mark: u32, low: u32) -> Action {
    report::action(PacketAction::GuardReturned);
    steer::redirect_to_loopback(skb, steer::with_mark(mark, low))
}

#[inline(always)]
fn sender(skb: Skb) -> Sender {
    let socket = load::sending_socket(skb);
    if socket.is_null() {
        return Sender::NotTcp;
    }
    // Of nearly all packets; what comes after it would say the same, and takes longer.
    if let Some(sender) = plain_sender(skb, socket) {
        return sender;
    }
    // SAFETY: the verifier has seen the null check.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return Sender::NotTcp;
    }
    // SAFETY: the verifier has seen the null check.
    let kind = unsafe { (*socket).type_ };
    // SAFETY: as above.
    let protocol = unsafe { (*socket).protocol };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return Sender::NotTcp;
    }
    // SAFETY: as above.
    if steer::marked_for_tunnel(unsafe { (*socket).mark }) {
        // Somebody took it off the packet.
        return Sender::Steered;
    }
    let value = maps::socket_value(socket);
    if !value.is_null() {
        // SAFETY: the verifier has seen the null check.
        return if unsafe { (*value).verdict.flags } & VerdictValue::STEER != 0 {
            Sender::Steered
        } else {
            Sender::Bypassed
        };
    }
    // SAFETY: as above.
    let is_connecting = unsafe { (*socket).state } == BPF_TCP_SYN_SENT;
    // The tunnel is heard by `lo`, everybody else by another device.
    let device = match is_connecting {
        true => None,
        false => load::receiving_device(socket),
    };
    if device.is_some_and(|device| device != steer::LOOPBACK_INDEX) {
        return Sender::PastSyn;
    }
    match was_steered(skb) {
        Some(true) => Sender::Steered,
        Some(false) => Sender::Bypassed,
        None if is_connecting => Sender::Unjudged(socket),
        None if device.is_some() => Sender::Steered,
        None => Sender::PastSyn,
    }
}

/// Of the plainest kind of socket: TCP, without our mark, and with nothing that any program has stored
/// with it. `None` where it is of another kind, or about to connect without a verdict.
#[inline(always)]
fn plain_sender(skb: Skb, socket: *mut bpf_sock) -> Option<Sender> {
    let inner = load::inner(socket)?;
    if inner.storage != 0 || steer::marked_for_tunnel(inner.mark) {
        return None;
    }
    let device = inner.receiving_device;
    // SAFETY: the caller has seen that it is not null.
    let is_connecting = unsafe { (*socket).state } == BPF_TCP_SYN_SENT;
    if !is_connecting && device != 0 && device != steer::LOOPBACK_INDEX {
        return Some(Sender::PastSyn);
    }
    match was_steered(skb) {
        Some(true) => Some(Sender::Steered),
        Some(false) => Some(Sender::Bypassed),
        None if is_connecting => None,
        None if device != 0 => Some(Sender::Steered),
        None => Some(Sender::PastSyn),
    }
}

/// What was said of a socket, if anything was.
#[inline(always)]
fn was_steered(skb: Skb) -> Option<bool> {
    // SAFETY: the helper accepts the context of this program type.
    let cookie = unsafe { bpf_get_socket_cookie(skb.0.cast()) };
    let slot = connections::find(cookie)?;
    // SAFETY: `find` gives a whole value.
    let flags = unsafe { (*slot).verdict.flags };
    Some(flags & VerdictValue::STEER != 0)
}

#[inline(always)]
fn judge(skb: Skb, mark: u32, segment: &mut Segment) -> Action {
    match select(skb, segment) {
        Selected::Judge => {}
        Selected::Pass => return Action::Next,
        Selected::Drop(why) => return Action::Drop(why),
    }
    let tuple = &segment.tuple;
    let netns = lookup::pod_address(tuple.source).unwrap_or(0);
    let mut verdict = Verdict::NONE;
    // A source address that is not the pod's belongs to nobody we know: row 1.
    verdict.reason = Reason::SourceUnknown;
    if let Some(pod) = lookup::pod(netns) {
        let flow = Flow {
            pod,
            netns,
            destination: tuple.destination,
            port: tuple.destination_port.get(),
            is_dialling: false,
        };
        lookup::decide(&flow, &mut verdict);
    }
    if is_news(segment, netns, &verdict) {
        report::verdict(Hook::PodEgress, report::now(), netns, tuple, &verdict);
    }
    if !verdict.steer {
        return let_go(segment, &verdict);
    }
    if skb.has_vlan() {
        return Action::Drop(PacketAction::GuardDropped);
    }
    remember(skb, tuple, netns, &verdict);
    report::action(PacketAction::GuardSteered);
    steer::redirect_to_loopback(skb, steer::with_mark(mark, STEER_MARK))
}

/// Whether a connection begins, as far as anybody has seen. The last packets of one that went past the
/// tunnel may come here too: in TIME_WAIT the kernel sends them without a socket of its own.
#[inline(always)]
fn is_news(segment: &Segment, netns: u64, verdict: &Verdict) -> bool {
    let is_known = || {
        PACKET_FLOWS
            .get_ptr(segment.tuple.in_netns(netns))
            .is_some()
    };
    segment.is_syn() || (verdict.steer && !is_known())
}

/// What is to be done with a packet that has no verdict.
enum Selected {
    Judge,
    Pass,
    Drop(PacketAction),
}

/// Picks out the segments that must be judged. A function of its own: the verifier forgets on
/// which of its ways it came to an answer.
#[inline(never)]
fn select(skb: Skb, segment: &mut Segment) -> Selected {
    match skb.parse(segment) {
        Parsed::Tcp => {}
        // Neither can be delivered to the tunnel; no stack sends a first segment like this.
        Parsed::FirstFragment | Parsed::Tagged if segment.is_syn() => {
            return Selected::Drop(PacketAction::GuardDropped);
        }
        Parsed::FirstFragment | Parsed::Tagged | Parsed::Other => return Selected::Pass,
        Parsed::LaterFragment => {
            report::action(PacketAction::FragmentPassed);
            return Selected::Pass;
        }
        Parsed::Unreadable => return Selected::Drop(PacketAction::UnreadableDropped),
    }
    if segment.tuple.destination.is_loopback() {
        return Selected::Pass;
    }
    if segment.is_syn() {
        return Selected::Judge;
    }
    match sender(skb) {
        Sender::Steered | Sender::Bypassed | Sender::PastSyn | Sender::Unjudged(_) => {
            Selected::Pass
        }
        Sender::NotTcp if continues_unjudged(segment) => Selected::Judge,
        Sender::NotTcp => Selected::Pass,
    }
}

/// Whether a later segment without a verdict may belong to a connection that must be steered.
#[inline(always)]
fn continues_unjudged(segment: &Segment) -> bool {
    let tuple = &segment.tuple;
    let netns = lookup::pod_address(tuple.source).unwrap_or(0);
    if PACKET_FLOWS.get_ptr(tuple.in_netns(netns)).is_some() {
        return true;
    }
    // Resets carry no data; answers of the kernel to what came by HBONE or past the tunnel, and
    // to connections that were let in, go back the way they came.
    !segment.is_rst()
        && tuple.source_port.get() != HBONE_PORT
        && !local_flows::is_known(&tuple.reversed())
}

#[inline(always)]
fn let_go(segment: &Segment, verdict: &Verdict) -> Action {
    // Later packets need not be let in.
    if verdict.reason == Reason::LocalBypass && segment.is_syn() {
        let recorded = PacketAction::LocalFlowRecorded;
        local_flows::record(&segment.tuple, report::now(), recorded);
    }
    Action::Next
}

/// For the segments to come; the tunnel makes the verdict again. A function of its own, so that its
/// stack frame is gone when it returns.
#[inline(never)]
fn remember(skb: Skb, tuple: &TupleKey, netns: u64, verdict: &Verdict) {
    match sender(skb) {
        Sender::Unjudged(socket) => {
            let value = SocketValue {
                // `sock_ops` did not know it.
                begun_at: U64::ZERO,
                verdict: verdict.to_wire(),
            };
            maps::set_socket_value(socket, &value);
        }
        Sender::Steered | Sender::Bypassed | Sender::PastSyn | Sender::NotTcp => {
            if PACKET_FLOWS.insert(tuple.in_netns(netns), 1, 0).is_err() {
                report::action(PacketAction::RecordFailed);
            }
        }
    }
}
