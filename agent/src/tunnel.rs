//! The embedded tunnel: ztunnel's ports in every enrolled netns, spoken by the `hbone` crate.
//!
//! For one machine, demos and tests. What to do with a connection was decided by the kernel: the
//! verdict stands in `FLOWS` under the connection's tuple. The tunnel never decides for plaintext
//! by itself: a flow whose verdict names no next hop is held for a while and then reset.

mod dial;
mod inbound;
mod outbound;
mod pod;
mod sockets;
mod stats;
mod view;

pub use pod::PodSockets;
pub use stats::{Stats, StatsSnapshot};
pub use view::View;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use waysteer_common::abi::key::FlowKey;
use waysteer_common::verdict::Verdict;
use waysteer_hbone::certs::CertSource;
use waysteer_hbone::client::{Pool, PoolConfig};

use dial::PodDialer;
use pod::Pod;
use sockets::Workshop;

/// Where the kernel's verdicts on single connections are found.
pub trait Verdicts: Send + Sync + 'static {
    fn verdict(&self, flow: &FlowKey) -> Option<Verdict>;
}

#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("cannot start the thread that makes sockets in pods' network namespaces")]
    Workshop(#[source] std::io::Error),
    #[error(
        "cannot listen on port {port} in the pod's network namespace{}",
        hint(source)
    )]
    Listen {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "policies are present ({policies}), which the embedded tunnel would not enforce: remove \
         them, or use ztunnel"
    )]
    Policies { policies: String },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ": another tunnel, or the pod itself, has it",
        std::io::ErrorKind::PermissionDenied => ": CAP_NET_ADMIN is needed",
        _ => "",
    }
}

/// What all pods of the tunnel share.
struct Shared {
    verdicts: Arc<dyn Verdicts>,
    view: watch::Receiver<Arc<View>>,
    certs: Arc<dyn CertSource>,
    pool: Pool<PodDialer>,
    workshop: Workshop,
    stats: Stats,
}

/// The tunnel's listeners of all enrolled pods.
pub struct EmbeddedTunnel {
    shared: Arc<Shared>,
    pods: Mutex<BTreeMap<u64, Pod>>,
}

impl std::fmt::Debug for EmbeddedTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedTunnel").finish_non_exhaustive()
    }
}

impl EmbeddedTunnel {
    /// How long connections may go on after their pod was removed or the tunnel stopped.
    const DRAIN: Duration = Duration::from_secs(2);

    /// `view` carries what was last written to the maps.
    ///
    /// # Errors
    /// When the thread that enters network namespaces cannot be started.
    pub fn new(
        certs: Arc<dyn CertSource>,
        verdicts: Arc<dyn Verdicts>,
        view: watch::Receiver<Arc<View>>,
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
        })
    }

    /// Opens the ports in a pod's netns. Adding a pod again changes nothing.
    ///
    /// # Errors
    /// When a port is taken or the netns is gone.
    pub async fn add(&self, netns: u64, fd: OwnedFd) -> Result<(), TunnelError> {
        let mut pods = self.pods.lock().await;
        if pods.contains_key(&netns) {
            return Ok(());
        }
        let fd = Arc::new(fd);
        let sockets = PodSockets::open(&self.shared.workshop, fd.clone()).await?;
        self.shared.workshop.register(netns, fd);
        pods.insert(netns, Pod::start(self.shared.clone(), netns, sockets));
        Ok(())
    }

    /// Closes a pod's ports; its connections get a moment to end.
    pub async fn remove(&self, netns: u64) {
        let pod = self.pods.lock().await.remove(&netns);
        if let Some(pod) = pod {
            pod.stop(Self::DRAIN).await;
        }
        self.shared.workshop.forget(netns);
    }

    /// Closes all ports.
    pub async fn stop(&self) {
        let pods = std::mem::take(&mut *self.pods.lock().await);
        let stopping = pods.into_values().map(|pod| pod.stop(Self::DRAIN));
        futures_util::future::join_all(stopping).await;
        self.shared.pool.shutdown(Self::DRAIN).await;
    }

    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats.snapshot()
    }
}

/// Runs until cancelled.
async fn until_cancelled<F: Future<Output = ()>>(stop: CancellationToken, task: F) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}
