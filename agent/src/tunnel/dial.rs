//! Connections that the tunnel makes from a pod's netns.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use waysteer_hbone::client::Dial;

use super::sockets::{self, Workshop};

/// Dials next hops for the pool; the pool's scope is the pod's netns cookie.
pub(super) struct PodDialer {
    workshop: Workshop,
}

impl PodDialer {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self { workshop }
    }
}

impl Dial for PodDialer {
    async fn dial(&self, scope: u64, next_hop: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .workshop
            .in_pod(scope, move || sockets::dialling(next_hop, None))
            .await?;
        sockets::connect(socket, next_hop).await
    }
}

/// Dials a destination in plain TCP.
pub(super) async fn plain(
    workshop: &Workshop,
    netns: u64,
    to: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<TcpStream> {
    /// As long as a client would wait that sends its SYN five times.
    const PATIENCE: Duration = Duration::from_secs(32);
    // A client of the other family cannot be stood in for.
    let source = source.filter(|source| source.is_ipv4() == to.is_ipv4());
    let socket = workshop
        .in_pod(netns, move || sockets::dialling(to, source))
        .await?;
    match timeout(PATIENCE, sockets::connect(socket, to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
