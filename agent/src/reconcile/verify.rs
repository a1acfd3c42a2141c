//! Looking at every enrolled pod, at the hooks of the node and at the maps: when something is heard
//! of, and each `verify_interval`; and putting right what is not as it should be.
//!
//! It is done by the one task that also enrols and writes, so that nothing is looked at while it
//! changes.

mod node;
mod pod;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use self::node::NodeWatch;
use crate::enrol::Enrolment;
use crate::kernel::watch::NetnsWatch;
use crate::verify::Book;

/// What comes within it is one change.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Between two looks at the same pod, whatever is heard of it.
const SPACING: Duration = Duration::from_millis(200);

/// Until a pod is looked at again that could not be, or whose tunnel does not listen.
const RETRY: Duration = Duration::from_secs(1);

/// Pods that something was heard of and that wait to be looked at.
const HEARD: usize = 1024;

/// What is watched, and what is known of it.
#[derive(Debug)]
pub(super) struct Verifier {
    interval: Duration,
    pods: BTreeMap<String, Watched>,
    node: NodeWatch,
    heard: mpsc::Sender<String>,
}

#[derive(Debug)]
struct Watched {
    book: Book,
    due: Instant,
    looked: Option<Instant>,
    is_listening: bool,
    /// It has been, so that it is a drift if it is not.
    was_listening: bool,
    /// Why it could not be looked at.
    unseen: Option<String>,
    /// Hears of what changes in the netns.
    watch: Option<AbortOnDropHandle<()>>,
}

impl Verifier {
    /// With the pods of which something is heard.
    pub(super) fn new(interval: Duration) -> (Self, mpsc::Receiver<String>) {
        let (heard, receiver) = mpsc::channel(HEARD);
        let verifier = Self {
            interval,
            pods: BTreeMap::new(),
            node: NodeWatch::new(),
            heard,
        };
        (verifier, receiver)
    }

    /// Begins to listen for changes of a pod. What is known of an earlier one of this name stays.
    pub(super) fn watch(&mut self, enrolment: &Enrolment) {
        let uid = &enrolment.spec().uid;
        let now = Instant::now();
        let watched = self.pods.entry(uid.clone()).or_insert(Watched {
            book: Book::default(),
            due: now,
            looked: None,
            is_listening: false,
            was_listening: false,
            unseen: None,
            watch: None,
        });
        watched.due = now;
        watched.is_listening = false;
        watched.was_listening = false;
        watched.watch = match enrolment.watch() {
            Ok(watch) => {
                let task = tokio::spawn(follow(watch, uid.clone(), self.heard.clone()));
                Some(AbortOnDropHandle::new(task))
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(uid, error, "changes of a pod are not heard of");
                None
            }
        };
    }

    /// The pod is no longer enrolled; it may be again.
    pub(super) fn unwatch(&mut self, uid: &str) {
        if let Some(watched) = self.pods.get_mut(uid) {
            watched.watch = None;
            watched.due = Instant::now() + self.interval;
        }
    }

    /// Forgets the pods that are not wanted any more.
    pub(super) fn retain(&mut self, mut is_wanted: impl FnMut(&str) -> bool) {
        self.pods.retain(|uid, _| is_wanted(uid));
    }

    /// Something was heard of a pod.
    pub(super) fn heard_of(&mut self, uid: &str) {
        if let Some(watched) = self.pods.get_mut(uid) {
            let soon = Instant::now() + DEBOUNCE;
            let due = watched
                .looked
                .map_or(soon, |looked| soon.max(looked + SPACING));
            watched.due = watched.due.min(due);
        }
    }

    /// Whether the tunnel did not listen in the pod when it was looked at last. It may have been
    /// about to: its word and its listeners do not come at the same time.
    pub(super) fn misses_listeners(&self, uid: &str) -> bool {
        let watched = self.pods.get(uid);
        watched.is_some_and(|watched| !watched.is_listening)
    }

    /// When there is something to look at next.
    pub(super) fn due(&self) -> Instant {
        let pods = self.pods.values().map(|watched| watched.due).min();
        let node = self.node.due();
        pods.map_or(node, |pods| pods.min(node))
    }

    /// A pod that is due.
    fn next(&self) -> Option<String> {
        let (uid, watched) = self.pods.iter().min_by_key(|(_, watched)| watched.due)?;
        (watched.due <= Instant::now()).then(|| uid.clone())
    }
}

impl super::Work {
    /// Looks at what is due: at one pod, or one thing of the node, so that others get their turn.
    pub(super) async fn verify_next(&mut self) {
        match self.verifier.next() {
            Some(uid) => self.verify_pod(&uid).await,
            None => self.verify_node().await,
        }
    }
}

/// Tells of changes in a pod's netns, a few times a second at most.
async fn follow(watch: NetnsWatch, uid: String, heard: mpsc::Sender<String>) {
    loop {
        if let Err(error) = watch.changed().await {
            let error = crate::error::chain(&error);
            tracing::warn!(uid, error, "changes of a pod are no longer heard of");
            return;
        }
        if heard.send(uid.clone()).await.is_err() {
            return;
        }
        sleep(DEBOUNCE).await;
    }
}
