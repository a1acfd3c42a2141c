//! Looking at every enrolled pod, at the hooks of the node and at the maps: when something is heard
//! of, and each `verify_interval`; and putting right what is not as it should be.
//!
//! It is done by the one task that also enrols and writes, so that nothing is looked at while it
//! changes.

mod listeners;
mod node;
mod pod;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use self::listeners::Listening;
use self::node::NodeWatch;
use crate::kernel::watch::{NetnsWatch, WatchError};
use crate::verify::Book;

/// What comes within it is one change.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Between two looks at the same pod, whatever is heard of it.
const SPACING: Duration = Duration::from_millis(200);

/// Until a pod is looked at again that could not be.
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
    listening: Listening,
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
    pub(super) fn watch(&mut self, uid: &str, watch: Result<NetnsWatch, WatchError>) {
        let now = Instant::now();
        let watched = self.pods.entry(uid.to_owned()).or_insert(Watched {
            book: Book::default(),
            due: now,
            looked: None,
            listening: Listening::default(),
            unseen: None,
            watch: None,
        });
        watched.due = now;
        watched.listening = Listening::default();
        watched.watch = match watch {
            Ok(watch) => {
                let task = tokio::spawn(follow(watch, uid.to_owned(), self.heard.clone()));
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
            watched.listening = Listening::default();
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
