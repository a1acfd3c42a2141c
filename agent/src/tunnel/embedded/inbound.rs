//! From other nodes, and from outside the mesh, to the application.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use waysteer_common::abi::names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};
use waysteer_hbone::copy::{self, Leg};
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::refusal::Refusal;
use waysteer_hbone::server::{Handler, Outcome, Request, Server, ServerConfiguration};

use super::dial;
use super::pod::{Context, ends};
use crate::address::to_wire;

/// The pod ends its connections when it has waited long enough, see [`super::pod`].
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The HBONE server of one pod; made again should the pod's identity change.
pub(super) struct Servers {
    context: Context,
    current: Mutex<Option<(SpiffeId, Arc<Server<ToApplication>>)>>,
}

/// Dials the application for HBONE clients.
pub(super) struct ToApplication {
    context: Context,
}

impl Servers {
    pub(super) fn new(context: Context) -> Self {
        Self {
            context,
            current: Mutex::default(),
        }
    }

    /// `None` until the source knows who the pod is.
    fn server(&self) -> Option<Arc<Server<ToApplication>>> {
        let view = &self.context.shared.view;
        let identity = view.identity(self.context.netns)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, server)) = &*current
            && *of == identity
        {
            return Some(server.clone());
        }
        let server = Arc::new(Server::new(
            ServerConfiguration {
                drain_timeout: NEVER,
                ..ServerConfiguration::default()
            },
            self.context.shared.certs.clone(),
            identity.clone(),
            Arc::new(ToApplication {
                context: self.context.clone(),
            }),
        ));
        *current = Some((identity, server.clone()));
        Some(server)
    }
}

pub(super) async fn serve_hbone(context: Context, stream: TcpStream, servers: Arc<Servers>) {
    let Some(server) = servers.server() else {
        context.shared.stats.inbound_refused.increment();
        tracing::debug!(
            netns = context.netns,
            "inbound HBONE refused: the pod is not known yet"
        );
        return;
    };
    if let Err(error) = server.serve(stream, &context.closing).await {
        context.shared.stats.inbound_failed.increment();
        let error: &dyn std::error::Error = &error;
        tracing::debug!(
            error,
            netns = context.netns,
            "inbound HBONE connection ended"
        );
    }
}

impl Handler for ToApplication {
    type Upstream = TcpStream;

    async fn connect(&self, request: &Request) -> Result<TcpStream, Refusal> {
        let to = request.destination().ok_or(Refusal::BadAuthority)?;
        let client = request.peer_addr.ip().to_canonical();
        match dial_application(&self.context, to, client).await {
            Ok(upstream) => {
                self.context.shared.stats.inbound_hbone.increment();
                Ok(upstream)
            }
            Err(refusal) => {
                self.context.shared.stats.inbound_refused.increment();
                Err(refusal)
            }
        }
    }

    fn finished(&self, request: &Request, outcome: Outcome) {
        if let Outcome::Copied(copied) = &outcome {
            self.context.shared.stats.bytes_received.add(copied.sent);
            self.context.shared.stats.bytes_sent.add(copied.received);
        }
        let Request {
            peer,
            peer_addr,
            authority,
            ..
        } = request;
        tracing::trace!(%peer, %peer_addr, authority, ?outcome, "inbound tunnel ended");
    }
}

pub(super) async fn serve_plaintext(context: Context, mut stream: TcpStream) {
    let Ok((client, dialled)) = ends(&stream) else {
        return;
    };
    match dial_application(&context, dialled, client.ip()).await {
        Ok(upstream) => {
            context.shared.stats.inbound_plain.increment();
            let copied = copy::copy(stream, upstream).await;
            context.shared.stats.bytes_received.add(copied.sent);
            context.shared.stats.bytes_sent.add(copied.received);
        }
        Err(refusal) => {
            context.shared.stats.inbound_refused.increment();
            tracing::debug!(%client, %dialled, %refusal, "inbound plaintext refused");
            stream.abort();
        }
    }
}

/// Connects to the application from the client's address.
async fn dial_application(
    context: &Context,
    to: SocketAddr,
    client: IpAddr,
) -> Result<TcpStream, Refusal> {
    let to = SocketAddr::new(to.ip().to_canonical(), to.port());
    let own = [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT];
    let view = &context.shared.view;
    if own.contains(&to.port()) || !view.is_address_of(context.netns, to_wire(to.ip())) {
        return Err(Refusal::BadAuthority);
    }
    // This tunnel evaluates no policy, so whoever is subject to one is not let in.
    if view.has_policy(to_wire(to.ip())) {
        return Err(Refusal::Denied);
    }
    dial::plain(&context.shared.workshop, context.netns, to, Some(client))
        .await
        .map_err(|error| {
            tracing::debug!(%error, %to, %client, "the application cannot be reached");
            Refusal::Unavailable
        })
}
