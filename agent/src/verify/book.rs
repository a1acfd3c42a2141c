//! What is known of the drifts of one pod, or of the node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Drift, DriftKind};

/// So many times in a row a drift is repaired at once.
const AT_ONCE: u32 = 3;
/// After that, the time until the next attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Whoever insists on being first is let be for as long.
const ORDER_PAUSE: Duration = Duration::from_secs(600);
/// A drift that has stayed away for so long is a new one when it comes back.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The drifts of one pod, or of the node: those that stand, and those that were repaired lately.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: BTreeMap<Drift, Entry>,
    repaired: u64,
    verified_at: Option<Instant>,
}

/// What is known of one drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since when it stands; `None` where it was repaired.
    pub since: Option<Instant>,
    /// Why it could not be repaired.
    pub error: Option<String>,
    /// Attempts at repairing it in a row.
    pub attempts: u32,
    /// When it was tried last, or seen to be repaired.
    last: Instant,
}

/// What a look has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub appeared: Vec<Drift>,
    pub repaired: Vec<Drift>,
}

impl Book {
    /// Enters what a look has found; all else is as it should be.
    pub fn enter(&mut self, now: Instant, found: &[Drift]) -> News {
        let mut news = News::default();
        for (drift, entry) in &mut self.entries {
            if entry.since.is_some() && !found.contains(drift) {
                entry.since = None;
                entry.error = None;
                entry.last = now;
                news.repaired.push(drift.clone());
            }
        }
        self.repaired += news.repaired.len() as u64;
        for drift in found {
            let entry = self.entries.entry(drift.clone()).or_insert(Entry {
                since: None,
                error: None,
                attempts: 0,
                last: now,
            });
            if entry.since.is_none() {
                if now.duration_since(entry.last) > entry.forgotten(drift.kind) {
                    entry.attempts = 0;
                }
                entry.since = Some(now);
                news.appeared.push(drift.clone());
            }
        }
        self.entries.retain(|drift, entry| {
            let age = now.duration_since(entry.last);
            entry.since.is_some() || age <= entry.forgotten(drift.kind)
        });
        self.verified_at = Some(now);
        news
    }

    /// The drifts that it is time to repair.
    pub fn due(&self, now: Instant) -> Vec<Drift> {
        self.standing()
            .filter(|(drift, entry)| entry.due(drift.kind) <= now)
            .map(|(drift, _)| drift.clone())
            .collect()
    }

    /// When the next drift is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.standing()
            .map(|(drift, entry)| entry.due(drift.kind))
            .min()
    }

    /// Notes an attempt, before what came of it is looked at.
    pub fn tried(&mut self, now: Instant, drifts: &[Drift], error: Option<&str>) {
        for drift in drifts {
            if let Some(entry) = self.entries.get_mut(drift) {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.error = error.map(str::to_owned);
                entry.last = now;
            }
        }
    }

    pub fn standing(&self) -> impl Iterator<Item = (&Drift, &Entry)> {
        let entries = self.entries.iter();
        entries.filter(|(_, entry)| entry.since.is_some())
    }

    /// Whether a drift of this kind stands.
    pub fn has(&self, kind: DriftKind) -> bool {
        self.standing().any(|(drift, _)| drift.kind == kind)
    }

    /// Drifts that were repaired so far.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    pub fn verified_at(&self) -> Option<Instant> {
        self.verified_at
    }
}

impl Entry {
    fn due(&self, kind: DriftKind) -> Instant {
        let Some(repeated) = self.attempts.checked_sub(AT_ONCE) else {
            return self.last;
        };
        self.last
            + match kind {
                DriftKind::Order => ORDER_PAUSE,
                _ => FIRST_PAUSE
                    .saturating_mul(1 << repeated.min(16))
                    .min(LONGEST_PAUSE),
            }
    }

    fn forgotten(&self, kind: DriftKind) -> Duration {
        match kind {
            DriftKind::Order => FORGOTTEN + ORDER_PAUSE,
            _ => FORGOTTEN,
        }
    }
}
