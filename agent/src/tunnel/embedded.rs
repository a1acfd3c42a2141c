//! The embedded tunnel: ztunnel's ports in every enrolled netns, spoken by the `hbone` crate.
//!
//! For one machine, demos and tests. What to do with a connection was decided by the kernel: the
//! verdict stands in `CONNECTIONS` under the cookie of the application's socket. The tunnel never decides for plaintext
//! by itself: a flow whose verdict names no next hop is held for a while and then reset.

mod dial;
mod inbound;
mod outbound;
mod pod;
mod sockets;
mod stats;

pub use pod::PodSockets;
pub use stats::{Stats, StatsSnapshot};

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use waysteer_common::verdict::Verdict;
use waysteer_hbone::certs::CertSource;
use waysteer_hbone::client::{Pool, PoolConfig};

use self::dial::PodDialer;
use self::pod::Pod;
use self::sockets::Workshop;
use super::{Readiness, TunnelError, View};

/// Where the kernel's verdicts on single connections are found.
pub trait Verdicts: Send + Sync + 'static {
    /// Those of a pod; called in its netns.
    fn of_pod(&self, netns: u64) -> Arc<dyn PodVerdicts>;
}

/// The verdicts on a pod's connections.
pub trait PodVerdicts: Send + Sync + 'static {
    /// Of the connection from `source` to `destination`, as the application sees them.
    fn verdict(&self, source: SocketAddr, destination: SocketAddr) -> Option<Verdict>;
}

/// What all pods of the tunnel share.
struct Shared {
    verdicts: Arc<dyn Verdicts>,
    view: View,
    certs: Arc<dyn CertSource>,
    pool: Pool<PodDialer>,
    workshop: Workshop,
    stats: Stats,
}

/// The tunnel's listeners of all enrolled pods.
pub struct EmbeddedTunnel {
    shared: Arc<Shared>,
    pods: Mutex<BTreeMap<u64, Pod>>,
    /// The uids of those that are served.
    served: std::sync::Mutex<BTreeSet<String>>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for EmbeddedTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedTunnel").finish_non_exhaustive()
    }
}

impl EmbeddedTunnel {
    /// How long connections may go on after their pod was removed or the tunnel stopped.
    const DRAIN: Duration = Duration::from_secs(2);

    /// `view` is of what is written to the maps.
    ///
    /// # Errors
    /// When the thread that enters network namespaces cannot be started.
    pub fn new(
        certs: Arc<dyn CertSource>,
        verdicts: Arc<dyn Verdicts>,
        view: View,
    ) -> Result<Self, TunnelError> {
        let workshop = Workshop::start().map_err(TunnelError::Workshop)?;
        let pool = Pool::new(
            PoolConfig::default(),
            certs.clone(),
            PodDialer::new(workshop.clone()),
        );
        let shared = Shared {
            verdicts,
            view,
            certs,
            pool,
            workshop,
            stats: Stats::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            pods: Mutex::default(),
            served: std::sync::Mutex::default(),
            changes: watch::Sender::default(),
        })
    }

    /// Opens the ports in a pod's netns. Adding a pod again changes nothing.
    ///
    /// # Errors
    /// When a port is taken or the netns is gone.
    pub async fn add(&self, uid: &str, netns: u64, fd: OwnedFd) -> Result<(), TunnelError> {
        let mut pods = self.pods.lock().await;
        if let btree_map::Entry::Vacant(place) = pods.entry(netns) {
            let fd = Arc::new(fd);
            let sockets = PodSockets::open(&self.shared.workshop, fd.clone()).await?;
            let verdicts = self.shared.verdicts.clone();
            let verdicts = self
                .shared
                .workshop
                .in_netns(fd.clone(), move || Ok(verdicts.of_pod(netns)));
            let verdicts = verdicts.await.map_err(TunnelError::Workshop)?;
            self.shared.workshop.register(netns, fd);
            place.insert(Pod::start(self.shared.clone(), netns, verdicts, sockets));
        }
        self.served().insert(uid.to_owned());
        self.changes.send_modify(|ticks| *ticks += 1);
        Ok(())
    }

    /// Opens the ports of a pod again, whatever became of its listeners; its connections go on.
    ///
    /// # Errors
    /// When a port is taken or the netns is gone.
    pub async fn listen_again(&self, netns: u64, fd: OwnedFd) -> Result<(), TunnelError> {
        if let Some(pod) = self.pods.lock().await.get_mut(&netns) {
            let sockets = PodSockets::open(&self.shared.workshop, Arc::new(fd)).await?;
            pod.listen(sockets).await;
        }
        Ok(())
    }

    /// Closes a pod's ports; its connections get a moment to end.
    pub async fn remove(&self, uid: &str, netns: u64) {
        self.served().remove(uid);
        self.changes.send_modify(|ticks| *ticks += 1);
        let pod = self.pods.lock().await.remove(&netns);
        if let Some(pod) = pod {
            self.let_go(netns, pod, Self::DRAIN).await;
        }
    }

    async fn let_go(&self, netns: u64, pod: Pod, drain: Duration) {
        pod.stop(drain).await;
        // Each idle connection would keep the netns for as long as it is kept itself.
        self.shared.pool.retire(netns);
        self.shared.workshop.forget(netns);
    }

    pub fn readiness(&self, uid: &str) -> Readiness {
        match self.served().contains(uid) {
            true => Readiness::Ready,
            false => Readiness::Waiting {
                reason: "the embedded tunnel does not listen in this pod yet".to_owned(),
            },
        }
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Closes all ports.
    pub async fn stop(&self) {
        self.drain(Self::DRAIN).await;
    }

    /// Closes all ports; connections may go on for so long.
    pub async fn drain(&self, at_most: Duration) {
        let pods = std::mem::take(&mut *self.pods.lock().await);
        let stopping = pods.into_iter();
        let stopping = stopping.map(|(netns, pod)| self.let_go(netns, pod, at_most));
        futures_util::future::join_all(stopping).await;
        self.shared.pool.shutdown(Self::DRAIN).await;
    }

    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats.snapshot()
    }

    fn served(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until cancelled.
async fn until_cancelled<F: Future<Output = ()>>(stop: CancellationToken, task: F) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}
