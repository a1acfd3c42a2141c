//! The client: CONNECT streams over pooled connections.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, Uri};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::certs::{CertSource, Credentials};
use crate::identity::SpiffeId;
use crate::stream::HboneStream;
use crate::window::Windows;

use connection::{Connection, Lease};
use request::RequestError;
use shared::Shared;

pub use error::{ConnectError, DialError};

mod connection;
mod dial;
mod driver;
mod error;
mod request;
mod shared;

/// What connections may be shared by: only requests with the same key use the same connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Whom we present ourselves as.
    pub local: SpiffeId,
    /// The waypoint's, workload's or gateway's HBONE address.
    pub next_hop: SocketAddr,
    /// Who may answer there.
    pub expected: Arc<BTreeSet<SpiffeId>>,
    /// Opaque; the cookie of the network namespace that the connection is made in.
    pub scope: u64,
}

/// Makes the TCP connections: where the socket lives and what it is marked with is not known here.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `next_hop` from within `scope`, both as they stand in the [`PoolKey`].
    fn dial(
        &self,
        scope: u64,
        next_hop: SocketAddr,
    ) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    pub windows: Windows,
    /// Connections of the whole pool; when all are in use, further requests fail.
    pub max_connections: usize,
    /// A connection without streams is closed after this time.
    pub idle_timeout: Duration,
    /// For dialling and the TLS handshake together.
    pub handshake_timeout: Duration,
    /// From the CONNECT to its answer, which includes the peer's own dialling.
    pub response_timeout: Duration,
    /// A connection is given up when a PING, sent this often, stays unanswered for twice as long.
    pub keepalive: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            windows: Windows::default(),
            max_connections: 4096,
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
        }
    }
}

/// Opens HBONE streams, over connections that it keeps and shares.
///
/// - The first requests for a key wait for one connection instead of making one each; if it
///   cannot be made, all of them fail with the same error.
/// - A connection takes as many streams as its peer and [`Windows::streams`] allow; then another
///   is made.
/// - A request that the peer surely did not process (GOAWAY below its stream, REFUSED_STREAM, or
///   a connection that ended before it was sent) is sent once more, on another connection.
/// - After the credentials were renewed new streams use new connections.
/// - Dropping the pool closes idle connections; streams that are open live on.
#[derive(Debug)]
pub struct Pool<D> {
    dial: D,
    shared: Arc<Shared>,
}

impl<D: Dial> Pool<D> {
    pub fn new(config: PoolConfig, certs: Arc<dyn CertSource>, dial: D) -> Self {
        Self {
            dial,
            shared: Arc::new(Shared::new(config, certs)),
        }
    }

    /// Opens a tunnel to `authority` (`IP:port` or `host:port`) through the key's next hop.
    pub async fn connect(
        &self,
        key: &PoolKey,
        authority: &str,
        headers: HeaderMap,
    ) -> Result<HboneStream, ConnectError> {
        let uri = connect_uri(authority)?;
        let credentials = self
            .shared
            .certs
            .certificate(&key.local)
            .map_err(ConnectError::Credentials)?;
        let mut avoid = None;
        loop {
            let lease = self.lease(key, &credentials, avoid.as_ref()).await?;
            let used = lease.connection().clone();
            let answer = request::send(lease, uri.clone(), headers.clone());
            let error = match timeout(self.shared.config.response_timeout, answer).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(ConnectError::NoAnswer {
                        next_hop: key.next_hop,
                        authority: authority.into(),
                    });
                }
            };
            match error {
                RequestError::Refused(refusal) => {
                    return Err(ConnectError::Refused {
                        authority: authority.into(),
                        refusal,
                    });
                }
                RequestError::Unprocessed(source) if avoid.is_none() => {
                    tracing::debug!(next_hop = %key.next_hop, %source, "sending the request again");
                    avoid = Some(used);
                }
                RequestError::Unprocessed(source) | RequestError::Failed(source) => {
                    return Err(ConnectError::Http2 {
                        next_hop: key.next_hop,
                        source,
                    });
                }
            }
        }
    }

    /// Connections that exist now, idle ones included.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Connections of this scope take no more streams: idle ones close now, the others when their
    /// streams end.
    pub fn retire(&self, scope: u64) {
        self.shared.retire(scope);
    }

    /// Closes the pool: idle connections at once, the others when their streams end, but no later
    /// than after `deadline`. Requests made from now on fail.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shared.close();
        if timeout(deadline, self.shared.drivers.wait()).await.is_err() {
            self.shared.kill.cancel();
            self.shared.drivers.wait().await;
        }
    }

    /// A place on a connection: an existing one's, or a new one's.
    async fn lease(
        &self,
        key: &PoolKey,
        credentials: &Arc<Credentials>,
        avoid: Option<&Arc<Connection>>,
    ) -> Result<Lease, ConnectError> {
        let entry = self.shared.entry(key);
        if let Some(lease) = entry.acquire(credentials, avoid) {
            return Ok(lease);
        }
        let attempts_seen = entry.failures();
        // Whoever dials holds this lock until the connection takes streams.
        let turn = entry.dialling.clone().lock_owned().await;
        if let Some(lease) = entry.acquire(credentials, avoid) {
            return Ok(lease);
        }
        if let Some(error) = entry.failure_since(attempts_seen) {
            return Err(ConnectError::Dial(error));
        }
        let permit = self.shared.permit().await?;
        match dial::dial(&self.dial, &self.shared.config, key, credentials).await {
            Ok(parts) => driver::start(&self.shared, entry, parts, permit, turn),
            Err(error) => {
                let error = Arc::new(error);
                entry.record_failure(error.clone());
                Err(ConnectError::Dial(error))
            }
        }
    }
}

impl<D> Drop for Pool<D> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

fn connect_uri(authority: &str) -> Result<Uri, ConnectError> {
    let invalid = || ConnectError::Authority {
        authority: authority.into(),
    };
    let parsed: Authority = authority.parse().map_err(|_| invalid())?;
    if parsed.port_u16().is_none() || authority.contains('@') {
        return Err(invalid());
    }
    Uri::builder()
        .authority(parsed)
        .build()
        .map_err(|_| invalid())
}
