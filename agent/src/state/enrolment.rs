//! How long pods take to be enrolled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Upper bounds in seconds.
const BOUNDS: [f64; 12] = [
    0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0,
];

/// From when the source first named a pod, and from when its turn had come, until its programs,
/// rules, map entries, tunnel and listeners were seen in place. Pods that were adopted are not
/// among them.
#[derive(Debug, Default)]
pub(super) struct EnrolTimes {
    begun: BTreeMap<String, Begun>,
    all: Histogram,
    work: Histogram,
}

#[derive(Debug)]
struct Begun {
    mentioned: Instant,
    /// The last time, where it was tried again.
    worked_on: Instant,
}

#[derive(Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

/// A histogram at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Upper bound in seconds, and the number in this bucket alone.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    /// Seconds.
    pub sum: f64,
}

impl EnrolTimes {
    pub(super) fn begin(&mut self, uid: &str, now: Instant) {
        self.begun.entry(uid.to_owned()).or_insert(Begun {
            mentioned: now,
            worked_on: now,
        });
    }

    pub(super) fn work(&mut self, uid: &str, now: Instant) {
        if let Some(begun) = self.begun.get_mut(uid) {
            begun.worked_on = now;
        }
    }

    /// Only the first time counts.
    pub(super) fn end(&mut self, uid: &str, now: Instant) {
        let Some(begun) = self.begun.remove(uid) else {
            return;
        };
        self.all.add(now.duration_since(begun.mentioned));
        self.work.add(now.duration_since(begun.worked_on));
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.begun.remove(uid);
    }

    pub(super) fn times(&self) -> Times {
        self.all.times()
    }

    pub(super) fn work_times(&self) -> Times {
        self.work.times()
    }
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let bucket = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum += took;
    }

    fn times(&self) -> Times {
        let bounds = BOUNDS.into_iter().chain([f64::MAX]);
        Times {
            buckets: bounds.zip(self.counts).collect(),
            count: self.counts.iter().sum(),
            sum: self.sum.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_first_mention_to_the_first_enrolment() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut times = EnrolTimes::default();
        times.begin("a", at(0));
        times.begin("a", at(10));
        times.begin("gone", at(0));
        times.forget("gone");
        for (uid, turn) in [("a", 5), ("a", 11), ("gone", 2), ("adopted", 3)] {
            times.work(uid, at(turn));
        }
        for (uid, end) in [("a", 25), ("a", 90), ("gone", 50), ("adopted", 60)] {
            times.end(uid, at(end));
        }
        for (times, bucket, seconds) in [
            (times.times(), (0.03, 1), 0.025),
            (times.work_times(), (0.02, 1), 0.014),
        ] {
            assert_eq!(times.count, 1);
            assert!(times.buckets.contains(&bucket), "{times:?}");
            assert!((times.sum - seconds).abs() < 1e-9);
        }
    }
}
