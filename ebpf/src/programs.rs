//! The kernel programs, one hook a file.

#![expect(
    unreachable_pub,
    reason = "entry points are exported to the linker, not to a crate"
)]

mod connect;
mod explain;
mod getpeername;
mod lo_ingress;
mod pod_egress;
mod pod_ingress;
mod sockops;

use crate::steer::Action;

const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
const TCX_REDIRECT: i32 = 7;

/// The return code of a tcx program. In a dry run everything goes on as if we were not there.
#[inline(always)]
fn tcx_code(action: Action) -> i32 {
    if crate::settings::dry_run() {
        return TCX_NEXT;
    }
    match action {
        Action::Next => TCX_NEXT,
        Action::Drop => TCX_DROP,
        Action::Redirect => TCX_REDIRECT,
    }
}
