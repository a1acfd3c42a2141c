//! The tunnel's listeners in a pod, the last thing that it waits for. They come when the tunnel has
//! the pod, before or after its word; nobody tells of them.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::Instant;

use super::{RETRY, Verifier};
use crate::error::chain;
use crate::reconcile::Work;
use crate::tunnel::Readiness;
use crate::verify::DriftKind;

/// After the tunnel's word, until its listeners are looked for again; doubles up to [`RETRY`].
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// What is known of them in one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listening {
    is_now: bool,
    /// They have been there, so that it is a drift if they are not.
    has_been: bool,
    /// The tunnel's word was heard of.
    is_ready: bool,
    /// Looks in a row that found none, since the tunnel has given its word.
    missed: u32,
    due: Option<Instant>,
}

impl Listening {
    pub(super) fn is_now(&self) -> bool {
        self.is_now
    }

    pub(super) fn has_been(&self) -> bool {
        self.has_been
    }

    /// Enters what a look has found.
    pub(super) fn found(&mut self, is_now: bool, is_ready: bool, now: Instant) {
        self.is_now = is_now;
        self.has_been |= is_now;
        if is_now || !is_ready {
            self.missed = 0;
            self.due = None;
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.missed.min(16));
        self.due = Some(now + pause.min(RETRY));
        self.missed = self.missed.saturating_add(1);
    }
}

impl Verifier {
    /// When the listeners of some pod are to be looked for again.
    pub(in crate::reconcile) fn listeners_due(&self) -> Instant {
        let due = self.pods.values().filter_map(|pod| pod.listening.due);
        due.min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }
}

impl Work {
    /// Whether the tunnel has just said that it serves the pod; then its listeners are looked for.
    /// All else was looked at when the pod was captured, and is watched since.
    pub(in crate::reconcile) fn hear_of_tunnel(&mut self, uid: &str) -> bool {
        let (Some(enrolment), Some(watched)) =
            (self.enrolled.get(uid), self.verifier.pods.get_mut(uid))
        else {
            return false;
        };
        let is_ready = self.with.enroller.readiness(enrolment) == Readiness::Ready;
        let has_become = is_ready && !watched.listening.is_ready;
        watched.listening.is_ready = is_ready;
        if has_become {
            self.look_for_listeners(uid);
        }
        has_become
    }

    pub(in crate::reconcile) fn look_for_due_listeners(&mut self) {
        let now = Instant::now();
        let pods = self.verifier.pods.iter();
        let due = pods.filter(|(_, pod)| pod.listening.due.is_some_and(|due| due <= now));
        let due: Vec<String> = due.map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            self.look_for_listeners(&uid);
        }
    }

    fn look_for_listeners(&mut self, uid: &str) {
        let (Some(enrolment), Some(watched)) =
            (self.enrolled.get(uid), self.verifier.pods.get_mut(uid))
        else {
            return;
        };
        let is_ready = self.with.enroller.readiness(enrolment) == Readiness::Ready;
        let is_listening = block_in_place(|| enrolment.is_listening());
        let is_listening = is_listening.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::warn!(uid, error, "the tunnel's listeners cannot be looked for");
            false
        });
        let now = Instant::now();
        watched.listening.found(is_listening, is_ready, now);
        let is_in_book = watched.book.has(DriftKind::Listener);
        let should_be = !is_listening && watched.listening.has_been;
        if is_in_book != should_be {
            // The book is kept by a whole look.
            self.verifier.heard_of(uid);
        }
        self.show_pod(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_looked_for_ever_more_seldom_and_only_after_the_tunnels_word() {
        let now = Instant::now();
        let mut listening = Listening::default();
        listening.found(false, false, now);
        assert_eq!(listening.due, None);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            listening.found(false, true, now);
            pauses.push(listening.due.unwrap() - now);
        }
        assert_eq!(pauses[..3], [4, 8, 16].map(Duration::from_millis));
        assert_eq!(pauses[11], RETRY);
        assert!(!listening.has_been());
        listening.found(true, true, now);
        assert!(listening.is_now() && listening.has_been());
        assert_eq!(listening.due, None);
        listening.found(false, true, now);
        assert_eq!(listening.due, Some(now + FIRST_PAUSE));
        assert!(!listening.is_now() && listening.has_been());
    }
}
