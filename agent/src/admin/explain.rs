//! What the kernel would do with a connection, or has done.

use std::net::SocketAddr;

use axum::extract::{Query, State as AxumState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use waysteer_common::verdict::{Hook, Verdict};

use super::destination::Destination;
use super::names::Known;
use super::{Shared, Sources};
use crate::error::chain;
use crate::events::describe;
use crate::explain::{Connection, Explained, met};
use crate::kernel::observe::ObserveError;
use crate::names::pods::find;
use crate::state::PodStatus;

#[derive(Debug, Deserialize)]
pub(super) struct ExplainQuery {
    /// `namespace/name`, a uid, or a name that is there once.
    pod: String,
    /// An address or a name, with or without a port.
    destination: String,
    /// Of a connection that is open.
    from_port: Option<u16>,
}

/// Runs the classifier in the kernel.
pub(super) async fn explain(
    AxumState(sources): Shared,
    Query(query): Query<ExplainQuery>,
) -> Response {
    answer(&sources, &query).unwrap_or_else(|(status, text)| {
        let text = format!("{text}\n");
        (status, text).into_response()
    })
}

type Refusal = (StatusCode, String);

fn answer(sources: &Sources, query: &ExplainQuery) -> Result<Response, Refusal> {
    let pods = sources.state.pods();
    let pod = find(&pods, &query.pod);
    let pod = pod.map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?;
    let netns = pod.cookie.ok_or_else(|| {
        let PodStatus {
            namespace, name, ..
        } = pod;
        let text = format!("pod {namespace}/{name} is not enrolled yet: see waysteer status");
        (StatusCode::NOT_FOUND, text)
    })?;
    let known = Known(&sources.view);
    let found = Destination::find(&query.destination, &known, &pod.namespace, &pod.addresses);
    let Destination {
        address,
        understood,
    } = found.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let failed = |error: &dyn std::error::Error| (StatusCode::INTERNAL_SERVER_ERROR, chain(error));
    let explained = sources.explainer.why(netns, address.ip(), address.port());
    let explained = explained.map_err(|error| failed(&error))?.ok_or_else(|| {
        let text = format!(
            "the kernel does not know pod {}: see waysteer status {}",
            query.pod, query.pod
        );
        (StatusCode::NOT_FOUND, text)
    })?;
    let remembered = query
        .from_port
        .map(|port| remembered(sources, pod, netns, port, address));
    let remembered = remembered.transpose().map_err(|error| failed(&error))?;
    let verdict = remembered.flatten().unwrap_or(explained.verdict);
    let to = (crate::address::to_wire(address.ip()), address.port());
    let mut flow = describe(&sources.view, 0, Hook::Explain, netns, to, &verdict);
    flow.pod = format!("{}/{}", pod.namespace, pod.name);
    let explained = Explained {
        flow,
        connection: query.from_port.map(|from_port| Connection {
            from_port,
            remembered: remembered.flatten().is_some(),
        }),
        understood,
        met: met(&explained.met, &known),
    };
    Ok(Json(explained).into_response())
}

/// The verdict of an open connection of the pod, if the kernel still has it.
fn remembered(
    sources: &Sources,
    pod: &PodStatus,
    netns: u64,
    from_port: u16,
    to: SocketAddr,
) -> Result<Option<Verdict>, ObserveError> {
    for address in &pod.addresses {
        let from = SocketAddr::new(*address, from_port);
        if let Some(verdict) = sources.connections.of_connection(netns, from, to)? {
            return Ok(Some(verdict));
        }
    }
    Ok(None)
}
