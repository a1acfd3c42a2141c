//! Where structures of the running kernel have the fields that programs read.

use crate::kernel::btf::{self, BtfError, Way};

/// By the global of the object that says so, the way to the field.
const WAYS: [(&str, Way); 9] = [
    ("TIME_WAIT_RCV_NXT", &[("sock_common", "skc_tw_rcv_nxt")]),
    ("SOCKET_FLAGS", &[("sock_common", "skc_flags")]),
    ("SOCKET_RECEIVING_DEVICE", &[("sock", "sk_rx_dst_ifindex")]),
    ("SOCKET_MARK", &[("sock", "sk_mark")]),
    ("SOCKET_STORAGE", &[("sock", "sk_bpf_storage")]),
    ("SOCKET_NET", &[("sock_common", "skc_net")]),
    ("LISTENER_BACKLOG", &[("sock", "sk_max_ack_backlog")]),
    (
        "LISTENER_QUEUE",
        &[
            ("inet_connection_sock", "icsk_accept_queue"),
            ("request_sock_queue", "qlen"),
        ],
    ),
    (
        "NET_SYNCOOKIES",
        &[("net", "ipv4"), ("netns_ipv4", "sysctl_tcp_syncookies")],
    ),
];

/// 0 where that is not known. The programs then do without: a source port that is used again at once
/// needs a second SYN, a connection's bytes may be counted wrong by one, and each packet of a steered
/// connection has its socket looked up. Each one past the tunnel has what was said of its socket looked
/// up, and nothing was said of those that were accepted: their marks are all that guards them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields([u32; WAYS.len()]);

impl Fields {
    pub(super) fn find() -> Self {
        let found = btf::offsets(WAYS.map(|(_, way)| way));
        let offsets = found.map(|offsets| offsets.map(|offset| offset.unwrap_or_else(unknown)));
        Self(offsets.unwrap_or_else(|error| [unknown(error); WAYS.len()]))
    }

    pub(super) fn globals(&self) -> impl Iterator<Item = (&'static str, &u32)> {
        WAYS.iter().map(|(global, _)| *global).zip(&self.0)
    }
}

fn unknown(error: BtfError) -> u32 {
    let error: &dyn std::error::Error = &error;
    tracing::warn!(error, "the kernel's structures cannot be looked into");
    0
}
