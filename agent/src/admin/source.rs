//! What `waysteer status` shows of the source.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::Sources;
use crate::config::Source;
use crate::source::xds::{XdsKind, XdsSnapshot};
use crate::state::SourceStatus;

#[derive(Debug, Serialize)]
pub(super) struct SourcePage {
    kind: &'static str,
    #[serde(flatten)]
    status: SourceStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    xds: Option<XdsPage>,
}

#[derive(Debug, Serialize)]
struct XdsPage {
    address: String,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_seconds: Option<u64>,
    /// For how long what is known may be out of date.
    age_seconds: u64,
    last_message_seconds: Option<u64>,
    connections: u64,
    /// Why the last connection ended, or could not be made.
    last_error: Option<String>,
    /// What is missing before bypassing begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    types: BTreeMap<&'static str, TypePage>,
}

#[derive(Debug, Serialize)]
struct TypePage {
    complete: bool,
    resources: usize,
    rejected: usize,
}

impl SourcePage {
    pub(super) fn of(sources: &Sources) -> Self {
        let stats = sources.xds.as_ref().map(|stats| stats.snapshot());
        let (kind, xds) = match &sources.config.source {
            Source::File { .. } => ("file", None),
            Source::Xds(xds) => ("xds", stats.map(|stats| XdsPage::of(&xds.address, stats))),
        };
        Self {
            kind,
            status: sources.state.source(),
            xds,
        }
    }
}

impl XdsPage {
    fn of(address: &str, stats: XdsSnapshot) -> Self {
        let seconds = |at: Instant| at.elapsed().as_secs();
        let page = |kind: &XdsKind| TypePage {
            complete: kind.complete,
            resources: kind.resources,
            rejected: kind.rejected,
        };
        Self {
            address: address.to_owned(),
            connected: stats.connected,
            connected_seconds: stats.connected.then(|| seconds(stats.since)),
            age_seconds: stats.age().as_secs(),
            last_message_seconds: stats.last_response.map(seconds),
            connections: stats.connections,
            missing: stats.missing(),
            types: stats.kinds.iter().map(|k| (k.label, page(k))).collect(),
            last_error: stats.last_error,
        }
    }
}
