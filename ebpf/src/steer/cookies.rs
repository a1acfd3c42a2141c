//! SYN cookies: a listener with too many SYNs to answer keeps no socket for the next ones, and the
//! packet that ends such a handshake belongs to nobody until the listener sees it. As long as no
//! listener of ours gives cookies, what is not a SYN needs no help.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use waysteer_common::abi::value::SynCookiesValue;

use crate::maps::SYN_COOKIES;
use crate::{load, report, settings};

/// `net.ipv4.tcp_syncookies`: all SYNs are answered with cookies.
const ALWAYS: u8 = 2;

/// Whether a handshake may be under way that has no socket.
#[inline(always)]
pub(super) fn may_be_out() -> bool {
    let Some(until) = until() else {
        return true;
    };
    // SAFETY: the verifier has seen the null check, and an aligned word is read in one piece.
    let until = unsafe { until.read_volatile() };
    until != 0 && report::coarse_now() < until
}

/// Tells what comes later that this listener, who gets a packet now, may answer with a cookie.
#[inline(always)]
pub(super) fn watch(listener: *mut bpf_sock) {
    if !may_give(listener) {
        return;
    }
    if let Some(until) = until() {
        // SAFETY: as above; whichever CPU writes last, it is about now.
        unsafe { until.write_volatile(report::now() + SynCookiesValue::LIFETIME_NS) };
    }
}

#[inline(always)]
fn until() -> Option<*mut u64> {
    let value = SYN_COOKIES.get_ptr_mut(0)?;
    // SAFETY: only an address is formed.
    Some(unsafe { &raw mut (*value).until })
}

/// The kernel gives cookies when its queue is full. On the way from here to there the queue may
/// grow by what other processors have in their hands: so a quarter is enough.
#[inline(always)]
fn may_give(listener: *mut bpf_sock) -> bool {
    let queue = settings::listener_queue();
    let backlog = settings::listener_backlog();
    let net = settings::socket_net();
    let sysctl = settings::net_syncookies();
    if queue == 0 || backlog == 0 || net == 0 || sysctl == 0 {
        return true;
    }
    // SAFETY: the socket is one that the verifier vouches for.
    let socket = unsafe { bpf_skc_to_tcp_sock(listener.cast()) }.cast::<u8>();
    if socket.is_null() {
        return true;
    }
    // SAFETY: the kernel's own type information has the field there, and the verifier checks it.
    let waiting = unsafe { load::field::<u32>(socket, queue) };
    // SAFETY: as above.
    let room = unsafe { load::field::<u32>(socket, backlog) };
    if waiting >= room / 4 {
        return true;
    }
    // SAFETY: as above.
    let net = unsafe { load::field::<*mut u8>(socket, net) };
    // SAFETY: as above; the kernel reads 0 where the pointer is not one.
    let sysctl = unsafe { load::field::<u8>(net, sysctl) };
    sysctl >= ALWAYS
}
