//! The only place that reads packets and hook contexts.

use aya_ebpf::bindings::{
    __sk_buff, bpf_hdr_start_off::BPF_HDR_START_NET, bpf_sock, bpf_sock_addr, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{
    bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_skc_to_tcp_sock,
};
use core::mem::MaybeUninit;
use waysteer_common::abi::key::TupleKey;
use waysteer_common::addr::Address;
use waysteer_common::packet::{self, Packet, Parsed, Segment};

use crate::{settings, steer};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// A packet at a tcx hook.
#[derive(Clone, Copy)]
pub(crate) struct Skb(pub(crate) *mut __sk_buff);

impl Packet for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // Relative to the network header: pod devices have an Ethernet header or none.
        // SAFETY: the buffer is `N` bytes long, which is what the helper is told.
        let result = unsafe {
            bpf_skb_load_bytes_relative(
                self.0.cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
                BPF_HDR_START_NET,
            )
        };
        if result != 0 {
            return None;
        }
        // SAFETY: the helper has filled all of the buffer.
        Some(unsafe { bytes.assume_init() })
    }
}

impl Skb {
    /// A function of its own, so that its stack frame is gone when it returns.
    #[inline(never)]
    pub(crate) fn parse(&self, segment: &mut Segment) -> Parsed {
        packet::parse(self, self.ethertype(), segment)
    }

    /// As the kernel has it.
    #[inline(always)]
    pub(crate) fn ethertype(&self) -> u16 {
        // SAFETY: the verifier rewrites loads from the context it passed.
        let ethertype = unsafe { (*self.0).protocol };
        u16::from_be(ethertype as u16)
    }

    /// Reads from where stores count from: the link-layer header where the device has one.
    #[inline(always)]
    pub(crate) fn load_absolute<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer is `N` bytes long, which is what the helper is told.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        if result != 0 {
            return None;
        }
        // SAFETY: the helper has filled all of the buffer.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: the verifier rewrites loads from the context it passed.
        unsafe { (*self.0).mark }
    }

    /// Whether the packet is of a VLAN other than the priority-only VLAN 0.
    #[inline(always)]
    pub(crate) fn has_vlan(&self) -> bool {
        // SAFETY: the verifier rewrites loads from the context it passed.
        let present = unsafe { (*self.0).vlan_present };
        // SAFETY: as above.
        let tag = unsafe { (*self.0).vlan_tci };
        present != 0 && tag & 0x0fff != 0
    }
}

/// The destination of a `connect()`.
#[inline(always)]
pub(crate) fn destination4(context: *mut bpf_sock_addr) -> Address {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let address = unsafe { (*context).user_ip4 };
    Address::from_v4(address.to_ne_bytes())
}

/// The destination of a `connect()`.
#[inline(always)]
pub(crate) fn destination6(context: *mut bpf_sock_addr) -> Address {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let [a, b, c, d] = unsafe { (*context).user_ip6 };
    Address::from_v6(zerocopy::transmute!([a, b, c, d]))
}

#[inline(always)]
pub(crate) fn connect_port(context: *mut bpf_sock_addr) -> u16 {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let port = unsafe { (*context).user_port };
    u16::from_be(port as u16)
}

/// The connection that a `TCP_CONNECT_CB` is about, named by its initiator.
#[inline(always)]
pub(crate) fn connection(context: *mut bpf_sock_ops) -> Option<TupleKey> {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let family = unsafe { (*context).family };
    // SAFETY: as above.
    let local_port = unsafe { (*context).local_port };
    // SAFETY: as above.
    let remote_port = unsafe { (*context).remote_port };
    let (local, remote) = match family {
        AF_INET => v4_addresses(context),
        AF_INET6 => v6_addresses(context),
        _ => return None,
    };
    // The local port is in host order, the remote one in network order in the upper half.
    Some(TupleKey::new(
        local,
        local_port as u16,
        remote,
        u32::from_be(remote_port) as u16,
    ))
}

/// Functions of their own, because the verifier wants loads from the context at constant offsets,
/// and LLVM would share them between the families.
#[inline(never)]
fn v4_addresses(context: *mut bpf_sock_ops) -> (Address, Address) {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let local = unsafe { (*context).local_ip4 };
    // SAFETY: as above.
    let remote = unsafe { (*context).remote_ip4 };
    (
        Address::from_v4(local.to_ne_bytes()),
        Address::from_v4(remote.to_ne_bytes()),
    )
}

