//! Whether a pod is still captured as it was enrolled, and making it so again.

use std::collections::BTreeSet;
use std::fmt;

use tokio::task::block_in_place;

use super::{EnrolError, Enroller, Enrolment};
use crate::kernel::attach::Spot;
use crate::kernel::hooks;
use crate::kernel::inspect::{InspectError, LOOPBACK_INDEX, PodSight};
use crate::kernel::listeners;
use crate::kernel::netns::{PodDevice, PodNetwork};
use crate::kernel::redirect;
use crate::verify::{Drift, DriftKind};

/// What a look at a pod has brought.
#[derive(Debug)]
pub struct Look {
    pub drifts: Vec<Drift>,
    /// The tunnel listens on all of its ports.
    pub is_listening: bool,
    network: PodNetwork,
    /// Programs of ours that are not first, with their devices.
    hindmost: Vec<(u32, &'static str)>,
}

impl Enrolment {
    /// Compares the pod's netns with what it should be. Blocks.
    pub fn look(&self) -> Result<Look, InspectError> {
        Ok(self.judge(self.netns.inspect()?))
    }

    /// Compares what was seen with what it should be.
    pub(super) fn judge(&self, sight: PodSight) -> Look {
        let mut look = Look {
            drifts: Vec::new(),
            is_listening: sight.no_listener.is_empty(),
            network: PodNetwork::default(),
            hindmost: Vec::new(),
        };
        devices(&self.network, &sight.network, &mut look.drifts);
        addresses(&self.network, &sight.network, &mut look.drifts);
        self.programs(&sight, &mut look);
        look.drifts.extend(sight.redirect.iter().map(|drift| {
            let kind = match drift {
                redirect::Drift::RuleMissing { .. } => DriftKind::Rule,
                redirect::Drift::RouteMissing { .. } => DriftKind::Route,
                redirect::Drift::SysctlChanged { .. } => DriftKind::Sysctl,
                redirect::Drift::LoopbackDown => DriftKind::Loopback,
            };
            Drift::new(kind, drift)
        }));
        look.drifts
            .extend(found(DriftKind::Listener, sight.no_listener));
        look.network = sight.network;
        look
    }

    /// Whether the tunnel listens on all of its ports, and no more: waits for nobody, unlike
    /// [`Self::look`]. Blocks.
    pub fn is_listening(&self) -> Result<bool, InspectError> {
        Ok(listeners::missing(&self.netns)?.is_empty())
    }

    /// Whether the pod's path names another network namespace by now. One that names none may be
    /// of a pod that ends, or that is about to be made anew.
    pub fn has_successor(&self) -> bool {
        self.netns.has_successor()
    }

