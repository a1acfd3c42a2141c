//! `connect4` and `connect6`: every TCP connection of an enrolled pod is judged here, before
//! anything else rewrites its destination. A bypass to an endpoint of this node is the one thing
//! that we rewrite ourselves, see [`super::getpeername`].

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::warn;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::names::{MARK_MASK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::abi::value::SocketValue;
use waysteer_common::addr::Address;
use waysteer_common::classify::Flow;
use waysteer_common::verdict::{Hook, PacketAction, Reason, Verdict};
use zerocopy::network_endian::U64;

use crate::{connections, load, lookup, maps, report, settings, steer};

const IPPROTO_TCP: u32 = 6;
const PROCEED: i32 = 1;
const REFUSE: i32 = 0;

enum Outcome {
    Proceed,
    /// To somebody else than was said.
    Dial(Address, u16),
    /// `EPERM`, since the mark cannot be set; only where proceeding would be plaintext.
    Refuse,
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    let context = context.sock_addr;
    let destination = load::destination4(context);
    match connect(context, destination) {
        Outcome::Proceed => PROCEED,
        Outcome::Dial(address, port) => {
            steer::set_address4(context, address, port);
            PROCEED
        }
        Outcome::Refuse => refuse(context, &destination),
    }
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    let context = context.sock_addr;
    let destination = load::destination6(context);
    match connect(context, destination) {
        Outcome::Proceed => PROCEED,
        Outcome::Dial(address, port) => {
            steer::set_address6(context, address, port);
            PROCEED
        }
        Outcome::Refuse => refuse(context, &destination),
    }
}

#[inline(always)]
fn connect(context: *mut bpf_sock_addr, destination: Address) -> Outcome {
    // SAFETY: the verifier rewrites loads from the context it passed.
    if unsafe { (*context).protocol } != IPPROTO_TCP {
        return Outcome::Proceed;
    }
    // SAFETY: the helper accepts the context of this program type.
    let netns = unsafe { bpf_get_netns_cookie(context.cast()) };
    let Some(pod) = lookup::pod(netns) else {
        return Outcome::Proceed;
    };
    let Some(socket) = load::socket(context) else {
        return Outcome::Proceed;
    };
    // SAFETY: `socket` is not null, and the verifier knows its type.
    let mark = unsafe { (*socket).mark };
    if mark & MARK_MASK == TUNNEL_MARK {
        return Outcome::Proceed;
    }
    if destination.is_loopback() || destination.is_unspecified() {
        // Of an attempt before this one.
        maps::remove_socket_value(socket);
        return unmark(context, mark);
    }
    let port = load::connect_port(context);
    let mut verdict = Verdict::NONE;
    lookup::decide(
        &Flow {
            pod,
            netns,
            destination,
            port,
            is_dialling: true,
        },
        &mut verdict,
    );
    let now = report::now();
    let dry_run = settings::dry_run();
    if !dry_run && !remember(context, socket, now, netns, &verdict) {
        // The guard judges its first packet, nobody counts it.
        report::action(PacketAction::RecordFailed);
        verdict.without_memory();
    }
    let tuple = TupleKey::new(Address::UNSPECIFIED, 0, destination, port);
    report::verdict(Hook::Connect, now, netns, &tuple, &verdict);
    if dry_run {
        return Outcome::Proceed;
    }
    if verdict.reason == Reason::ServiceLocalBypass {
        return match unmark(context, mark) {
            Outcome::Proceed => Outcome::Dial(verdict.next_hop.address, verdict.next_hop.port),
            outcome => outcome,
        };
    }
    if !verdict.steer {
        return unmark(context, mark);
    }
    // SAFETY: as above.
    let device = unsafe { (*socket).bound_dev_if };
    if device != 0 && device != steer::LOOPBACK_INDEX && !steer::unbind_from_device(context) {
        return Outcome::Refuse;
    }
    if steer::set_socket_mark(context, steer::with_mark(mark, STEER_MARK)) {
        Outcome::Proceed
    } else {
        Outcome::Refuse
    }
}

/// A function of its own, because logging is many instructions.
#[inline(never)]
fn refuse(context: *mut bpf_sock_addr, destination: &Address) -> i32 {
    // SAFETY: the helper accepts the context of this program type.
    let netns = unsafe { bpf_get_netns_cookie(context.cast()) };
    let port = load::connect_port(context);
    let tuple = TupleKey::new(Address::UNSPECIFIED, 0, *destination, port);
    report::dropped(Hook::Connect, PacketAction::MarkFailed, netns, &tuple);
    warn!(
        &SockAddrContext::new(context),
        "a socket's mark could not be set: connection refused"
    );
    REFUSE
}

/// A socket that was steered before and now goes elsewhere.
#[inline(always)]
fn unmark(context: *mut bpf_sock_addr, mark: u32) -> Outcome {
    if !steer::marked_for_tunnel(mark) || steer::set_socket_mark(context, steer::with_mark(mark, 0))
    {
        Outcome::Proceed
    } else {
        Outcome::Refuse
    }
}

/// For `sock_ops`, which knows the source port, and for as long as the connection lasts. False where
/// memory lacks.
///
/// On the socket, which costs more, where the slot is another connection's; and where the guard may
/// still take the peer of an attempt before for this one's.
#[inline(always)]
fn remember(
    context: *mut bpf_sock_addr,
    socket: *mut bpf_sock,
    now: u64,
    netns: u64,
    verdict: &Verdict,
) -> bool {
    let is_new =
        load::inner(socket).is_some_and(|inner| inner.storage == 0 && inner.receiving_device == 0);
    if !is_new {
        // Of an attempt before this one.
        maps::remove_socket_value(socket);
    }
    let is_misleading = || verdict.steer && !is_new && load::receiving_device(socket).is_some();
    // SAFETY: the helper accepts the context of this program type.
    let cookie = unsafe { bpf_get_socket_cookie(context.cast()) };
    if !is_misleading() && connections::begin(cookie, now, netns, verdict) {
        return true;
    }
    if let Some(slot) = connections::find(cookie) {
        connections::end(slot);
    }
    let value = SocketValue {
        // `sock_ops` says when.
        begun_at: U64::ZERO,
        verdict: verdict.to_wire(),
    };
    maps::set_socket_value(socket, &value)
}
