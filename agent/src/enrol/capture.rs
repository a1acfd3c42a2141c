//! Capturing one pod: everything that happens in its netns, in one visit.
//!
//! Attaching a program takes a grace period of the kernel's (`tcx_entry_sync`, under the one lock of
//! all network configuration): that is most of the time that a pod takes, also where these are made
//! short ([`crate::kernel::expedite`]). So a visit is done on a
//! thread of its own, and what comes after it for one pod is done while the next is visited. More
//! visits than one at a time would only wait for each other.

use std::panic;

use tokio::task::spawn_blocking;

use super::{EnrolError, Enroller, Enrolment, Look};
use crate::kernel::attach::PodLinks;
use crate::kernel::inspect::{InspectError, PodSight, inspect_here};
use crate::kernel::netns::{PodNetns, PodNetwork};
use crate::kernel::records::Record;
use crate::kernel::redirect::Redirect;
use crate::kernel::watch::{NetnsWatch, Subscription, WatchError};
use crate::model::PodSpec;

/// A pod that is captured as far as its netns is concerned.
#[derive(Debug)]
pub struct Captured {
    pub enrolment: Enrolment,
    /// What was seen in the netns after everything was put there.
    pub look: Result<Look, InspectError>,
    /// Hears of what has changed since before that look.
    pub watch: Result<NetnsWatch, WatchError>,
}

/// What is in a netns after a visit.
struct Visited {
    network: PodNetwork,
    redirect: Redirect,
    links: PodLinks,
    is_elder: bool,
    watch: Result<Subscription, WatchError>,
    sight: Result<PodSight, InspectError>,
}

impl Enroller {
    /// In this order: the record of what is to be changed, routes for what will be marked,
    /// programs. Then the caller writes the maps, and only then does `connect` mark anything; then
    /// the tunnel gets the pod ([`Self::serve`]). `taken` are the cookies of other pods' netns.
    ///
    /// Each step looks what is there, so that it does not matter how far an earlier process came.
    /// Not to be dropped half-way: the visit would go on.
    ///
    /// # Errors
    /// When any part fails; what was done until then is undone, unless the pod was captured before.
    pub async fn capture(&self, spec: PodSpec, taken: Vec<u64>) -> Result<Captured, EnrolError> {
        let enroller = self.clone();
        let visit = spawn_blocking(move || enroller.visit(spec, &taken)).await;
        visit.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            // The runtime is going down, and so are we.
            Err(error) => Err(EnrolError::Visit(error)),
        })
    }

    fn visit(&self, spec: PodSpec, taken: &[u64]) -> Result<Captured, EnrolError> {
        let (netns, visited) = PodNetns::visit(&spec.netns, |netns| {
            if taken.contains(&netns.cookie()) {
                let path = spec.netns.display().to_string();
                return Err(EnrolError::Taken { path });
            }
            self.visit_here(netns.cookie(), &spec)
        })?;
        let Visited {
            network,
            redirect,
            links,
            is_elder,
            watch,
            sight,
        } = visited?;
        let enrolment = Enrolment {
            spec,
            netns,
            network,
            redirect,
            links,
            is_elder,
        };
        Ok(Captured {
            look: sight.map(|sight| enrolment.judge(sight)),
            watch: watch.and_then(NetnsWatch::new),
            enrolment,
        })
    }

    /// In the calling thread's netns, which has this cookie.
    fn visit_here(&self, cookie: u64, spec: &PodSpec) -> Result<Visited, EnrolError> {
        let network = PodNetwork::of_this_thread()?;
        if network.addresses.is_empty() {
            return Err(EnrolError::NoAddress);
        }
        if network.devices.is_empty() {
            return Err(EnrolError::NoDevice);
        }
        let known = self.records().get(cookie)?;
        let is_new = known.is_none();
        let redirect = Redirect::plan_here(known.map(|record| record.before))?;
        let record = Record::new(spec, redirect.before().clone());
        self.records().put(cookie, &record)?;
        let attached = redirect.apply_here(&network).map_err(EnrolError::from);
        let attached = attached.and_then(|()| self.attach_here(cookie, &network));
        match attached {
            Ok((links, is_elder)) => Ok(Visited {
                network,
                redirect,
                links,
                is_elder,
                // Before the look, so that no change falls in between.
                watch: Subscription::here(),
                sight: inspect_here(),
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
        let programs = self.programs();
        let _short = self.expediter.hold();
        Ok(match programs.elder_links(cookie)? {
            Some(links) => (links, true),
            None => (programs.attach_here(cookie, network)?, false),
        })
    }

    fn undo_here(&self, cookie: u64, redirect: Redirect) {
        match redirect.remove_here().map_err(EnrolError::from) {
            Ok(()) => self.forget(cookie),
            Err(error) => {
                tracing::warn!(%error, "rules of a pod that was not enrolled stay behind");
            }
        }
    }
}
