//! Hearing of network namespaces that are made anew under the same path: inotify on the directories
//! that the paths are in.
//!
//! Such a path is a file on which a namespace is mounted. Of the mount itself inotify tells nothing,
//! so after the file was made the paths are looked at for a while.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// When the paths are looked at after something was heard of.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
];

#[derive(Debug)]
pub(super) struct PathWatch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    due: Option<Instant>,
    /// Looks since something was heard of.
    looks: usize,
}

impl PathWatch {
    /// With what tells that [`Self::changed`] is to be called.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (wake, changes) = mpsc::channel(1);
        let handler = move |event: notify::Result<notify::Event>| {
            // Reading is not a change; an overrun may be one.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                // A full channel means that a wake-up is under way, a closed one that we stop.
                let _queued = wake.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler);
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "pods that are made anew are noticed late");
        });
        let watch = Self {
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            due: None,
            looks: 0,
        };
        (watch, changes)
    }

    /// Watches the directories of these paths.
    pub(super) fn update<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) {
        let wanted: BTreeSet<PathBuf> = paths
            .filter_map(Path::parent)
            .map(Path::to_path_buf)
            .collect();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&wanted) {
            // It may not exist any more, and then its watch has ended by itself.
            let _ended = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted {
            // One that does not exist is tried again with the next change of the pods.
            let is_known = self.watched.contains(&directory) && directory.exists();
            if is_known
                || watcher
                    .watch(&directory, RecursiveMode::NonRecursive)
                    .is_ok()
            {
                watched.insert(directory);
            }
        }
        self.watched = watched;
    }

    /// Something happened in one of the directories.
    pub(super) fn changed(&mut self) {
        self.looks = 0;
        self.schedule();
    }

    /// The paths were looked at.
    pub(super) fn looked(&mut self) {
        self.looks += 1;
        self.schedule();
    }

    /// When the paths are to be looked at.
    pub(super) fn due(&self) -> Instant {
        self.due
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn schedule(&mut self) {
        let pause = LOOKS.get(self.looks);
        self.due = pause.map(|pause| Instant::now() + *pause);
    }
}
