//! Being told when the files change.
//!
//! What is watched are directories, not files: a file that is replaced by rename, or through a
//! symlink like in a Kubernetes ConfigMap volume, is a new file of which its own watch would say
//! nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(super) struct Watches {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

impl Watches {
    /// Sends to `wake`, which needs a capacity of one, when anything changes.
    pub(super) fn new(wake: mpsc::Sender<()>) -> notify::Result<Self> {
        let handler = move |event: notify::Result<notify::Event>| {
            // A full channel means that a wake-up is under way, a closed one that we stop.
            if event.is_ok_and(|event| !may_be_a_change(event.kind)) {
                return;
            }
            let _queued = wake.try_send(());
        };
        Ok(Self {
            watcher: notify::recommended_watcher(handler)?,
            watched: BTreeSet::new(),
        })
    }

    /// Watches what these paths lead to now; whether that differs from last time.
    pub(super) fn update<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) -> bool {
        let wanted: BTreeSet<PathBuf> = paths.flat_map(directories).collect();
        for gone in self.watched.difference(&wanted) {
            // It may not exist any more, and then its watch has ended by itself.
            let _ended = self.watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted {
            // Asked for each time: a directory that was made anew has the same name only.
            let added = self.watcher.watch(&directory, RecursiveMode::NonRecursive);
            if added.is_ok() {
                watched.insert(directory);
            }
        }
        let has_changed = watched != self.watched;
        self.watched = watched;
        has_changed
    }
}

/// Reading is not a change; without this, our own reading would wake us.
fn may_be_a_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// The directories in which a change of this path shows: that of each link on the way to the
/// file, and that of the file. Where one does not exist yet, the nearest that does.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = existing_parent(path).into_iter().collect();
    let mut path = path.to_owned();
    // The kernel follows 40 links at most (fs/namei.c, MAXSYMLINKS).
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
        directories.extend(existing_parent(&path));
    }
    if let Ok(file) = path.canonicalize() {
        directories.extend(existing_parent(&file));
    }
    directories
}

fn existing_parent(path: &Path) -> Option<PathBuf> {
    let mut ancestors = path.ancestors().skip(1);
    let found = ancestors.find(|ancestor| ancestor.is_dir());
    found.map(Path::to_path_buf)
}
