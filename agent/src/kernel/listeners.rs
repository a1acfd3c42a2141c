//! Who listens on the tunnel's ports in a pod's netns, by sock_diag.
//!
//! Each port is asked for by itself: the kernel finds a listener by its hash, where a dump would
//! walk every listener of the node. Of several that share a port one answers, as for a connection.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::libc::ENOENT;
use thiserror::Error;
use waysteer_common::abi::names::{
    HBONE_PORT, INBOUND_PLAINTEXT_PORT, MARK_MASK, OUTBOUND_PORT, TUNNEL_MARK,
};

use super::netns::{NetnsError, PodNetns};

/// What ztunnel opens in every pod's netns, and the embedded tunnel too.
pub const PORTS: [u16; 3] = [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT];

/// A port on which the tunnel does not listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoListener {
    pub port: u16,
    pub reason: NoListenerReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoListenerReason {
    /// Nobody does.
    Missing,
    /// Somebody without the tunnel's mark does; the programs deliver nothing to him.
    Foreign { mark: u32 },
}

#[derive(Debug, Error)]
pub enum ListenersError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("sock_diag: cannot ask who listens")]
    Ask(#[source] io::Error),
    #[error("sock_diag: port {port} cannot be asked for")]
    Refused {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("sock_diag: the kernel's answer cannot be read: {0}")]
    Malformed(String),
}

/// The ports that lack a listener of the tunnel. Blocks, see [`PodNetns::run`].
pub fn missing(netns: &PodNetns) -> Result<Vec<NoListener>, ListenersError> {
    netns.run(missing_here)?
}

/// In the calling thread's netns.
pub(super) fn missing_here() -> Result<Vec<NoListener>, ListenersError> {
    let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(ListenersError::Ask)?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .map_err(ListenersError::Ask)?;
    let mut missing = Vec::new();
    for port in PORTS {
        // The tunnel's are of IPv6 and take IPv4 too; without IPv6 there are only the others.
        let found = match ask(&socket, port, AF_INET6)? {
            Some(mark) => Some(mark),
            None => ask(&socket, port, AF_INET)?,
        };
        let reason = match found {
            Some(mark) if mark & MARK_MASK == TUNNEL_MARK => continue,
            Some(mark) => NoListenerReason::Foreign { mark },
            None => NoListenerReason::Missing,
        };
        missing.push(NoListener { port, reason });
    }
    Ok(missing)
}

/// The mark of the listener that a connection to the port would get.
fn ask(socket: &Socket, port: u16, family: u8) -> Result<Option<u32>, ListenersError> {
    socket
        .send(&request(port, family), 0)
        .map_err(ListenersError::Ask)?;
    let (answer, _) = socket.recv_from_full().map_err(ListenersError::Ask)?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer)
        .map_err(|error| ListenersError::Malformed(error.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            Ok(mark_of_listener(&found))
        }
        NetlinkPayload::Error(error) if error.raw_code() == -ENOENT => Ok(None),
        NetlinkPayload::Error(error) => Err(ListenersError::Refused {
            port,
            source: error.to_io(),
        }),
        other => Err(ListenersError::Malformed(format!("{other:?}"))),
    }
}

/// The kernel tells the mark to who has `CAP_NET_ADMIN` (`inet_diag_msg_attrs_fill`), and leaves it
/// out of the answer for anybody else.
fn mark_of_listener(found: &InetResponse) -> Option<u32> {
    let mark = found.nlas.iter().find_map(|attribute| match attribute {
        Nla::Mark(mark) => Some(*mark),
        _ => None,
    });
    (found.header.state == TCP_LISTEN).then_some(mark.unwrap_or(0))
}

fn request(port: u16, family: u8) -> Vec<u8> {
    let mut socket_id = match family {
        AF_INET => SocketId::new_v4(),
        _ => SocketId::new_v6(),
    };
    socket_id.source_port = port;
    // Any; zeros would be a cookie.
    socket_id.cookie = [0xff; 8];
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.message_type = SOCK_DIAG_BY_FAMILY;
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

impl std::fmt::Display for NoListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { port, reason } = self;
        match reason {
            NoListenerReason::Missing => write!(f, "the tunnel does not listen on {port}"),
            NoListenerReason::Foreign { mark } => {
                write!(
                    f,
                    "who listens on {port} (mark {mark:#x}) is not the tunnel"
                )
            }
        }
    }
}
