//! The server: accepts HBONE on a TCP connection and hands each CONNECT to a handler.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::certs::{CertSource, Credentials};
use crate::copy::{Copied, Leg};
use crate::identity::SpiffeId;
use crate::refusal::Refusal;
use crate::tls::{ALPN_H2, peer_identity, server_config, verifier_reason};
use crate::window::Windows;

pub use error::ServeError;

mod connection;
mod error;
mod tunnel;

/// One CONNECT.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks, by the certificate of the connection.
    pub peer: SpiffeId,
    pub peer_addr: SocketAddr,
    /// The address that the connection was accepted on.
    pub local_addr: SocketAddr,
    /// The original destination, as it was sent.
    pub authority: String,
    pub headers: HeaderMap,
}

impl Request {
    /// The authority, where it is an address and a port.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.authority.parse().ok()
    }
}

/// Decides about a CONNECT and opens what is behind it.
pub trait Handler: Send + Sync + 'static {
    /// What the tunnel is connected to: a TCP connection, or another tunnel.
    type Upstream: Leg + 'static;

    /// Dropped unfinished when the client gives up.
    fn connect(
        &self,
        request: &Request,
    ) -> impl Future<Output = Result<Self::Upstream, Refusal>> + Send;

    /// Told of every CONNECT once, when all is over.
    fn finished(&self, request: &Request, outcome: Outcome) {
        let _ = (request, outcome);
    }
}

/// What became of a CONNECT.
#[derive(Debug)]
pub enum Outcome {
    Refused(Refusal),
    /// The client gave up before it was answered.
    Abandoned,
    /// It was answered with 200. [`Copied::sent`] counts what the client sent.
    Copied(Copied),
}

#[derive(Debug, Clone, Copy)]
pub struct ServerConfiguration {
    pub windows: Windows,
    /// For the TLS and HTTP/2 handshakes together.
    pub handshake_timeout: Duration,
    /// What open tunnels get, after a shutdown was asked for, until they are reset.
    pub drain_timeout: Duration,
    /// A silent peer is probed by TCP this often; PINGs are the client's (see
    /// [`window`](crate::window)).
    pub keepalive: Duration,
}

impl Default for ServerConfiguration {
    fn default() -> Self {
        Self {
            windows: Windows::default(),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(30),
        }
    }
}

/// Serves HBONE as one identity. Cheap to share: one for all connections of a listener.
pub struct Server<H> {
    config: ServerConfiguration,
    identity: SpiffeId,
    certs: Arc<dyn CertSource>,
    handler: Arc<H>,
    /// The TLS configuration, made from these credentials and again when there are newer ones.
    tls: Mutex<Option<(Arc<Credentials>, Arc<ServerConfig>)>>,
}

impl<H: Handler> Server<H> {
    pub fn new(
        config: ServerConfiguration,
        certs: Arc<dyn CertSource>,
        identity: SpiffeId,
        handler: Arc<H>,
    ) -> Self {
        Self {
            config,
            identity,
            certs,
            handler,
            tls: Mutex::default(),
        }
    }

    /// Serves one accepted connection until it ends and all its tunnels have ended.
    ///
    /// When `shutdown` is cancelled the client is told to go elsewhere (GOAWAY), and open tunnels
    /// get the drain timeout to end by themselves. Dropping the future resets them.
    pub async fn serve(
        &self,
        tcp: TcpStream,
        shutdown: &CancellationToken,
    ) -> Result<(), ServeError> {
        let peer_addr = tcp.peer_addr().map_err(ServeError::Socket)?;
        let local_addr = tcp.local_addr().map_err(ServeError::Socket)?;
        tcp.set_nodelay(true).map_err(ServeError::Socket)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(self.config.keepalive)
            .with_interval(self.config.keepalive);
        socket2::SockRef::from(&tcp)
            .set_tcp_keepalive(&keepalive)
            .map_err(ServeError::Socket)?;
        let limit = self.config.handshake_timeout;
        let handshake = async {
            let (tls, peer) = self.accept_tls(tcp, peer_addr).await?;
            let http2 = self.config.windows.server().handshake(tls).await;
            let http2 = http2.map_err(|source| ServeError::Http2 { peer_addr, source })?;
            Ok((http2, peer))
        };
        let (http2, peer) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            result = timeout(limit, handshake) => {
                result.unwrap_or(Err(ServeError::Timeout { peer_addr, limit }))?
            }
        };
        let template = Request {
            peer,
            peer_addr,
            local_addr,
            authority: String::new(),
            headers: HeaderMap::new(),
        };
        connection::serve(&self.config, &self.handler, template, http2, shutdown).await
    }

    async fn accept_tls(
        &self,
        tcp: TcpStream,
        peer_addr: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, SpiffeId), ServeError> {
        let tls = TlsAcceptor::from(self.tls_config()?)
            .accept(tcp)
            .await
            .map_err(|source| match verifier_reason(&source) {
                Some(source) => ServeError::Peer { peer_addr, source },
                None => ServeError::Tls { peer_addr, source },
            })?;
        let (_, session) = tls.get_ref();
        if session.alpn_protocol() != Some(ALPN_H2) {
            return Err(ServeError::NoHttp2 { peer_addr });
        }
        let peer = peer_identity(session.peer_certificates())
            .map_err(|source| ServeError::Peer { peer_addr, source })?;
        Ok((tls, peer))
    }

    fn tls_config(&self) -> Result<Arc<ServerConfig>, ServeError> {
        let credentials = self
            .certs
            .certificate(&self.identity)
            .map_err(ServeError::Credentials)?;
        let mut cached = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_from, config)) = &*cached
            && Arc::ptr_eq(made_from, &credentials)
        {
            return Ok(config.clone());
        }
        let config = Arc::new(server_config(&credentials).map_err(ServeError::Config)?);
        *cached = Some((credentials, config.clone()));
        Ok(config)
    }
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("identity", &self.identity)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
