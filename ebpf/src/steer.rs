//! The only place that marks, assigns and redirects.

mod cookies;
mod plain;
mod reuse;

use aya_ebpf::bindings::{
    BPF_F_CURRENT_NETNS, BPF_F_INGRESS, BPF_TCP_LISTEN, BPF_TCP_TIME_WAIT, bpf_sock, bpf_sock_addr,
    bpf_sock_tuple,
};
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_setsockopt, bpf_sk_assign, bpf_sk_fullsock, bpf_sk_release,
    bpf_skb_change_type, bpf_skc_lookup_tcp,
};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::warn;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::abi::names::{MARK_MASK, STEER_MARK, TUNNEL_MARK};
use waysteer_common::addr::Address;
use waysteer_common::verdict::PacketAction;

use crate::load::Skb;
use crate::{report, settings};
pub(crate) use plain::{
    Glance, continues_connection, glance, is_tcp_to_elsewhere, parse_behind_ethernet,
};
pub(crate) use reuse::end_time_wait;

const SOL_SOCKET: i32 = 1;
const SO_MARK: i32 = 36;
const SO_BINDTOIFINDEX: i32 = 62;
/// Of `lo`, in every netns.
pub(crate) const LOOPBACK_INDEX: u32 = 1;
const PACKET_HOST: u32 = 0;

/// What a packet program wants of the kernel.
pub(crate) enum Action {
    /// On to the next program, and then to the stack.
    Next,
    /// For which of the reasons that are drops.
    Drop(PacketAction),
    /// To the device named in an earlier call of [`redirect_to_loopback`].
    Redirect,
}

/// The socket that a packet belongs to, as far as it matters here.
pub(crate) enum Owner {
    /// A connection that exists or is being set up.
    Connection,
    /// What is left of a closed connection; with the sequence number that it expects next, 0 where
    /// that is not known.
    TimeWait(u32),
    /// None, or a listener.
    None,
}

/// A mark with `low` in waysteer's bits.
#[inline(always)]
pub(crate) fn with_mark(mark: u32, low: u32) -> u32 {
    mark & !MARK_MASK | low
}

/// Sets a connecting socket's mark.
#[inline(always)]
pub(crate) fn set_socket_mark(context: *mut bpf_sock_addr, mark: u32) -> bool {
    set_socket_option(context, SO_MARK, mark)
}

/// Undoes `SO_BINDTODEVICE`: a socket bound to the pod's device would neither leave through `lo`
/// nor take the tunnel's answers from it.
#[inline(always)]
pub(crate) fn unbind_from_device(context: *mut bpf_sock_addr) -> bool {
    set_socket_option(context, SO_BINDTOIFINDEX, 0)
}

#[inline(always)]
fn set_socket_option(context: *mut bpf_sock_addr, option: i32, value: u32) -> bool {
    let mut value = value;
    // SAFETY: the value is four bytes long, which is what the helper is told.
    let result = unsafe {
        bpf_setsockopt(
            context.cast(),
            SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            4,
        )
    };
    result == 0
}

/// Exchanges the address that a `connect()` is to dial, or a `getpeername()` to tell.
#[inline(always)]
pub(crate) fn set_address4(context: *mut bpf_sock_addr, address: Address, port: u16) {
    // SAFETY: only an address is formed.
    let field = unsafe { &raw mut (*context).user_ip4 };
    store(field, u32::from_ne_bytes(address.v4_octets()));
    set_port(context, port);
}

/// The same for sockets that speak IPv6.
#[inline(always)]
pub(crate) fn set_address6(context: *mut bpf_sock_addr, address: Address, port: u16) {
    // SAFETY: only an address is formed.
    let field = unsafe { (&raw mut (*context).user_ip6).cast::<u32>() };
    let [a, b, c, d]: [u32; 4] = zerocopy::transmute!(address.octets());
    store(field, a);
    store(field.wrapping_add(1), b);
    store(field.wrapping_add(2), c);
    store(field.wrapping_add(3), d);
    set_port(context, port);
}

#[inline(always)]
fn set_port(context: *mut bpf_sock_addr, port: u16) {
    // SAFETY: only an address is formed.
    let field = unsafe { &raw mut (*context).user_port };
    store(field, u32::from(port.to_be()));
}

