//! What turns application bytes into HBONE and back, in every enrolled pod's netns: the embedded
//! tunnel, or ztunnel.
//!
//! A pod is handed to the tunnel after its rules, programs and map entries are in place; whether
//! the tunnel has taken it is asked with [`Tunnel::readiness`], and may change at any time.

mod embedded;
mod view;
mod zds;

pub use embedded::{EmbeddedTunnel, PodSockets, PodVerdicts, Stats, StatsSnapshot, Verdicts};
pub use view::{SharedCompiler, View};
pub use zds::{Answer, Kind, Latency, Occupant, ZdsError, Ztunnel, ZtunnelStatus, occupant};

use std::os::fd::OwnedFd;

use serde::Serialize;
use tokio::sync::watch;

use crate::model::PodSpec;

#[derive(Debug)]
pub enum Tunnel {
    Embedded(EmbeddedTunnel),
    Ztunnel(Ztunnel),
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
    #[error(transparent)]
    Zds(#[from] ZdsError),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ": another tunnel, or the pod itself, has it",
        std::io::ErrorKind::PermissionDenied => ": CAP_NET_ADMIN is needed",
        _ => "",
    }
}

/// Whether the tunnel serves a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// It may yet, without anybody doing anything.
    Waiting {
        reason: String,
    },
    /// It said no, and is asked again.
    Refused {
        reason: String,
    },
}

/// What `waysteer status` shows.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TunnelStatus {
    Embedded(StatsSnapshot),
    Ztunnel(ZtunnelStatus),
}

impl Tunnel {
    /// Hands a pod over; adding it again changes nothing. ztunnel takes it when it takes it: see
    /// [`Self::readiness`].
    ///
    /// # Errors
    /// When the tunnel can never serve this pod as it is.
    pub async fn add(
        &self,
        pod: &PodSpec,
        netns_cookie: u64,
        fd: OwnedFd,
    ) -> Result<(), TunnelError> {
        match self {
            Self::Embedded(tunnel) => tunnel.add(&pod.uid, netns_cookie, fd).await,
            Self::Ztunnel(tunnel) => Ok(tunnel.add(pod, netns_cookie, fd)?),
        }
    }

    /// For a pod whose ports have lost their listeners: the embedded tunnel opens them again. A
    /// ztunnel that is gone comes back by itself, and does then.
    ///
    /// # Errors
    /// When a port is taken or the netns is gone.
    pub async fn listen_again(&self, netns_cookie: u64, fd: OwnedFd) -> Result<(), TunnelError> {
        match self {
            Self::Embedded(tunnel) => tunnel.listen_again(netns_cookie, fd).await,
            Self::Ztunnel(_) => Ok(()),
        }
    }

    /// For a pod that was captured before and whose netns cannot be opened now: a ztunnel that
    /// serves it goes on. To the embedded tunnel, which never outlives the agent, it means nothing.
    ///
    /// # Errors
    /// When the tunnel could not be told of this pod.
    pub fn keep(&self, pod: &PodSpec) -> Result<(), TunnelError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Ztunnel(tunnel) => Ok(tunnel.keep(pod)?),
        }
    }

    pub async fn remove(&self, uid: &str, netns_cookie: u64) {
        match self {
            Self::Embedded(tunnel) => tunnel.remove(uid, netns_cookie).await,
            Self::Ztunnel(tunnel) => tunnel.remove(uid),
        }
    }

    pub fn readiness(&self, uid: &str) -> Readiness {
        match self {
            Self::Embedded(tunnel) => tunnel.readiness(uid),
            Self::Ztunnel(tunnel) => tunnel.readiness(uid),
        }
    }

    /// Ticks whenever some pod's readiness may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        match self {
            Self::Embedded(tunnel) => tunnel.changes(),
            Self::Ztunnel(tunnel) => tunnel.changes(),
        }
    }

    /// Every pod that was captured before is added again. Until then no ztunnel is told of a
    /// snapshot, for it drops what a snapshot lacks, and the connections with it.
    pub fn pods_registered(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Ztunnel(tunnel) => tunnel.pods_registered(),
        }
    }

    /// Whether authorization policies are evaluated behind it.
    pub fn enforces_policies(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Ztunnel(_) => true,
        }
    }

    pub fn status(&self) -> TunnelStatus {
        match self {
            Self::Embedded(tunnel) => TunnelStatus::Embedded(tunnel.stats()),
            Self::Ztunnel(tunnel) => TunnelStatus::Ztunnel(tunnel.status()),
        }
    }

    /// Embedded: closes all ports. ztunnel is told what was removed until now, and goes on with
    /// the rest.
    pub async fn stop(&self) {
        match self {
            Self::Embedded(tunnel) => tunnel.stop().await,
            Self::Ztunnel(tunnel) => tunnel.stop().await,
        }
    }
}
