//! What a reset would throw away.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Leg;

/// How often the send queue is looked at: the kernel does not tell when it is empty.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A peer that takes nothing for this long is not waited for.
const STALLED: Duration = Duration::from_secs(10);

/// Waits until the peer has taken what was written.
pub(super) async fn delivered<L: Leg>(leg: &mut L) {
    let mut unsent = leg.unsent();
    let mut progress = Instant::now();
    while unsent > 0 && progress.elapsed() < STALLED {
        sleep(LOOK_EVERY).await;
        let now = leg.unsent();
        if now < unsent {
            progress = Instant::now();
        }
        unsent = now;
    }
}

mod ioctl {
    // SIOCOUTQ has the number of TIOCOUTQ.
    nix::ioctl_read_bad!(outq, nix::libc::TIOCOUTQ, nix::libc::c_int);
}

/// Bytes in the socket's send queue that the peer has not acknowledged (tcp(7), SIOCOUTQ).
pub(super) fn unacknowledged(tcp: &TcpStream) -> io::Result<usize> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open for as long as `tcp` is borrowed, and SIOCOUTQ writes one
    // int, which `bytes` is.
    unsafe { ioctl::outq(tcp.as_raw_fd(), &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
