//! Capturing one pod, and letting it go.

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
use crate::kernel::records::{Record, RecordError, Records};
use crate::kernel::redirect::{Redirect, RedirectError};
use crate::kernel::route_socket::RouteSocketError;
use crate::model::PodSpec;
use crate::tunnel::{Readiness, Tunnel, TunnelError};

pub use verify::Look;

/// Puts rules and programs into pods' netns, and hands pods to the tunnel.
#[derive(Debug)]
pub struct Enroller {
    pub programs: Programs,
    pub records: Records,
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
    #[error("cannot keep the network namespace open")]
    Keep(#[source] std::io::Error),
}

/// What is in a netns after [`Enroller::capture`].
struct Captured {
    network: PodNetwork,
    redirect: Redirect,
    links: PodLinks,
    is_elder: bool,
}

impl Enroller {
    /// In this order: the record of what is to be changed, routes for what will be marked,
    /// programs. Then the caller writes the maps, and only then does `connect` mark anything; then
    /// the tunnel gets the pod ([`Self::serve`]).
    ///
    /// Each step looks what is there, so that it does not matter how far an earlier process came.
    ///
    /// # Errors
    /// When any part fails; what was done until then is undone, unless the pod was captured before.
    pub fn capture(&mut self, spec: PodSpec, taken: &[u64]) -> Result<Enrolment, EnrolError> {
        let visited = block_in_place(|| {
            PodNetns::visit(&spec.netns, |netns| {
                if taken.contains(&netns.cookie()) {
                    let path = spec.netns.display().to_string();
                    return Err(EnrolError::Taken { path });
                }
                self.capture_here(netns.cookie(), &spec)
            })
        });
        let (netns, captured) = visited?;
        let Captured {
            network,
            redirect,
            links,
            is_elder,
        } = captured?;
        Ok(Enrolment {
            spec,
            netns,
            network,
            redirect,
            links,
            is_elder,
        })
    }

    /// In the calling thread's netns, which has this cookie.
    fn capture_here(&mut self, cookie: u64, spec: &PodSpec) -> Result<Captured, EnrolError> {
        let network = PodNetwork::of_this_thread()?;
        if network.addresses.is_empty() {
            return Err(EnrolError::NoAddress);
        }
        if network.devices.is_empty() {
            return Err(EnrolError::NoDevice);
        }
        let known = self.records.get(cookie)?;
        let is_new = known.is_none();
        let redirect = Redirect::plan_here(known.map(|record| record.before))?;
        let record = Record::new(spec, redirect.before().clone());
        self.records.put(cookie, &record)?;
        let attached = redirect.apply_here(&network).map_err(EnrolError::from);
        let attached = attached.and_then(|()| self.attach_here(cookie, &network));
        match attached {
            Ok((links, is_elder)) => Ok(Captured {
                network,
                redirect,
                links,
                is_elder,
            }),
            Err(error) => {
                if is_new {
                    self.undo_here(cookie, redirect);
                }
                Err(error)
            }
        }
    }

    /// Links of an older generation stay until [`Self::take_over`].
    fn attach_here(
        &self,
        cookie: u64,
        network: &PodNetwork,
    ) -> Result<(PodLinks, bool), EnrolError> {
        Ok(match self.programs.elder_links(cookie)? {
            Some(links) => (links, true),
            None => (self.programs.attach_here(cookie, network)?, false),
        })
    }

    fn undo_here(&mut self, cookie: u64, redirect: Redirect) {
        match redirect.remove_here().map_err(EnrolError::from) {
            Ok(()) => self.forget(cookie),
            Err(error) => {
                tracing::warn!(%error, "rules of a pod that was not enrolled stay behind");
            }
        }
    }

    /// Exchanges the programs of an older generation for ours. The pod must be in our maps.
    ///
    /// # Errors
    /// When a link could not be exchanged; each is either the old one or a new one.
    pub fn take_over(&self, enrolment: &mut Enrolment) -> Result<(), EnrolError> {
        let Enrolment { netns, network, .. } = enrolment;
        let cookie = netns.cookie();
        enrolment.links =
            block_in_place(|| netns.run(|| self.programs.attach_here(cookie, network)))??;
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

    /// After the pod is out of the maps.
    pub async fn withdraw(&mut self, enrolment: Enrolment) {
        let Enrolment {
            spec,
            netns,
            network: _,
            redirect,
            links,
            is_elder: _,
        } = enrolment;
        let uid = spec.uid;
        if let Err(error) = block_in_place(|| links.detach()) {
            tracing::warn!(%error, uid, "programs of the pod stay behind");
        }
        self.tunnel.remove(&uid, netns.cookie()).await;
        match block_in_place(|| redirect.remove(&netns)) {
            Ok(()) => self.forget(netns.cookie()),
            // The record stays: `waysteer cleanup` may do better.
            Err(error) => tracing::warn!(%error, uid, "rules of the pod stay behind"),
        }
    }

    /// The same for a pod whose netns cannot be reached any more: what is left of it outside.
    pub fn abandon(&mut self, cookie: u64) {
        if let Err(error) = block_in_place(|| self.programs.detach_netns(cookie)) {
            tracing::warn!(%error, netns = cookie, "programs of a pod that is gone stay behind");
        }
        self.forget(cookie);
    }

    fn forget(&mut self, cookie: u64) {
        if let Err(error) = self.records.delete(cookie) {
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