#[inline(never)]
fn v6_addresses(context: *mut bpf_sock_ops) -> (Address, Address) {
    // SAFETY: only addresses are formed.
    let local = unsafe { (&raw const (*context).local_ip6).cast::<u32>() };
    // SAFETY: only addresses are formed.
    let remote = unsafe { (&raw const (*context).remote_ip6).cast::<u32>() };
    (v6_address(local), v6_address(remote))
}

/// Volatile, because the verifier wants four loads of a word each.
#[inline(always)]
fn v6_address(words: *const u32) -> Address {
    let word = |index: usize| {
        // SAFETY: `index` is below 4, so the pointer stays within the array.
        let word = unsafe { words.add(index) };
        // SAFETY: the verifier rewrites loads from the context.
        unsafe { word.read_volatile() }
    };
    let words = [word(0), word(1), word(2), word(3)];
    Address::from_v6(zerocopy::transmute!(words))
}

/// The socket of a `connect()` or `getpeername()`.
#[inline(always)]
pub(crate) fn socket(context: *mut bpf_sock_addr) -> Option<*mut bpf_sock> {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let socket = unsafe { (*context).__bindgen_anon_1 };
    // SAFETY: the union has this one field besides padding.
    let socket = unsafe { socket.sk };
    if socket.is_null() { None } else { Some(socket) }
}

/// The socket of a TCP event.
#[inline(always)]
pub(crate) fn event_socket(context: *mut bpf_sock_ops) -> *mut bpf_sock {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let socket = unsafe { (*context).__bindgen_anon_2 };
    // SAFETY: the union has this one field besides padding.
    unsafe { socket.sk }
}

/// The socket that sent a packet; null where none did.
#[inline(always)]
pub(crate) fn sending_socket(skb: Skb) -> *mut bpf_sock {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let socket = unsafe { (*skb.0).__bindgen_anon_2 };
    // SAFETY: the union has this one field besides padding.
    unsafe { socket.sk }
}

/// The device by which the peer of a connected socket was heard last, or that of the connection
/// before; `None` where that is not known. The kernel does not note it of packets that arrive while the
/// socket is in use.
#[inline(always)]
pub(crate) fn receiving_device(socket: *mut bpf_sock) -> Option<u32> {
    let offset = settings::socket_receiving_device();
    if offset == 0 {
        return None;
    }
    // SAFETY: the socket is one that the verifier vouches for.
    let socket = unsafe { bpf_skc_to_tcp_sock(socket.cast()) }.cast::<u8>();
    if socket.is_null() {
        return None;
    }
    // SAFETY: the kernel's own type information has the field there.
    let device = unsafe { field::<u32>(socket, offset) };
    (device != 0).then_some(device)
}

/// The same of a socket that sends and is of the plainest kind: TCP, without our mark, and with nothing
/// that any program has stored with it; 0 where it has heard nothing yet. `None` where it is of another
/// kind, or that is not known.
#[inline(always)]
pub(crate) fn receiving_device_of_plain(socket: *mut bpf_sock) -> Option<u32> {
    let (device, storage, mark) = (
        settings::socket_receiving_device(),
        settings::socket_storage(),
        settings::socket_mark(),
    );
    if device == 0 || storage == 0 || mark == 0 {
        return None;
    }
    // SAFETY: the socket is one that the verifier vouches for; it may be any.
    let socket = unsafe { bpf_skc_to_tcp_sock(socket.cast()) }.cast::<u8>();
    if socket.is_null() {
        return None;
    }
    // SAFETY: the kernel's own type information has the field there.
    let storage = unsafe { field::<u64>(socket, storage) };
    // SAFETY: as above.
    let mark = unsafe { field::<u32>(socket, mark) };
    // SAFETY: as above.
    let device = unsafe { field::<u32>(socket, device) };
    (storage == 0 && !steer::marked_for_tunnel(mark)).then_some(device)
}

/// What a structure of the kernel's holds at an offset; zero where the pointer is not one.
///
/// # Safety
///
/// The structure must have a `T` there; the verifier checks that.
#[inline(always)]
pub(crate) unsafe fn field<T>(structure: *mut u8, offset: u32) -> T {
    // SAFETY: the caller's.
    let field = unsafe { structure.add(offset as usize) };
    // SAFETY: as above.
    unsafe { field.cast::<T>().read_volatile() }
}

/// The states that a socket is coming from and going to, of a state event.
#[inline(always)]
pub(crate) fn states(context: *mut bpf_sock_ops) -> (u32, u32) {
    // SAFETY: the verifier rewrites loads from the context it passed.
    let arguments = unsafe { (*context).__bindgen_anon_1 };
    // SAFETY: all of the union's fields are numbers.
    let [last, new, ..] = unsafe { arguments.args };
    (last, new)
}
