//! Why a connection could not be served.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::certs::CertError;
use crate::tls::{PeerError, TlsConfigError};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("setting up the accepted socket")]
    Socket(#[source] io::Error),
    #[error("no certificate to present")]
    Credentials(#[source] CertError),
    #[error("preparing TLS")]
    Config(#[source] TlsConfigError),
    #[error("TLS with {peer_addr}")]
    Tls {
        peer_addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{peer_addr} has no usable identity")]
    Peer {
        peer_addr: SocketAddr,
        #[source]
        source: PeerError,
    },
    #[error("{peer_addr} does not speak HTTP/2 over TLS")]
    NoHttp2 { peer_addr: SocketAddr },
    #[error("HTTP/2 with {peer_addr}")]
    Http2 {
        peer_addr: SocketAddr,
        #[source]
        source: h2::Error,
    },
    #[error("{peer_addr} did not complete the handshake within {limit:?}")]
    Timeout {
        peer_addr: SocketAddr,
        limit: Duration,
    },
}
