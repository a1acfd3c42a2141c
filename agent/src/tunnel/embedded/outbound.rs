//! From the application to the next hop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use waysteer_common::abi::names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};
use waysteer_common::verdict::{Class, Reason, Verdict};
use waysteer_hbone::client::{ConnectError, PoolKey};
use waysteer_hbone::copy::{self, Copied, Leg};
use waysteer_hbone::stream::HboneStream;

use super::dial;
use super::pod::{Context, ends};
use crate::address::{socket_from_wire, to_wire};

#[derive(Debug, thiserror::Error)]
enum OutboundError {
    #[error("the connection is gone already")]
    Gone(#[source] std::io::Error),
    #[error("it was made to the tunnel itself")]
    NotSteered,
    #[error("the pod is not enrolled")]
    NotEnrolled,
    #[error("no next hop is known: {}", .0.label())]
    NoNextHop(Reason),
    #[error("the pod's own identity is not known")]
    NoIdentity,
    #[error("nobody is known who may answer at {0}")]
    NobodyExpected(SocketAddr),
    #[error("dialling {to}")]
    Dial {
        to: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Hbone(#[from] ConnectError),
}

pub(super) async fn serve(context: Context, mut stream: TcpStream) {
    let stats = &context.shared.stats;
    // The application sees a reset, not a clean end, whatever ends this task before there is
    // another side: after a clean end it could write on, in plaintext once the pod is let go.
    stream.abort();
    match upstream(&context, &stream).await {
        Ok(upstream) => {
            if let Err(error) = SockRef::from(&stream).set_linger(None) {
                tracing::debug!(%error, "a connection will end with a reset");
            }
            let copied = match upstream {
                Upstream::Hbone(tunnel) => {
                    stats.outbound_hbone.increment();
                    copy::copy(stream, tunnel).await
                }
                Upstream::Plain(upstream) => {
                    stats.outbound_plain.increment();
                    copy::copy(stream, upstream).await
                }
            };
            count(&context, copied);
        }
        Err(error) => {
            match error {
                OutboundError::Dial { .. } | OutboundError::Hbone(_) => {
                    stats.outbound_failed.increment();
                }
                _ => stats.outbound_refused.increment(),
            }
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, netns = context.netns, "outbound connection refused");
        }
    }
}

enum Upstream {
    Hbone(HboneStream),
    Plain(TcpStream),
}

async fn upstream(context: &Context, stream: &TcpStream) -> Result<Upstream, OutboundError> {
    let (client, dialled) = ends(stream).map_err(OutboundError::Gone)?;
    let own = [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT];
    let view = &context.shared.view;
    let to_itself =
        dialled.ip().is_loopback() || view.is_address_of(context.netns, to_wire(dialled.ip()));
    if to_itself && own.contains(&dialled.port()) {
        return Err(OutboundError::NotSteered);
    }
    let verdict = verdict(context, client, dialled).await?;
    let next_hop = verdict.next_hop;
    let to = socket_from_wire(next_hop.address, next_hop.port)
        .ok_or(OutboundError::NoNextHop(verdict.reason))?;
    if next_hop.hbone {
        return open_hbone(context, &verdict, client, to)
            .await
            .map(Upstream::Hbone);
    }
    match dial::plain(&context.shared.workshop, context.netns, to, None).await {
        Ok(upstream) => Ok(Upstream::Plain(upstream)),
        Err(source) => Err(OutboundError::Dial { to, source }),
    }
}

fn count(context: &Context, copied: Copied) {
    context.shared.stats.bytes_sent.add(copied.sent);
    context.shared.stats.bytes_received.add(copied.received);
    tracing::trace!(?copied, netns = context.netns, "outbound connection ended");
}

async fn open_hbone(
    context: &Context,
    verdict: &Verdict,
    client: SocketAddr,
    to: SocketAddr,
) -> Result<HboneStream, OutboundError> {
    let view = &context.shared.view;
    let local = view
        .identity(context.netns)
        .ok_or(OutboundError::NoIdentity)?;
    let expected: BTreeSet<_> = view.expected(verdict).into_iter().collect();
    if expected.is_empty() {
        return Err(OutboundError::NobodyExpected(to));
    }
    let next_hop = verdict.next_hop;
    let authority = socket_from_wire(next_hop.authority, next_hop.authority_port)
        .ok_or(OutboundError::NoNextHop(verdict.reason))?;
    let key = PoolKey {
        local,
        next_hop: to,
        expected: Arc::new(expected),
        scope: context.netns,
    };
    let mut headers = HeaderMap::new();
    if let Ok(forwarded) = HeaderValue::from_str(&format!("for=\"{client}\"")) {
        headers.insert(header::FORWARDED, forwarded);
    }
    let mut tunnel = context
        .shared
        .pool
        .connect(&key, &authority.to_string(), headers)
        .await?;
    if verdict.class == Class::ToServerWaypoint {
        // Envoy ends a tunnel that its HTTP server closed with RST_STREAM(CONNECT_ERROR).
        tunnel.take_connect_error_for_end();
    }
    Ok(tunnel)
}

/// The kernel's verdict for this very connection. Where it is not in the map it is made again,
/// by the same code over the same tables; if it names nothing to do yet, the connection is held.
async fn verdict(
    context: &Context,
    client: SocketAddr,
    dialled: SocketAddr,
) -> Result<Verdict, OutboundError> {
    if let Some(verdict) = context.verdicts.verdict(client, dialled)
        && patience(verdict.reason).is_none()
    {
        return Ok(verdict);
    }
    context.shared.stats.outbound_reclassified.increment();
    let accepted = Instant::now();
    let destination = to_wire(dialled.ip());
    let view = &context.shared.view;
    let mut changes = view.changes();
    loop {
        // First, so that what changes from now on is heard of.
        changes.mark_unchanged();
        let random = rand::random::<u32>;
        let verdict = view.classify(context.netns, destination, dialled.port(), random);
        let patience = match verdict {
            // The pod's enrolment is not finished.
            None => Duration::from_secs(5),
            Some(verdict) => match patience(verdict.reason) {
                Some(patience) => patience,
                None => return Ok(verdict),
            },
        };
        let changed = timeout_at(accepted + patience, changes.changed()).await;
        if !matches!(changed, Ok(Ok(()))) {
            return verdict.ok_or(OutboundError::NotEnrolled);
        }
    }
}

/// How long a flow is held because the source may only not have said enough yet; `None` where the
/// verdict stands. The application sees an open connection meanwhile, so it is not for ever.
fn patience(reason: Reason) -> Option<Duration> {
    match reason {
        // The agent, or the pod, has just started.
        Reason::NotSynced | Reason::SourceUnknown => Some(Duration::from_secs(60)),
        // The other half of a change is on its way, or will never come.
        Reason::Invalid
        | Reason::WaypointUnresolved
        | Reason::UnknownInMesh
        | Reason::UnknownIncomplete => Some(Duration::from_secs(5)),
        Reason::OwnAddress
        | Reason::ServiceWaypoint
        | Reason::WorkloadWaypoint
        | Reason::ServicePassthrough
        | Reason::NoEndpoint
        | Reason::NoPort
        | Reason::ServicePlain
        | Reason::ServiceMixed
        | Reason::ServiceHbone
        | Reason::ServiceLocal
        | Reason::ServiceLocalBypass
        | Reason::WorkloadHbone
        | Reason::WorkloadPlain
        | Reason::LocalBypass
        | Reason::LocalTunnel
        | Reason::LocalPolicy
        | Reason::LocalNotEvaluated
        | Reason::LocalNotEnrolled
        | Reason::LocalTunnelled
        | Reason::Unknown
        | Reason::RemoteNetwork
        | Reason::EndpointUnresolved => None,
    }
}
