//! What the connection to istiod tells about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::SessionError;
use super::state::{ADDRESS, AUTHORIZATION};
use crate::error::chain;

/// Written by the source, read by the admin pages. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct XdsStats(Arc<Mutex<XdsSnapshot>>);

#[derive(Debug, Clone)]
pub struct XdsSnapshot {
    pub connected: bool,
    /// When `connected` became what it is.
    pub since: Instant,
    /// Connections that were made.
    pub connections: u64,
    /// Why connections ended, or could not be made; all reasons.
    pub disconnections: BTreeMap<&'static str, u64>,
    /// Of the last one.
    pub last_error: Option<String>,
    /// When the last response came.
    pub last_response: Option<Instant>,
    /// By [`XdsKind::label`].
    pub kinds: [XdsKind; 2],
    /// Responses of types that nobody asked for.
    pub unasked: u64,
}

/// Of one type of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XdsKind {
    pub label: &'static str,
    type_url: &'static str,
    /// Everything was told at least once.
    pub complete: bool,
    /// Resources with a good version.
    pub resources: usize,
    /// Resources whose last version was refused.
    pub rejected: usize,
    /// Responses that were acknowledged, and that were not.
    pub acknowledged: u64,
    pub refused: u64,
    /// Resources in them that were refused.
    pub refused_resources: u64,
    /// Of the decoded responses.
    pub bytes: u64,
}

/// What a response has come to.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: usize,
    /// Resources of this response.
    pub(super) refused: usize,
    /// Of all responses so far.
    pub(super) resources: usize,
    pub(super) rejected: usize,
}

impl Default for XdsSnapshot {
    fn default() -> Self {
        let kind = |label, type_url| XdsKind {
            label,
            type_url,
            ..XdsKind::default()
        };
        Self {
            connected: false,
            since: Instant::now(),
            connections: 0,
            disconnections: SessionError::REASONS.map(|reason| (reason, 0)).into(),
            last_error: None,
            last_response: None,
            kinds: [
                kind("address", ADDRESS),
                kind("authorization", AUTHORIZATION),
            ],
            unasked: 0,
        }
    }
}

impl XdsSnapshot {
    /// For how long what is known may be out of date: not at all while there is a connection.
    pub fn age(&self) -> Duration {
        match self.connected {
            true => Duration::ZERO,
            false => self.since.elapsed(),
        }
    }

    /// What a complete snapshot lacks, and why; nothing when it lacks nothing.
    pub fn missing(&self) -> Option<String> {
        let missing = self.kinds.iter().filter(|kind| !kind.complete);
        let missing: Vec<&str> = missing.map(|kind| kind.label).collect();
        if missing.is_empty() {
            return None;
        }
        let why = match (&self.last_error, self.connected) {
            (_, true) => "the connection is there, and istiod has not told them yet".to_owned(),
            (Some(error), false) => format!("no connection to istiod: {error}"),
            (None, false) => "connecting to istiod".to_owned(),
        };
        Some(format!("{}: {why}", missing.join(", ")))
    }
}

impl XdsStats {
    pub fn snapshot(&self) -> XdsSnapshot {
        self.lock().clone()
    }

    pub(super) fn connected(&self) {
        let mut stats = self.lock();
        stats.connected = true;
        stats.since = Instant::now();
        stats.connections += 1;
    }

    pub(super) fn disconnected(&self, error: &SessionError) {
        let mut stats = self.lock();
        // Further attempts do not make what is known younger.
        if stats.connected {
            stats.connected = false;
            stats.since = Instant::now();
        }
        *stats.disconnections.entry(error.reason()).or_default() += 1;
        stats.last_error = Some(chain(error));
    }

    pub(super) fn received(&self, type_url: &str, received: &Received) {
        let mut stats = self.lock();
        stats.last_response = Some(Instant::now());
        let Some(kind) = stats.kinds.iter_mut().find(|k| k.type_url == type_url) else {
            stats.unasked += 1;
            return;
        };
        let Received {
            bytes,
            refused,
            resources,
            rejected,
        } = received;
        kind.complete = true;
        kind.resources = *resources;
        kind.rejected = *rejected;
        match refused {
            0 => kind.acknowledged += 1,
            _ => kind.refused += 1,
        }
        kind.refused_resources += *refused as u64;
        kind.bytes += *bytes as u64;
    }

    fn lock(&self) -> MutexGuard<'_, XdsSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(refused: usize) -> Received {
        Received {
            bytes: 100,
            refused,
            resources: 7,
            rejected: refused,
        }
    }

    #[test]
    fn a_snapshot_is_complete_by_type() {
        let stats = XdsStats::default();
        let missing = stats.snapshot().missing().unwrap();
        assert_eq!(missing, "address, authorization: connecting to istiod");
        stats.disconnected(&SessionError::Ended);
        let missing = stats.snapshot().missing().unwrap();
        assert!(missing.ends_with("no connection to istiod: the server ended the stream"));
        stats.connected();
        stats.received(ADDRESS, &received(0));
        let missing = stats.snapshot().missing().unwrap();
        assert!(missing.starts_with("authorization: the connection is there"));
        stats.received(AUTHORIZATION, &received(2));
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.missing(), None);
        let [address, authorization] = &snapshot.kinds;
        assert_eq!((address.acknowledged, address.refused), (1, 0));
        assert_eq!((authorization.acknowledged, authorization.refused), (0, 1));
        assert_eq!(authorization.refused_resources, 2);
    }

    #[test]
    fn attempts_do_not_make_the_state_younger() {
        let stats = XdsStats::default();
        stats.connected();
        assert_eq!(stats.snapshot().age(), Duration::ZERO);
        stats.disconnected(&SessionError::Ended);
        let since = stats.snapshot().since;
        stats.disconnected(&SessionError::Ended);
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.since, since);
        assert_eq!(snapshot.disconnections["ended"], 2);
    }
}