/// Into a field of the context: the verifier wants single words at constant offsets.
#[inline(always)]
fn store(field: *mut u32, value: u32) {
    // SAFETY: the callers' fields are ones that the verifier allows stores to.
    unsafe { field.write_volatile(value) };
}

#[inline(always)]
pub(crate) fn set_packet_mark(skb: Skb, mark: u32) {
    if settings::dry_run() {
        return;
    }
    // SAFETY: the verifier allows stores to the mark of the context it passed.
    unsafe { (*skb.0).mark = mark };
}

/// A packet that leaves through `eth0` and must not: into `lo`, as if it had come from there.
#[inline(always)]
pub(crate) fn redirect_to_loopback(skb: Skb, mark: u32) -> Action {
    set_packet_mark(skb, mark);
    // SAFETY: the helper only records the device; the packet moves when the program has returned.
    unsafe { bpf_redirect(LOOPBACK_INDEX, u64::from(BPF_F_INGRESS)) };
    Action::Redirect
}

/// Makes a redirected packet acceptable to the stack, which saw a foreign MAC address.
#[inline(always)]
pub(crate) fn accept_packet_type(skb: Skb) {
    // SAFETY: the verifier rewrites loads from the context it passed.
    if unsafe { (*skb.0).pkt_type } != PACKET_HOST {
        // SAFETY: the helper only changes a field of the packet's metadata.
        unsafe { bpf_skb_change_type(skb.0, PACKET_HOST) };
    }
}

/// Finds out whether a packet's connection has a socket in this netns.
#[inline(always)]
pub(crate) fn owner(skb: Skb, tuple: &TupleKey) -> Owner {
    let socket = look_up(skb, tuple);
    if socket.is_null() {
        return Owner::None;
    }
    // SAFETY: the verifier has seen the null check.
    let state = unsafe { (*socket).state };
    let expected = if state == BPF_TCP_TIME_WAIT {
        reuse::expected_sequence(socket)
    } else {
        0
    };
    // SAFETY: the look-up took the reference that is released here.
    unsafe { bpf_sk_release(socket.cast()) };
    match state {
        BPF_TCP_LISTEN => Owner::None,
        BPF_TCP_TIME_WAIT => Owner::TimeWait(expected),
        _ => Owner::Connection,
    }
}

/// The first fragment of a segment. A socket cannot be assigned to a packet that has yet to be put
/// together, so it must belong to a connection that is there.
#[inline(always)]
pub(crate) fn pass_or_drop_fragment(skb: Skb, tuple: &TupleKey) -> Action {
    match owner(skb, tuple) {
        Owner::Connection => Action::Next,
        Owner::TimeWait(_) | Owner::None => Action::Drop(PacketAction::FragmentDropped),
    }
}

/// What came of handing a packet to the tunnel.
pub(crate) enum Assigned {
    Yes,
    /// Nothing listens on the port.
    NoListener,
    /// What listens there is not the tunnel.
    Impostor,
    Failed,
}

/// Hands a packet to the tunnel's listener on `port`.
#[inline(always)]
pub(crate) fn assign_to_listener(skb: Skb, v4: bool, port: u16) -> Assigned {
    let any = Loopback::of(v4);
    let listener = look_up(skb, &any.tuple(port));
    if listener.is_null() {
        return Assigned::NoListener;
    }
    // SAFETY: the verifier has seen the null check.
    let full = unsafe { bpf_sk_fullsock(listener) };
    let assigned = if full.is_null() {
        Assigned::NoListener
    // SAFETY: the verifier has seen the null check.
    } else if unsafe { (*full).mark } & MARK_MASK != TUNNEL_MARK {
        // Setting the mark takes CAP_NET_ADMIN or CAP_NET_RAW, so the pod's own processes cannot
        // pose as the tunnel unless they were given one of them.
        Assigned::Impostor
    } else {
        cookies::watch(listener);
        // SAFETY: the socket is referenced until the release below.
        match unsafe { bpf_sk_assign(skb.0.cast(), listener.cast(), 0) } {
            0 => Assigned::Yes,
            _ => Assigned::Failed,
        }
    };
    // SAFETY: the look-up took the reference that is released here.
    unsafe { bpf_sk_release(listener.cast()) };
    assigned
}

