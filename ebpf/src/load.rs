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

use crate::settings;

const ETHERNET_HEADER: usize = 14;
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

    /// Whether there is an Ethernet header in front of the network header; only at ingress hooks, for
    /// which the kernel adds the link-layer header to what it has received. False also where that is
    /// not known, as in a test run.
    #[inline(always)]
    pub(crate) fn has_ethernet(&self) -> bool {
        // SAFETY: the verifier rewrites loads from the context it passed.
        let with_header = unsafe { (*self.0).len };
        // SAFETY: as above.
        let received = unsafe { (*self.0).wire_len };
        with_header.wrapping_sub(received) == ETHERNET_HEADER as u32
    }

    /// The first `N` bytes behind an Ethernet header, in place: a helper takes several times as long.
    /// `None` where they are not in one piece. Only where there is such a header, as on `lo`.
    #[inline(always)]
    pub(crate) fn behind_ethernet<const N: usize>(&self) -> Option<&[u8; N]> {
        // SAFETY: the verifier rewrites loads from the context it passed.
        let data = unsafe { (*self.0).data } as usize;
        // SAFETY: as above.
        let end = unsafe { (*self.0).data_end } as usize;
        if data + ETHERNET_HEADER + N > end {
            return None;
        }
        // SAFETY: the packet has these bytes, which the verifier has seen, and stays where it is.
        Some(unsafe { &*((data + ETHERNET_HEADER) as *const [u8; N]) })
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

/// What a TCP socket says of itself, by one helper: each takes longer than all that is done here.
pub(crate) struct Inner {
    /// The kernel's pointer to what programs have stored with it.
    pub(crate) storage: u64,
    pub(crate) mark: u32,
    /// As [`receiving_device`]; 0 where it has heard nothing yet.
    pub(crate) receiving_device: u32,
}

/// `None` where it is no TCP socket, or where the kernel keeps these is not known.
#[inline(always)]
pub(crate) fn inner(socket: *mut bpf_sock) -> Option<Inner> {
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
    let receiving_device = unsafe { field::<u32>(socket, device) };
    Some(Inner {
        storage,
        mark,
        receiving_device,
    })
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
