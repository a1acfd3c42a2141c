//! What was said and answered, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::Closed;

/// A kind of message to ztunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Add,
    Keep,
    Del,
    SnapshotSent,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Ack,
    Nack,
    /// The connection ended before an answer.
    None,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Add, Self::Keep, Self::Del, Self::SnapshotSent];

    pub fn label(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Keep => "keep",
            Self::Del => "del",
            Self::SnapshotSent => "snapshot_sent",
        }
    }
}

impl Answer {
    pub const ALL: [Self; 3] = [Self::Ack, Self::Nack, Self::None];

    pub fn label(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::None => "none",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    messages: [[AtomicU64; Answer::ALL.len()]; Kind::ALL.len()],
    closed: [AtomicU64; Closed::LABELS.len()],
    latency: [AtomicU64; BOUNDS.len() + 1],
    latency_nanoseconds: AtomicU64,
}

/// Upper bounds of the answers' latency, in seconds.
const BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.5, 5.0];

/// How long answers took.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Upper bound in seconds, and the number of answers in this bucket alone.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    /// Seconds.
    pub sum: f64,
}

impl Stats {
    pub(super) fn sent(&self, kind: Kind, answer: Answer, took: Duration) {
        let slot = self
            .messages
            .get(kind as usize)
            .and_then(|answers| answers.get(answer as usize));
        add(slot, 1);
        if answer == Answer::None {
            return;
        }
        let bucket = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        add(self.latency.get(bucket.unwrap_or(BOUNDS.len())), 1);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(Some(&self.latency_nanoseconds), nanoseconds);
    }

    pub(super) fn closed(&self, why: &Closed) {
        add(self.closed.get(why.index()), 1);
    }

    pub(super) fn messages(&self) -> Vec<(Kind, Answer, u64)> {
        let of = |kind: Kind, answer: Answer| {
            let slot = self.messages.get(kind as usize)?.get(answer as usize)?;
            Some((kind, answer, slot.load(Ordering::Relaxed)))
        };
        Kind::ALL
            .into_iter()
            .flat_map(|kind| Answer::ALL.into_iter().filter_map(move |a| of(kind, a)))
            .collect()
    }

    pub(super) fn endings(&self) -> Vec<(&'static str, u64)> {
        let counts = self.closed.iter().map(|slot| slot.load(Ordering::Relaxed));
        Closed::LABELS.into_iter().zip(counts).collect()
    }

    pub(super) fn latency(&self) -> Latency {
        let bounds = BOUNDS.into_iter().chain([f64::MAX]);
        let counts = self.latency.iter().map(|slot| slot.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let nanoseconds = self.latency_nanoseconds.load(Ordering::Relaxed);
        Latency {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: Duration::from_nanos(nanoseconds).as_secs_f64(),
        }
    }
}

fn add(slot: Option<&AtomicU64>, amount: u64) {
    if let Some(slot) = slot {
        slot.fetch_add(amount, Ordering::Relaxed);
    }
}
