//! Facts that are fixed when the object is loaded; the verifier prunes what they rule out.

use aya_ebpf::Global;

/// Nothing is marked, assigned, redirected or dropped: verdicts are only counted and reported.
#[unsafe(no_mangle)]
static DRY_RUN: Global<u8> = Global::new(0);

#[inline(always)]
pub(crate) fn dry_run() -> bool {
    DRY_RUN.load() != 0
}

/// Where a `struct tcp_timewait_sock` of this kernel has `tw_rcv_nxt`; 0 where it is not known.
#[unsafe(no_mangle)]
static TIME_WAIT_RCV_NXT: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn time_wait_rcv_nxt() -> u32 {
    TIME_WAIT_RCV_NXT.load()
}

/// Where a socket of this kernel has its `skc_flags`; 0 where it is not known.
#[unsafe(no_mangle)]
static SOCKET_FLAGS: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn socket_flags() -> u32 {
    SOCKET_FLAGS.load()
}

/// Where a listener of this kernel counts the SYNs it is answering; 0 where it is not known.
#[unsafe(no_mangle)]
static LISTENER_QUEUE: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn listener_queue() -> u32 {
    LISTENER_QUEUE.load()
}

/// Where a listener of this kernel has the most of them; 0 where it is not known.
#[unsafe(no_mangle)]
static LISTENER_BACKLOG: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn listener_backlog() -> u32 {
    LISTENER_BACKLOG.load()
}

/// Where a socket of this kernel has its netns; 0 where it is not known.
#[unsafe(no_mangle)]
static SOCKET_NET: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn socket_net() -> u32 {
    SOCKET_NET.load()
}

/// Where a netns of this kernel has `tcp_syncookies`; 0 where it is not known.
#[unsafe(no_mangle)]
static NET_SYNCOOKIES: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn net_syncookies() -> u32 {
    NET_SYNCOOKIES.load()
}
