//! Connections that the tunnel makes from a pod's netns.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use waysteer_hbone::client::Dial;

use super::sockets::{self, Workshop};

/// As long as a client would wait that sends its SYN five times.
const PATIENCE: Duration = Duration::from_secs(32);
/// When a client would send it for the second time.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// The times that the kernel may say that a source port is in use for the same destination.
const TRIES: u32 = 8;

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
    // A client of the other family cannot be stood in for.
    let source = source.filter(|source| source.is_ipv4() == to.is_ipv4());
    let deadline = Instant::now() + PATIENCE;
    let mut tries = 0;
    loop {
        let socket = workshop
            .in_pod(netns, move || sockets::dialling(to, source))
            .await?;
        // From a client's address another port may be the better one.
        let answer = SYN_AGAIN.saturating_mul(1 << tries);
        let until = match source {
            Some(_) => deadline.min(Instant::now() + answer),
            None => deadline,
        };
        tries += 1;
        match timeout_at(until, sockets::connect(socket, to)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::AddrNotAvailable && tries < TRIES => {}
            Ok(connected) => return connected,
            Err(_) if until == deadline => return Err(ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
    }
}
