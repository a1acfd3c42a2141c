//! What the connection to istiod tells about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::state::Refused;

/// Written by the source, read by the admin pages. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct XdsStats(Arc<Mutex<XdsSnapshot>>);

#[derive(Debug, Clone, Default)]
pub struct XdsSnapshot {
    pub connected: bool,
    pub connections: u64,
    /// When the last response came.
    pub last_response: Option<Instant>,
    /// By type.
    pub responses: BTreeMap<String, u64>,
    pub refused: u64,
}

impl XdsStats {
    pub fn snapshot(&self) -> XdsSnapshot {
        self.lock().clone()
    }

    pub(super) fn connected(&self) {
        let mut stats = self.lock();
        stats.connected = true;
        stats.connections += 1;
    }

    pub(super) fn disconnected(&self) {
        self.lock().connected = false;
    }

    pub(super) fn received(&self, type_url: &str, refused: &[Refused]) {
        let mut stats = self.lock();
        stats.last_response = Some(Instant::now());
        *stats.responses.entry(type_url.to_owned()).or_default() += 1;
        stats.refused += refused.len() as u64;
    }

    fn lock(&self) -> MutexGuard<'_, XdsSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
