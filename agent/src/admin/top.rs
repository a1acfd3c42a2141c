//! What `waysteer top` shows: counts, from which the reader makes rates.

use std::collections::BTreeMap;

use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

use super::{Shared, Sources};
use crate::error::chain;
use crate::metrics::MetricsError;
use crate::state::{PodState, PodStatus, Tally};
use crate::traffic::{Counted, PodsTraffic};

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
    traffic: Vec<Counted>,
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
    traffic: Vec<Counted>,
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
    fn of(sources: &Sources) -> Result<Self, MetricsError> {
        let state = &sources.state;
        let source = state.source();
        let mut tallies = state.tallies().0;
        let traffic = sources.traffic.by_pod()?;
        let pods = state
            .pods()
            .into_iter()
            .map(|pod| Pod::of(pod, &mut tallies, &traffic));
        let packets = sources.counters.packets()?.into_iter();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            node: sources.config.node.clone(),
            synced: source.synced,
            pods_known: source.pods_known,
            map_error: state.map_error(),
            drift: state.node().verification.drift.len(),
            pods: pods.collect(),
            traffic: Counted::of(&sources.counters.traffic()?),
            packets: packets
                .map(|(action, count)| (action.label(), count))
                .collect(),
        })
    }
}

impl Pod {
    fn of(
        status: PodStatus,
        tallies: &mut BTreeMap<String, BTreeMap<String, Tally>>,
        traffic: &PodsTraffic,
    ) -> Self {
        let traffic = status.cookie.and_then(|netns| traffic.get(&netns));
        let pod = format!("{}/{}", status.namespace, status.name);
        let drift = status.verification.drift.iter();
        Self {
            verdicts: tallies.remove(&pod).unwrap_or_default(),
            pod,
            state: status.state,
            drift: drift.map(|drift| drift.what.clone()).collect(),
            repaired: status.verification.repaired,
            addresses: status.addresses,
            traffic: traffic.map(Counted::of).unwrap_or_default(),
        }
    }
}
