//! The task that reads the files.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::poll::Poller;
use super::watch::Watches;
use crate::source::Event;

/// Changes come in bursts: a rewrite is a truncation and some writes.
const QUIET: Duration = Duration::from_millis(50);
/// A file that never comes to rest is read all the same.
const LONGEST_BURST: Duration = Duration::from_millis(500);
/// For what no notification says: network file systems, a directory replaced above ours.
const REREAD: Duration = Duration::from_secs(30);
/// Without notifications the files are read this often.
const REREAD_UNWATCHED: Duration = Duration::from_secs(2);
/// A pod that waits for its network namespace cannot start.
const NETNS_RETRY: Duration = Duration::from_millis(250);

/// Reads the mesh and the local pods from files, and again whenever they change.
#[derive(Debug)]
pub struct FileSource {
    /// None where the mesh comes from elsewhere.
    mesh: Option<PathBuf>,
    pods: PathBuf,
}

#[derive(Debug, Error)]
pub enum FileSourceError {
    #[error("reading the source's files failed")]
    Reader(#[source] JoinError),
}

/// What goes to the blocking pool and comes back.
struct Work {
    poller: Poller,
    watches: Option<Watches>,
    /// When the files are to be read even if nothing says that they changed.
    reread: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// Something may have changed.
    Changed,
    /// A network namespace may be there now.
    Netns,
    Stop,
}

impl FileSource {
    pub fn new(mesh: impl Into<PathBuf>, pods: impl Into<PathBuf>) -> Self {
        Self {
            mesh: Some(mesh.into()),
            pods: pods.into(),
        }
    }

    /// Of the local pods only.
    pub fn pods(pods: impl Into<PathBuf>) -> Self {
        Self {
            mesh: None,
            pods: pods.into(),
        }
    }

    /// Runs until `stop`, or until nobody receives any more. Files are read on the blocking pool,
    /// never on a core thread.
    ///
    /// # Errors
    /// Only if reading panics; what is wrong with the files is reported as events.
    pub async fn run(
        self,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<(), FileSourceError> {
        let (wake, mut woken) = mpsc::channel(1);
        let watches = Watches::new(wake);
        if let Err(error) = &watches {
            tracing::warn!(%error, "cannot watch the files for changes, reading them often instead");
        }
        let mut work = Work {
            poller: Poller::new(self.mesh, self.pods),
            watches: watches.ok(),
            reread: Instant::now(),
        };
        let mut wake = Wake::Changed;
        while wake != Wake::Stop {
            let (back, found, is_settled) = spawn_blocking(move || work.run(wake))
                .await
                .map_err(FileSourceError::Reader)?;
            work = back;
            for event in found {
                let sent = stop.run_until_cancelled(events.send(event)).await;
                if !matches!(sent, Some(Ok(()))) {
                    return Ok(());
                }
            }
            wake = match is_settled {
                true => work.wait(&mut woken, &stop).await,
                false => burst(&mut woken, &stop).await,
            };
        }
        Ok(())
    }
}

impl Work {
    /// One look. It is settled if what was watched before reading still is what to watch: else
    /// something may have changed between the two and nobody would have said so.
    fn run(mut self, wake: Wake) -> (Self, Vec<Event>, bool) {
        let mut events = Vec::new();
        let mut is_settled = true;
        match wake {
            Wake::Changed => {
                self.update_watches();
                events = self.poller.poll();
                is_settled = !self.update_watches();
                self.reread = Instant::now() + self.reread_after();
            }
            Wake::Netns => self.poller.poll_netns(&mut events),
            Wake::Stop => {}
        }
        (self, events, is_settled)
    }

    fn update_watches(&mut self) -> bool {
        let paths = self.poller.paths();
        let watches = self.watches.as_mut();
        watches.is_some_and(|watches| watches.update(paths))
    }

    fn reread_after(&self) -> Duration {
        match self.watches {
            Some(_) => REREAD,
            None => REREAD_UNWATCHED,
        }
    }

    async fn wait(&self, woken: &mut mpsc::Receiver<()>, stop: &CancellationToken) -> Wake {
        let is_waiting = self.poller.is_waiting();
        tokio::select! {
            () = stop.cancelled() => return Wake::Stop,
            Some(()) = woken.recv() => {}
            () = sleep_until(self.reread) => return Wake::Changed,
            () = sleep(NETNS_RETRY), if is_waiting => return Wake::Netns,
        }
        burst(woken, stop).await
    }
}

/// Waits for the end of a burst of changes.
async fn burst(woken: &mut mpsc::Receiver<()>, stop: &CancellationToken) -> Wake {
    let latest = Instant::now() + LONGEST_BURST;
    while Instant::now() < latest {
        let quiet = (Instant::now() + QUIET).min(latest);
        tokio::select! {
            () = stop.cancelled() => return Wake::Stop,
            more = timeout_at(quiet, woken.recv()) => match more {
                Ok(Some(())) => {}
                Ok(None) | Err(_) => break,
            },
        }
    }
    Wake::Changed
}
