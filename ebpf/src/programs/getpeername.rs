//! `getpeername4` and `getpeername6`: an application that dialled a service and was sent to one of
//! its endpoints past the tunnel is told the address that it dialled, as it is everywhere else.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use waysteer_common::abi::value::VerdictValue;
use waysteer_common::addr::Address;
use waysteer_common::verdict::Reason;

use crate::{connections, load, maps, steer};

/// The kernel accepts nothing else from these programs.
const PROCEED: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    let context = context.sock_addr;
    if let Some((address, port)) = dialled(context) {
        steer::set_address4(context, address, port);
    }
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    let context = context.sock_addr;
    if let Some((address, port)) = dialled(context) {
        steer::set_address6(context, address, port);
    }
    PROCEED
}

/// What the application dialled, where it was sent elsewhere. Accepted sockets have no verdict.
#[inline(always)]
fn dialled(context: *mut bpf_sock_addr) -> Option<(Address, u16)> {
    // SAFETY: the helper accepts the context of this program type.
    let cookie = unsafe { bpf_get_socket_cookie(context.cast()) };
    if let Some(slot) = connections::find(cookie) {
        // SAFETY: `find` gives a whole value.
        return of(unsafe { &(*slot).verdict });
    }
    let value = maps::socket_value(load::socket(context)?);
    if value.is_null() {
        return None;
    }
    // SAFETY: the verifier has seen the null check.
    of(unsafe { &(*value).verdict })
}

#[inline(always)]
fn of(verdict: &VerdictValue) -> Option<(Address, u16)> {
    let is_sent_elsewhere = verdict.reason == Reason::ServiceLocalBypass as u8
        && verdict.flags & VerdictValue::STEER == 0;
    is_sent_elsewhere.then(|| (verdict.authority, verdict.authority_port.get()))
}