    fn programs(&self, sight: &PodSight, look: &mut Look) {
        for (spot, ours) in self.links.spots() {
            let Spot {
                device,
                index,
                program,
                hook,
            } = spot;
            let running = sight.programs_at(*index, *hook);
            let Some(position) = running.iter().position(|id| *id == ours) else {
                // What became of a device that is gone is told as such.
                if *index == LOOPBACK_INDEX || has(&sight.network, *index) {
                    let what = format!("{program} is not attached to {device}");
                    look.drifts.push(Drift::new(DriftKind::Program, what));
                }
                continue;
            };
            let before = hooks::strangers(running.iter().take(position), ours);
            if !before.is_empty() {
                let what = format!("{} before {program} on {device}", hooks::names(&before));
                look.drifts.push(Drift::new(DriftKind::Order, what));
                look.hindmost.push((*index, program));
            }
        }
    }
}

impl Enroller {
    /// Does what can be done about drifts that `look` has found. What is there stays as it is.
    /// Whether that was enough only another look tells.
    ///
    /// # Errors
    /// When something failed; what comes after it was tried all the same.
    pub async fn repair(
        &self,
        enrolment: &mut Enrolment,
        look: Look,
        due: &[Drift],
    ) -> Result<(), EnrolError> {
        let kinds: BTreeSet<DriftKind> = due.iter().map(|drift| drift.kind).collect();
        let any = |of: &[DriftKind]| of.iter().any(|kind| kinds.contains(kind));
        let mut result = Ok(());
        // As at enrolment: routes for what will be marked, then programs, then listeners.
        if any(&[
            DriftKind::Rule,
            DriftKind::Route,
            DriftKind::Sysctl,
            DriftKind::Loopback,
            DriftKind::Address,
        ]) {
            let repaired = block_in_place(|| enrolment.redirect.repair(&enrolment.netns));
            result = repaired.map_err(EnrolError::from);
        }
        // Our programs are nothing to a pod that is not in our maps yet.
        if any(&[DriftKind::Program, DriftKind::Device]) && !enrolment.is_elder {
            let attached = block_in_place(|| {
                let _short = self.expediter.hold();
                self.programs().attach_pod(&enrolment.netns, &look.network)
            });
            match attached {
                Ok(links) => {
                    enrolment.links = links;
                    enrolment.network.devices = look.network.devices;
                }
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        if any(&[DriftKind::Address]) {
            // The maps follow when the caller writes them.
            enrolment.network.addresses = look.network.addresses;
        }
        if any(&[DriftKind::Order]) {
            let first = block_in_place(|| {
                let links = &mut enrolment.links;
                let _short = self.expediter.hold();
                self.programs()
                    .put_first(&enrolment.netns, links, &look.hindmost)
            });
            result = result.and(first.map_err(EnrolError::from));
        }
        if any(&[DriftKind::Listener]) {
            let fd = enrolment.netns.try_clone_fd().map_err(EnrolError::Keep);
            let listening = match fd {
                Ok(fd) => {
                    let cookie = enrolment.netns.cookie();
                    let listening = self.tunnel.listen_again(cookie, fd).await;
                    listening.map_err(EnrolError::from)
                }
                Err(error) => Err(error),
            };
            result = result.and(listening);
        }
        result
    }
}

fn devices(known: &PodNetwork, now: &PodNetwork, drifts: &mut Vec<Drift>) {
    let mut tell = |what: fmt::Arguments<'_>| drifts.push(Drift::new(DriftKind::Device, what));
    let same_name = |device: &PodDevice| now.devices.iter().any(|other| other.name == device.name);
    for device in &known.devices {
        let name = &device.name;
        match now.devices.iter().find(|other| other.index == device.index) {
            Some(other) if other.name == *name => {}
            Some(other) => tell(format_args!("{name} is called {} now", other.name)),
            None if same_name(device) => tell(format_args!("{name} is another device now")),
            None => tell(format_args!("{name} is gone")),
        }
    }
    for device in &now.devices {
        let is_known = known.devices.iter().any(|other| {
            // One that took a name is told above.
            other.index == device.index || other.name == device.name && !has(now, other.index)
        });
        if !is_known {
            tell(format_args!("{} is new", device.name));
        }
    }
}

fn has(network: &PodNetwork, index: u32) -> bool {
    network.devices.iter().any(|device| device.index == index)
}

fn addresses(known: &PodNetwork, now: &PodNetwork, drifts: &mut Vec<Drift>) {
    let lacks = |network: &PodNetwork, of: &PodNetwork| {
        let lacking = of.addresses.iter().copied();
        let lacking = lacking.filter(|address| !network.addresses.contains(address));
        lacking.collect::<Vec<_>>()
    };
    let gone = lacks(now, known);
    drifts.extend(found(
        DriftKind::Address,
        gone.iter()
            .map(|address| format!("address {address} is gone")),
    ));
    let new = lacks(known, now);
    drifts.extend(found(
        DriftKind::Address,
        new.iter()
            .map(|address| format!("address {address} is new")),
    ));
}

fn found<W: fmt::Display>(
    kind: DriftKind,
    what: impl IntoIterator<Item = W>,
) -> impl Iterator<Item = Drift> {
    what.into_iter().map(move |what| Drift::new(kind, what))
}
