//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
pub(super) const LONGEST: Duration = Duration::from_secs(15);

/// Doubles with each attempt. All nodes of a cluster lose their istiod at once, so each waits between
/// half of it and the whole.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST * 2 }
    }
}

impl Backoff {
    /// After a connection that lasted so long, or an attempt at one. `random` is from 0 to 1.
    pub(super) fn after(&mut self, lasted: Duration, random: f64) -> Duration {
        // A server that accepts and breaks off at once is no better than none.
        if lasted > LONGEST {
            *self = Self::default();
        }
        let wait = self.next.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Duration = Duration::ZERO;

    #[test]
    fn it_grows_from_ten_milliseconds_to_fifteen_seconds() {
        let mut shortest = Backoff::default();
        let mut longest = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let (low, high) = (shortest.after(NOTHING, 0.0), longest.after(NOTHING, 1.0));
            assert!(FIRST <= low && high <= LONGEST, "{low:?} {high:?}");
            assert_eq!(low * 2, high);
            waits.push(low);
        }
        assert_eq!(waits[0], FIRST);
        assert_eq!(waits[1], FIRST * 2);
        assert_eq!(waits[19] * 2, LONGEST);
        assert!(waits.is_sorted());
    }

    #[test]
    fn a_connection_that_lasted_begins_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.after(NOTHING, 0.5);
        }
        // Broken off soon each time: not a working server.
        assert!(backoff.after(LONGEST, 0.0) > LONGEST / 3);
        assert_eq!(backoff.after(LONGEST * 2, 0.0), FIRST);
        assert_eq!(backoff.after(NOTHING, 0.0), FIRST * 2);
    }

    #[test]
    fn a_thousand_nodes_do_not_come_at_once() {
        // What an hour without istiod looks like to it, when a thousand nodes lose it together.
        let hour = Duration::from_secs(3600);
        let mut attempts = Vec::new();
        for _ in 0..1000 {
            let (mut backoff, mut now) = (Backoff::default(), NOTHING);
            while now < hour {
                now += backoff.after(NOTHING, rand::random_range(0.0..1.0));
                attempts.push(now.as_secs());
            }
        }
        let last_minute = attempts.iter().filter(|at| (3540..3600).contains(*at));
        let mut by_second = std::collections::BTreeMap::<u64, u32>::new();
        for at in last_minute {
            *by_second.entry(*at).or_default() += 1;
        }
        // About 89 a second; all in one would be 1000.
        let most = by_second.values().max().copied().unwrap_or_default();
        assert!(by_second.len() == 60 && most < 200, "{most} {by_second:?}");
    }
}
