//! Facts that are fixed when the object is loaded; the verifier prunes what they rule out.

use aya_ebpf::Global;

/// Nothing is marked, assigned, redirected or dropped: verdicts are only counted and reported.
#[unsafe(no_mangle)]
static DRY_RUN: Global<u8> = Global::new(0);

#[inline(always)]
pub(crate) fn dry_run() -> bool {
    DRY_RUN.load() != 0
}

/// Where a structure of this kernel has a field; 0 where it is not known.
macro_rules! offset {
    ($(#[$meta:meta])* $global:ident, $name:ident) => {
        #[unsafe(no_mangle)]
        static $global: Global<u32> = Global::new(0);

        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name() -> u32 {
            $global.load()
        }
    };
}

offset!(
    /// `tw_rcv_nxt` of a `struct tcp_timewait_sock`.
    TIME_WAIT_RCV_NXT,
    time_wait_rcv_nxt
);
offset!(
    /// `skc_flags` of a socket.
    SOCKET_FLAGS,
    socket_flags
);
offset!(
    /// The index of the device by which a socket has received last.
    SOCKET_RECEIVING_DEVICE,
    socket_receiving_device
);
offset!(
    /// The mark of a socket.
    SOCKET_MARK,
    socket_mark
);
offset!(
    /// What programs have stored with a socket.
    SOCKET_STORAGE,
    socket_storage
);
offset!(
    /// The netns of a socket.
    SOCKET_NET,
    socket_net
);
offset!(
    /// How many SYNs a listener is answering.
    LISTENER_QUEUE,
    listener_queue
);
offset!(
    /// How many a listener may be answering.
    LISTENER_BACKLOG,
    listener_backlog
);
offset!(
    /// `tcp_syncookies` of a netns.
    NET_SYNCOOKIES,
    net_syncookies
);
