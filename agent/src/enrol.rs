//! Capturing one pod, and letting it go.

mod capture;
mod verify;
mod withdraw;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::block_in_place;

use crate::compile::EnrolledPod;
use crate::kernel::attach::{AttachError, PodLinks};
use crate::kernel::connections::ConnectionsError;
use crate::kernel::expedite::Expediter;
use crate::kernel::inspect::InspectError;
use crate::kernel::load::Programs;
use crate::kernel::netns::{NetnsError, PodNetns, PodNetwork};
use crate::kernel::records::{RecordError, Records};
use crate::kernel::redirect::{Redirect, RedirectError};
use crate::kernel::route_socket::RouteSocketError;
use crate::model::PodSpec;
use crate::tunnel::{Readiness, Tunnel, TunnelError};

pub use capture::Captured;
pub use verify::Look;

/// Puts rules and programs into pods' netns, and hands pods to the tunnel. A clone works with the
/// same programs and records, on another thread.
#[derive(Clone, Debug)]
pub struct Enroller {
    programs: Arc<Mutex<Programs>>,
    records: Arc<Mutex<Records>>,
    expediter: Arc<Expediter>,
    pub tunnel: Arc<Tunnel>,
}

/// What was put into one pod's netns.
#[derive(Debug)]
pub struct Enrolment {
    spec: PodSpec,
    netns: PodNetns,
    network: PodNetwork,
    redirect: Redirect,
    links: PodLinks,
    /// The programs are those of an older generation, which work by its maps.
    is_elder: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("the network namespace {path} is another enrolled pod's already")]
    Taken { path: String },
    #[error("the pod has no address yet")]
    NoAddress,
    #[error("the pod has no device besides lo yet")]
    NoDevice,
    #[error("cannot look at the pod's devices")]
    Network(#[from] RouteSocketError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Connections(#[from] ConnectionsError),
    #[error("the pod's network namespace was not visited to the end")]
    Visit(#[source] tokio::task::JoinError),
    #[error("cannot keep the network namespace open")]
    Keep(#[source] std::io::Error),
}

impl Enroller {
    pub fn new(
        programs: Programs,
        records: Records,
        expediter: Expediter,
        tunnel: Arc<Tunnel>,
    ) -> Self {
        Self {
            programs: Arc::new(Mutex::new(programs)),
            records: Arc::new(Mutex::new(records)),
            expediter: Arc::new(expediter),
            tunnel,
        }
    }

    /// While a pod is being captured they are not to be had. Blocks.
    pub fn programs(&self) -> MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks, but never for long.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges the programs of an older generation for ours. The pod must be in our maps.
    ///
    /// # Errors
    /// When a link could not be exchanged; each is either the old one or a new one.
    pub fn take_over(&self, enrolment: &mut Enrolment) -> Result<(), EnrolError> {
        let Enrolment { netns, network, .. } = enrolment;
        let cookie = netns.cookie();
        let _short = self.expediter.hold();
        enrolment.links =
            block_in_place(|| netns.run(|| self.programs().attach_here(cookie, network)))??;
        enrolment.is_elder = false;
        Ok(())
    }

    /// Hands the pod to the tunnel. A pod that the tunnel has already is not handed over again.
    ///
    /// # Errors
    /// When the tunnel cannot take it now; its flows are held then.
    pub async fn serve(&self, enrolment: &Enrolment) -> Result<(), EnrolError> {
        let netns = &enrolment.netns;
        let fd: OwnedFd = netns.try_clone_fd().map_err(EnrolError::Keep)?;
        Ok(self.tunnel.add(&enrolment.spec, netns.cookie(), fd).await?)
    }

    /// The same for a pod whose netns cannot be reached any more: what is left of it outside.
    pub fn abandon(&self, cookie: u64) {
        let short = self.expediter.hold();
        if let Err(error) = block_in_place(|| self.programs().detach_netns(cookie)) {
            tracing::warn!(%error, netns = cookie, "programs of a pod that is gone stay behind");
        }
        drop(short);
        self.forget(cookie);
    }

    fn forget(&self, cookie: u64) {
        if let Err(error) = self.records().delete(cookie) {
            tracing::warn!(%error, netns = cookie, "the record of a pod stays behind");
        }
    }
}

impl Enroller {
    /// Whether the tunnel serves the pod.
    pub fn readiness(&self, enrolment: &Enrolment) -> Readiness {
        self.tunnel.readiness(&enrolment.spec.uid)
    }
}

impl Enrolment {
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// Netns cookie.
    pub fn netns(&self) -> u64 {
        self.netns.cookie()
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.network.addresses
    }

    /// Whether it is captured by an older generation's programs.
    pub fn is_elder(&self) -> bool {
        self.is_elder
    }

    /// As compilation wants it.
    pub fn to_pod(&self) -> EnrolledPod {
        EnrolledPod {
            netns: self.netns(),
            name: self.spec.name.clone(),
            namespace: self.spec.namespace.clone(),
            service_account: self.spec.service_account.clone(),
            addresses: self.network.addresses.clone(),
        }
    }
}
