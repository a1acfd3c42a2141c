//! The server that ztunnel connects to, to be told of this node's pods: ZDS.
//!
//! ztunnel opens its ports in the network namespaces that it is given here, and does everything
//! else by itself. It goes on with the pods it has when the connection is lost, and is told all
//! of them anew on the next one; what that leaves out it drops.

mod error;
mod message;
mod packet;
mod registry;
mod session;
mod socket_file;
mod stats;

#[cfg(test)]
mod tests;

pub use error::ZdsError;
pub use socket_file::{Occupant, occupant};
pub use stats::{Answer, Kind, Latency};

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::error::Closed;
use self::packet::{Connection, Listener};
use self::registry::{Message, Registry};
use self::session::Session;
use self::socket_file::SocketFile;
use self::stats::Stats;
use super::Readiness;
use crate::model::PodSpec;

/// The server, and what it knows.
#[derive(Debug)]
pub struct Ztunnel {
    shared: Arc<Shared>,
    path: PathBuf,
    stopping: CancellationToken,
    server: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What sessions share.
#[derive(Debug, Default)]
struct Shared {
    /// How long a ztunnel may take for its hello, and for each answer.
    deadline: Duration,
    registry: Mutex<Registry>,
    /// Of those that said hello.
    connected: Mutex<BTreeMap<u64, Connected>>,
    /// Ticks with every change of the registry.
    changes: watch::Sender<u64>,
    stats: Stats,
}

#[derive(Debug)]
struct Connected {
    pid: Option<i32>,
    since: Instant,
}

/// What `waysteer status` and the metrics show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZtunnelStatus {
    pub socket: PathBuf,
    /// The oldest first; pods go to the last one.
    pub connected: Vec<ZtunnelConnection>,
    pub ready: usize,
    pub waiting: usize,
    pub refused: usize,
    /// Connections that ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    pub messages: Vec<(Kind, Answer, u64)>,
    #[serde(skip)]
    pub latency: Latency,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZtunnelConnection {
    pub number: u64,
    /// As the agent's pid namespace sees it.
    pub pid: Option<i32>,
    pub connected_seconds: u64,
    /// It was told all pods there were.
    pub snapshot_sent: bool,
    pub acknowledged: usize,
    pub refused: usize,
}

impl Ztunnel {
    const DEADLINE: Duration = Duration::from_secs(5);

    /// How long ztunnels get at the end to be told of removals.
    const DRAIN: Duration = Duration::from_secs(5);

    /// Listens on `path`.
    ///
    /// # Errors
    /// When another agent serves there, or the kernel refuses.
    pub fn start(path: &Path) -> Result<Self, ZdsError> {
        Self::start_with(path, Self::DEADLINE)
    }

    fn start_with(path: &Path, deadline: Duration) -> Result<Self, ZdsError> {
        let (file, socket) = SocketFile::bind(path)?;
        let listener = Listener::new(socket).map_err(|source| ZdsError::Socket {
            what: "wait on a socket",
            path: path.to_owned(),
            source,
        })?;
        let shared = Arc::new(Shared {
            deadline,
            ..Shared::default()
        });
        let stopping = CancellationToken::new();
        let server = tokio::spawn(serve(shared.clone(), listener, file, stopping.clone()));
        Ok(Self {
            shared,
            path: path.to_owned(),
            stopping,
            server: tokio::sync::Mutex::new(Some(server)),
        })
    }

    /// # Errors
    /// When ztunnel could not read a message about this pod.
    pub fn add(&self, pod: &PodSpec, netns_cookie: u64, fd: OwnedFd) -> Result<(), ZdsError> {
        let packet = message::add(pod)?;
        let mut registry = self.shared.registry();
        if registry.add(&pod.uid, packet, netns_cookie, fd) {
            drop(registry);
            self.shared.changed();
        }
        Ok(())
    }

    /// # Errors
    /// When ztunnel could not read a message about this pod.
    pub fn keep(&self, pod: &PodSpec) -> Result<(), ZdsError> {
        let packet = message::add(pod)?;
        self.shared.registry().keep(&pod.uid, packet);
        self.shared.changed();
        Ok(())
    }

    pub fn remove(&self, uid: &str) {
        if self.shared.registry().remove(uid) {
            self.shared.changed();
        }
    }

    pub fn readiness(&self, uid: &str) -> Readiness {
        self.shared.registry().readiness(uid)
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    pub fn pods_registered(&self) {
        self.shared.registry().open = true;
        self.shared.changed();
    }

    pub fn status(&self) -> ZtunnelStatus {
        let registry = self.shared.registry();
        let mut status = ZtunnelStatus {
            socket: self.path.clone(),
            connected: Vec::new(),
            ready: 0,
            waiting: 0,
            refused: 0,
            closed: self.shared.stats.endings().into_iter().collect(),
            messages: self.shared.stats.messages(),
            latency: self.shared.stats.latency(),
        };
        for uid in registry.uids() {
            match registry.readiness(uid) {
                Readiness::Ready => status.ready += 1,
                Readiness::Waiting { .. } => status.waiting += 1,
                Readiness::Refused { .. } => status.refused += 1,
            }
        }
        for (number, connected) in &*self.shared.connected() {
            let tally = registry.tally(*number);
            status.connected.push(ZtunnelConnection {
                number: *number,
                pid: connected.pid,
                connected_seconds: connected.since.elapsed().as_secs(),
                snapshot_sent: tally.snapshot_sent,
                acknowledged: tally.acknowledged,
                refused: tally.refused,
            });
        }
        status
    }

    /// Tells removals that were not told yet, closes the connections and removes the socket.
    pub async fn stop(&self) {
        self.stopping.cancel();
        if let Some(server) = self.server.lock().await.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the server for ztunnel panicked");
        }
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> MutexGuard<'_, BTreeMap<u64, Connected>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|ticks| *ticks += 1);
    }

    fn enter(&self, number: u64, pid: Option<i32>) {
        let since = Instant::now();
        self.registry().enter(number);
        self.connected().insert(number, Connected { pid, since });
        self.changed();
    }

    fn leave(&self, number: u64) {
        self.registry().leave(number);
        self.connected().remove(&number);
        self.changed();
    }

    fn answered(&self, number: u64, message: &Message, error: &str) {
        let now = Instant::now();
        self.registry().answered(number, message, error, now);
        self.changed();
    }
}

/// An upgrade has two; more than a few are a fault.
const CONNECTIONS_MAX: usize = 16;

async fn serve(
    shared: Arc<Shared>,
    listener: Listener,
    file: SocketFile,
    stopping: CancellationToken,
) {
    let mut sessions = JoinSet::new();
    let mut number = 0;
    loop {
        let connection: Connection = tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = sessions.join_next() => continue,
            connection = listener.accept() => connection,
        };
        // Those that have ended make room, also where they did so at this very moment.
        while sessions.try_join_next().is_some() {}
        if sessions.len() >= CONNECTIONS_MAX {
            let why = Closed::TooMany;
            shared.stats.closed(&why);
            tracing::error!(
                pid = connection.pid(),
                "connection of ztunnel closed: {why}"
            );
            continue;
        }
        number += 1;
        let session = Session {
            shared: shared.clone(),
            connection,
            number,
            stopping: stopping.clone(),
        };
        sessions.spawn(session.run());
    }
    drop(listener);
    let all = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(Ztunnel::DRAIN, all).await.is_err() {
        tracing::warn!("ztunnel was not told of all removals");
    }
    tracing::debug!(socket = %file.path().display(), "no longer serving ztunnel");
}
