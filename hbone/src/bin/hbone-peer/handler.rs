//! What this peer does with a CONNECT.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::bail;
use http::HeaderMap;
use serde_json::json;
use tokio::net::TcpStream;
use waysteer_hbone::certs::CertSource;
use waysteer_hbone::client::{ConnectError, Dial, Pool, PoolConfig, PoolKey};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::refusal::Refusal;
use waysteer_hbone::server::{Handler, Outcome, Request};

use crate::args::{Mode, ServeArgs};
use crate::upstream::Upstream;
use crate::{print_line, socket};

#[derive(Debug)]
pub(crate) struct Peer {
    allow: Vec<SpiffeId>,
    map_to: Option<IpAddr>,
    transparent: bool,
    mark: Option<u32>,
    /// The next tunnel, where this is a stop on the way.
    onward: Option<(Pool<MarkedDial>, PoolKey)>,
}

#[derive(Debug)]
struct MarkedDial {
    mark: Option<u32>,
}

impl Dial for MarkedDial {
    async fn dial(&self, _scope: u64, next_hop: SocketAddr) -> io::Result<TcpStream> {
        socket::dial(next_hop, None, self.mark).await
    }
}

impl Peer {
    pub(crate) fn new(
        args: &ServeArgs,
        certs: Arc<dyn CertSource>,
        identity: SpiffeId,
    ) -> anyhow::Result<Self> {
        let onward = match (args.mode, args.next_hop) {
            (Mode::Node, Some(_)) => bail!("--next-hop needs --mode waypoint"),
            (Mode::Node | Mode::Waypoint, None) => None,
            (Mode::Waypoint, Some(next_hop)) => {
                let dial = MarkedDial { mark: args.mark };
                let key = PoolKey {
                    local: identity,
                    next_hop,
                    expected: Arc::new(args.expect.iter().cloned().collect()),
                    scope: 0,
                };
                Some((Pool::new(PoolConfig::default(), certs, dial), key))
            }
        };
        Ok(Self {
            allow: args.allow.clone(),
            map_to: args.map_to,
            transparent: args.transparent,
            mark: args.mark,
            onward,
        })
    }

    /// The authority, mapped if asked to.
    fn destination(&self, request: &Request) -> Option<SocketAddr> {
        let destination = request.destination()?;
        let ip = self.map_to.unwrap_or(destination.ip());
        Some(SocketAddr::new(ip, destination.port()))
    }

    async fn dial_application(&self, request: &Request) -> Result<Upstream, Refusal> {
        let destination = self.destination(request).ok_or(Refusal::BadAuthority)?;
        let source = self.transparent.then_some(request.peer_addr.ip());
        match socket::dial(destination, source, self.mark).await {
            Ok(tcp) => {
                // The application's own segmentation was lost on the way; waiting only delays.
                let _ = tcp.set_nodelay(true);
                Ok(Upstream::Tcp(tcp))
            }
            Err(error) => {
                tracing::info!(%destination, ?source, %error, "the application cannot be reached");
                Err(Refusal::Unavailable)
            }
        }
    }
}

impl Handler for Peer {
    type Upstream = Upstream;

    async fn connect(&self, request: &Request) -> Result<Upstream, Refusal> {
        if !self.allow.is_empty() && !self.allow.contains(&request.peer) {
            return Err(Refusal::Denied);
        }
        let Some((pool, key)) = &self.onward else {
            return self.dial_application(request).await;
        };
        let mut headers = HeaderMap::new();
        for name in ["baggage", "forwarded", "traceparent"] {
            if let Some(value) = request.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
        let authority = match self.destination(request) {
            Some(destination) => destination.to_string(),
            None => request.authority.clone(),
        };
        match pool.connect(key, &authority, headers).await {
            Ok(stream) => Ok(Upstream::Tunnel(stream)),
            Err(error) => {
                let refusal = match &error {
                    ConnectError::Authority { .. } => Refusal::BadAuthority,
                    other => other.refusal().unwrap_or(Refusal::Unavailable),
                };
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::info!(authority = request.authority, error, "the next hop failed");
                Err(refusal)
            }
        }
    }

    fn finished(&self, request: &Request, outcome: Outcome) {
        let (status, sent, received, error) = match outcome {
            Outcome::Refused(refusal) => (refusal.status().as_u16(), 0, 0, None),
            // What nginx logs for a client that went away.
            Outcome::Abandoned => (499, 0, 0, None),
            Outcome::Copied(copied) => {
                let error = copied.end.err().map(anyhow::Error::from);
                let error = error.map(|error| format!("{error:#}"));
                (200, copied.sent, copied.received, error)
            }
        };
        print_line(&json!({
            "event": "connect",
            "peer": request.peer.as_str(),
            "peer_address": request.peer_addr,
            "local_address": request.local_addr,
            "authority": request.authority,
            "status": status,
            "bytes_in": sent,
            "bytes_out": received,
            "error": error,
        }));
    }
}
