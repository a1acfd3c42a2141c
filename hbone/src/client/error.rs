//! Why a tunnel could not be opened.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::certs::CertError;
use crate::refusal::Refusal;
use crate::tls::{PeerError, TlsConfigError};

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{authority:?} is not an authority for CONNECT: expected IP:port or host:port")]
    Authority { authority: String },
    #[error("no certificate to present")]
    Credentials(#[source] CertError),
    /// Shared by all requests that waited for this connection.
    #[error(transparent)]
    Dial(Arc<DialError>),
    #[error("CONNECT {authority} was refused: {refusal}")]
    Refused { authority: String, refusal: Refusal },
    #[error("HTTP/2 to {next_hop} failed")]
    Http2 {
        next_hop: SocketAddr,
        #[source]
        source: h2::Error,
    },
    #[error("{next_hop} did not answer CONNECT {authority} in time")]
    NoAnswer {
        next_hop: SocketAddr,
        authority: String,
    },
    #[error("all {max} connections of the pool are in use")]
    Exhausted { max: usize },
    #[error("the pool is closed")]
    Closed,
}

/// Why a connection to a next hop could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("connecting to {next_hop}")]
    Tcp {
        next_hop: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{next_hop} is not who was expected: {source}")]
    Peer {
        next_hop: SocketAddr,
        #[source]
        source: PeerError,
    },
    #[error("TLS with {next_hop}")]
    Tls {
        next_hop: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{next_hop} does not speak HTTP/2 over TLS")]
    NoHttp2 { next_hop: SocketAddr },
    #[error("starting HTTP/2 with {next_hop}")]
    Http2 {
        next_hop: SocketAddr,
        #[source]
        source: h2::Error,
    },
    #[error("{next_hop} did not complete the handshake within {limit:?}")]
    Timeout {
        next_hop: SocketAddr,
        limit: Duration,
    },
    #[error("preparing TLS")]
    Config(#[source] TlsConfigError),
}

impl ConnectError {
    /// The server's answer, where it gave one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            Self::Authority { .. }
            | Self::Credentials(_)
            | Self::Dial(_)
            | Self::Http2 { .. }
            | Self::NoAnswer { .. }
            | Self::Exhausted { .. }
            | Self::Closed => None,
        }
    }
}
