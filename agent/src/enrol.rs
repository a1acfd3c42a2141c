//! Getting a pod captured, and letting it go.

mod verify;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::task::block_in_place;

use crate::compile::EnrolledPod;
use crate::kernel::attach::{AttachError, PodLinks};
use crate::kernel::inspect::InspectError;
use crate::kernel::load::Programs;
use crate::kernel::netns::{NetnsError, PodNetns, PodNetwork};
use crate::kernel::redirect::{Drift, Redirect, RedirectError};
use crate::model::PodSpec;
use crate::tunnel::{Readiness, Tunnel, TunnelError};

pub use verify::Look;

/// Puts rules, programs and the tunnel's listeners into pods' netns.
#[derive(Debug)]
pub struct Enroller {
    pub programs: Programs,
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
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("what was set up is not there: {0:?}")]
    Drift(Vec<Drift>),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error("cannot keep the network namespace open")]
    Keep(#[source] std::io::Error),
}

impl Enroller {
    /// In this order: routes for what will be marked, listeners for what will be delivered,
    /// programs; then the caller writes the maps, and only then does `connect` mark anything.
    ///
    /// # Errors
    /// When any part fails; what was done until then is undone.
    pub async fn enrol(&mut self, spec: PodSpec, taken: &[u64]) -> Result<Enrolment, EnrolError> {
        let netns = block_in_place(|| PodNetns::open(&spec.netns))?;
        if taken.contains(&netns.cookie()) {
            return Err(EnrolError::Taken {
                path: spec.netns.display().to_string(),
            });
        }
        let network = block_in_place(|| netns.network())?;
        if network.addresses.is_empty() {
            return Err(EnrolError::NoAddress);
        }
        if network.devices.is_empty() {
            return Err(EnrolError::NoDevice);
        }
        let redirect = block_in_place(|| Redirect::install(&netns, &network))?;
        let entered: Result<PodLinks, EnrolError> = async {
            let fd: OwnedFd = netns.try_clone_fd().map_err(EnrolError::Keep)?;
            self.tunnel.add(&spec, netns.cookie(), fd).await?;
            let drift = block_in_place(|| redirect.verify(&netns))?;
            if !drift.is_empty() {
                return Err(EnrolError::Drift(drift));
            }
            Ok(block_in_place(|| {
                self.programs.attach_pod(&netns, &network)
            })?)
        }
        .await;
        match entered {
            Ok(links) => Ok(Enrolment {
                spec,
                netns,
                network,
                redirect,
                links,
            }),
            Err(error) => {
                self.tunnel.remove(&spec.uid, netns.cookie()).await;
                if let Err(error) = block_in_place(|| redirect.remove(&netns)) {
                    tracing::warn!(%error, "rules of a pod that was not enrolled stay behind");
                }
                Err(error)
            }
        }
    }

    /// After the pod is out of the maps.
    pub async fn withdraw(&mut self, enrolment: Enrolment) {
        let Enrolment {
            spec,
            netns,
            network: _,
            redirect,
            links,
        } = enrolment;
        if let Err(error) = block_in_place(|| links.detach()) {
            tracing::warn!(%error, uid = spec.uid, "programs of the pod stay behind");
        }
        self.tunnel.remove(&spec.uid, netns.cookie()).await;
        if let Err(error) = block_in_place(|| redirect.remove(&netns)) {
            tracing::warn!(%error, uid = spec.uid, "rules of the pod stay behind");
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
