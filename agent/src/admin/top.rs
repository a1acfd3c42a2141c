//! What `waysteer top` shows: counts, from which the reader makes rates.

use std::collections::BTreeMap;

use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

use super::{Shared, Sources};
use crate::error::chain;
use crate::kernel::observe::{ObserveError, Traffic};
use crate::state::{PodState, PodStatus, Tally};

#[derive(Debug, Serialize)]
struct Page {
    version: &'static str,
    node: String,
    synced: bool,
    pods_known: bool,
    map_error: Option<String>,
    /// Of the node, without the pods'.
    drift: usize,
    pods: Vec<Pod>,
    traffic: Vec<ClassTraffic>,
    packets: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Pod {
    pod: String,
    state: PodState,
    drift: Vec<String>,
    repaired: u64,
    addresses: Vec<std::net::IpAddr>,
    /// By class.
    verdicts: BTreeMap<String, Tally>,
}

#[derive(Debug, Serialize)]
struct ClassTraffic {
    class: &'static str,
    steered: bool,
    opened: u64,
    closed: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

pub(super) async fn top(AxumState(sources): Shared) -> Response {
    match Page::of(&sources) {
        Ok(page) => Json(page).into_response(),
        Err(error) => {
            let text = format!("{}\n", chain(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

impl Page {
    fn of(sources: &Sources) -> Result<Self, ObserveError> {
        let state = &sources.state;
        let source = state.source();
        let mut tallies = state.tallies().0;
        let pods = state
            .pods()
            .into_iter()
            .map(|pod| Pod::of(pod, &mut tallies));
        let traffic = sources.counters.traffic()?.into_iter();
        let packets = sources.counters.packets()?.into_iter();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            node: sources.config.node.clone(),
            synced: source.synced,
            pods_known: source.pods_known,
            map_error: state.map_error(),
            drift: state.node().verification.drift.len(),
            pods: pods.collect(),
            traffic: traffic
                .map(|((class, steered), traffic)| {
                    let Traffic {
                        opened,
                        closed,
                        bytes_sent,
                        bytes_received,
                        duration_ns: _,
                    } = traffic;
                    ClassTraffic {
                        class: class.label(),
                        steered,
                        opened,
                        closed,
                        sent_bytes: bytes_sent,
                        received_bytes: bytes_received,
                    }
                })
                .collect(),
            packets: packets
                .map(|(action, count)| (action.label(), count))
                .collect(),
        })
    }
}

impl Pod {
    fn of(status: PodStatus, tallies: &mut BTreeMap<String, BTreeMap<String, Tally>>) -> Self {
        let pod = format!("{}/{}", status.namespace, status.name);
        let drift = status.verification.drift.iter();
        Self {
            verdicts: tallies.remove(&pod).unwrap_or_default(),
            pod,
            state: status.state,
            drift: drift.map(|drift| drift.what.clone()).collect(),
            repaired: status.verification.repaired,
            addresses: status.addresses,
        }
    }
}
