//! From nothing to an HTTP/2 connection with a verified peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Dial, DialError, PoolConfig, PoolKey};
use crate::certs::Credentials;
use crate::tls::{ALPN_H2, client_config, verifier_reason};

pub(super) type Http2 = Connection<TlsStream<TcpStream>, Bytes>;

pub(super) struct Parts {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) http2: Http2,
    pub(super) credentials: Arc<Credentials>,
}

pub(super) async fn dial<D: Dial>(
    dial: &D,
    config: &PoolConfig,
    key: &PoolKey,
    credentials: &Arc<Credentials>,
) -> Result<Parts, DialError> {
    let limit = config.handshake_timeout;
    timeout(limit, handshake(dial, config, key, credentials))
        .await
        .unwrap_or(Err(DialError::Timeout {
            next_hop: key.next_hop,
            limit,
        }))
}

async fn handshake<D: Dial>(
    dial: &D,
    config: &PoolConfig,
    key: &PoolKey,
    credentials: &Arc<Credentials>,
) -> Result<Parts, DialError> {
    let next_hop = key.next_hop;
    let tls = client_config(credentials, key.expected.clone()).map_err(DialError::Config)?;
    let tcp_failed = |source| DialError::Tcp { next_hop, source };
    let tcp = dial.dial(key.scope, next_hop).await.map_err(tcp_failed)?;
    // Frames are written whole; waiting for more only delays them.
    tcp.set_nodelay(true).map_err(tcp_failed)?;
    // An address as server name sends no SNI: nothing on the wire names the destination.
    let name = ServerName::IpAddress(next_hop.ip().into());
    let tls = TlsConnector::from(Arc::new(tls))
        .connect(name, tcp)
        .await
        .map_err(|source| tls_error(next_hop, source))?;
    if tls.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(DialError::NoHttp2 { next_hop });
    }
    let (sender, http2) = config
        .windows
        .client()
        .handshake(tls)
        .await
        .map_err(|source| DialError::Http2 { next_hop, source })?;
    Ok(Parts {
        sender,
        http2,
        credentials: credentials.clone(),
    })
}

fn tls_error(next_hop: SocketAddr, source: io::Error) -> DialError {
    match verifier_reason(&source) {
        Some(source) => DialError::Peer { next_hop, source },
        None => DialError::Tls { next_hop, source },
    }
}
