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

use waysteer_common::abi::key::TupleKey;
use waysteer_common::verdict::Hook;

use crate::report;
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
        Action::Drop(_) => TCX_DROP,
        Action::Redirect => TCX_REDIRECT,
    }
}

/// Counts and tells of a packet that goes nowhere.
#[inline(always)]
fn told(hook: Hook, tuple: &TupleKey, action: Action) -> Action {
    if let Action::Drop(why) = action {
        report::dropped(hook, why, 0, tuple);
    }
    action
}
