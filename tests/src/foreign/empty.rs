//! Programs that do nothing, to see what a hook costs by itself.

use std::io;
use std::os::fd::OwnedFd;

use waysteer::kernel::link::Hook;

use super::bpf::{load, word};
use super::{PROG_CGROUP_SOCK_ADDR, PROG_SCHED_CLS, TCX_NEXT};

const PROG_SOCK_OPS: u32 = 13;
const PROCEED: i32 = 1;
/// What `sock_ops` returns is an answer to some of its events; this is none.
const NO_ANSWER: i32 = 0;
const NAME: &str = "empty";

/// Two instructions: "as if I were not there", in the words of the hook. Attached to nothing yet.
pub fn empty(hook: Hook) -> io::Result<OwnedFd> {
    let number = hook.number();
    let (kind, made_for, result) = match hook {
        Hook::SockOps => (PROG_SOCK_OPS, number, NO_ANSWER),
        Hook::Connect4 | Hook::Connect6 | Hook::GetPeerName4 | Hook::GetPeerName6 => {
            (PROG_CGROUP_SOCK_ADDR, number, PROCEED)
        }
        // One program may be on both.
        Hook::TcxIngress | Hook::TcxEgress => (PROG_SCHED_CLS, 0, TCX_NEXT),
    };
    // r0 = result; exit.
    let code = [word(0xb7, 0, 0, result), word(0x95, 0, 0, 0)];
    load(kind, made_for, NAME, &code)
}