/// Hands a packet to the tunnel's listener, or holds it: the sender's retransmission will find a
/// listener that is back. Never up the stack, where the pod's own listener would answer.
#[inline(always)]
pub(crate) fn assign_or_hold(
    skb: Skb,
    v4: bool,
    port: u16,
    assigned: PacketAction,
    held: PacketAction,
) -> Action {
    if settings::dry_run() {
        return Action::Next;
    }
    match assign_to_listener(skb, v4, port) {
        Assigned::Yes => {
            report::action(assigned);
            Action::Next
        }
        Assigned::NoListener => Action::Drop(held),
        Assigned::Impostor => Action::Drop(PacketAction::ImpostorListener),
        Assigned::Failed => {
            log_assign_failed(skb, port);
            Action::Drop(PacketAction::AssignFailed)
        }
    }
}

/// Lets a packet to the tunnel's own port go on where anybody listens, and holds it else: a refusal
/// would end connections that the next tunnel can serve.
#[inline(always)]
pub(crate) fn pass_or_hold(skb: Skb, v4: bool, port: u16, held: PacketAction) -> Action {
    let any = Loopback::of(v4);
    let listener = look_up(skb, &any.tuple(port));
    if !listener.is_null() {
        // SAFETY: the look-up took the reference that is released here.
        unsafe { bpf_sk_release(listener.cast()) };
        return Action::Next;
    }
    if settings::dry_run() {
        return Action::Next;
    }
    Action::Drop(held)
}

/// A function of its own: the verifier need not follow the log's formatting for each of the ways
/// that lead here.
#[inline(never)]
fn log_assign_failed(skb: Skb, port: u16) {
    warn!(
        &TcContext::new(skb.0),
        "a packet could not be assigned to port {}", port
    );
}

/// A socket's own mark, at a hook that sees the socket.
#[inline(always)]
pub(crate) fn marked_for_tunnel(mark: u32) -> bool {
    mark & MARK_MASK == STEER_MARK
}

enum Loopback {
    V4,
    V6,
}

impl Loopback {
    #[inline(always)]
    fn of(v4: bool) -> Self {
        if v4 { Self::V4 } else { Self::V6 }
    }

    /// A tuple that meets a listener on `port` and no connection.
    #[inline(always)]
    fn tuple(&self, port: u16) -> TupleKey {
        let address = match self {
            Self::V4 => Address::from_v4([127, 0, 0, 1]),
            Self::V6 => Address::from_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        };
        TupleKey::new(address, 0, address, port)
    }
}

/// The socket that the stack would give a packet of this tuple to; with a reference if not null.
#[inline(always)]
fn look_up(skb: Skb, tuple: &TupleKey) -> *mut bpf_sock {
    // `struct bpf_sock_tuple` without its unions: addresses, then ports, in network order.
    #[repr(C)]
    struct TupleV4 {
        source: [u8; 4],
        destination: [u8; 4],
        ports: [u16; 2],
    }
    #[repr(C)]
    struct TupleV6 {
        source: [u32; 4],
        destination: [u32; 4],
        ports: [u16; 2],
    }
    let ports = [
        tuple.source_port.get().to_be(),
        tuple.destination_port.get().to_be(),
    ];
    if tuple.source.is_v4() {
        let mut key = TupleV4 {
            source: tuple.source.v4_octets(),
            destination: tuple.destination.v4_octets(),
            ports,
        };
        look_up_raw(skb, (&raw mut key).cast(), size_of::<TupleV4>() as u32)
    } else {
        let mut key = TupleV6 {
            source: zerocopy::transmute!(tuple.source.octets()),
            destination: zerocopy::transmute!(tuple.destination.octets()),
            ports,
        };
        look_up_raw(skb, (&raw mut key).cast(), size_of::<TupleV6>() as u32)
    }
}

#[inline(always)]
fn look_up_raw(skb: Skb, tuple: *mut bpf_sock_tuple, size: u32) -> *mut bpf_sock {
    // SAFETY: `size` bytes behind `tuple` are initialised.
    unsafe {
        bpf_skc_lookup_tcp(
            skb.0.cast(),
            tuple,
            size,
            BPF_F_CURRENT_NETNS as i64 as u64,
            0,
        )
    }
}
