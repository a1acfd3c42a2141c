//! The two system calls.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::libc;
use nix::sched::{CloneFlags, setns};

/// Moves the calling thread. Allocates nothing, so it may stand between fork and exec.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// The cookie of the namespace that a socket is in (`SO_NETNS_COOKIE`, Linux 5.14).
pub(super) fn cookie(socket: RawFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to locals of the sizes given, which outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}
