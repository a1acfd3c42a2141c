//! One pod: what its netns and its map entries are, and what they should be.

use std::time::Instant;

use tokio::task::block_in_place;
use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;

use super::{RETRY, SPACING, Watched};
use crate::address::to_wire;
use crate::enrol::{Enrolment, Look};
use crate::error::chain;
use crate::kernel::inspect::InspectError;
use crate::reconcile::Work;
use crate::state::{PodState, Verification};
use crate::tunnel::Readiness;
use crate::verify::{Drift, DriftKind, News};

impl Work {
    /// Looks at a pod and repairs what it is time to repair.
    pub(in crate::reconcile) async fn verify_pod(&mut self, uid: &str) {
        let Some(enrolment) = self.enrolled.get(uid) else {
            // Its enrolment is tried again on its own.
            self.verifier.unwatch(uid);
            return;
        };
        if enrolment.has_successor() {
            self.enrol_anew(uid).await;
            return;
        }
        let Some((look, drifts)) = self.look_at(uid) else {
            return;
        };
        let is_due = |watched: &Watched| watched.book.due(Instant::now());
        let due = self.verifier.pods.get(uid).map(is_due).unwrap_or_default();
        if !due.is_empty() && !drifts.is_empty() {
            self.repair_pod(uid, look, &due).await;
            self.look_at(uid);
        }
        self.show_pod(uid);
    }

    /// Compares, and enters the outcome into the book. Nothing where it could not be looked.
    fn look_at(&mut self, uid: &str) -> Option<(Look, Vec<Drift>)> {
        let enrolment = self.enrolled.get(uid)?;
        let start = Instant::now();
        let looked = block_in_place(|| enrolment.look());
        let entered = self.enter(uid, looked);
        self.with.state.add_verification(start.elapsed());
        entered
    }

    /// Enters into the book what a look at the netns has found, and what is in the maps. A pod
    /// counts once it was looked at, and the tunnel serves it.
    pub(in crate::reconcile) fn enter(
        &mut self,
        uid: &str,
        looked: Result<Look, InspectError>,
    ) -> Option<(Look, Vec<Drift>)> {
        let enrolment = self.enrolled.get(uid)?;
        let of_maps = self.map_drift(enrolment);
        let readiness = self.with.enroller.readiness(enrolment);
        let watched = self.verifier.pods.get_mut(uid)?;
        let now = Instant::now();
        watched.looked = Some(now.into());
        // Not all at once: the pods of a start would stay together for ever.
        let interval = self.verifier.interval.mul_f64(rand::random_range(0.8..1.0));
        watched.due = (now + interval).into();
        let look = match looked {
            Ok(look) => look,
            Err(error) => {
                let error = chain(&error);
                if watched.unseen.as_ref() != Some(&error) {
                    tracing::error!(uid, error, "a pod cannot be looked at");
                }
                watched.unseen = Some(error);
                watched.due = (now + RETRY).into();
                self.show_pod(uid);
                return None;
            }
        };
        watched.unseen = None;
        let is_ready = readiness == Readiness::Ready;
        watched
            .listening
            .found(look.is_listening, is_ready, now.into());
        let was_listening = watched.listening.has_been();
        let is_known = |drift: &&Drift| drift.kind != DriftKind::Listener || was_listening;
        let mut drifts: Vec<Drift> = look.drifts.iter().filter(is_known).cloned().collect();
        drifts.extend(of_maps);
        let news = watched.book.enter(now, &drifts);
        if let Some(due) = watched.book.next_due() {
            // Our own repairs are heard of too.
            watched.due = watched.due.min(Instant::max(due, now + SPACING).into());
        }
        // Who counts finds it shown.
        self.show_pod(uid);
        self.tell(uid, &news);
        Some((look, drifts))
    }

    /// The pod's own entries of the maps.
    fn map_drift(&self, enrolment: &Enrolment) -> Vec<Drift> {
        let (netns, addresses) = entries(enrolment);
        let maps = &self.with.maps;
        let found = self.with_expected(|tables| maps.verify_pod(netns, &addresses, tables));
        match found {
            Ok(differences) => {
                let examples = differences.examples.iter();
                examples
                    .map(|what| Drift::new(DriftKind::Map, what))
                    .collect()
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "maps not readable");
                Vec::new()
            }
        }
    }

    async fn repair_pod(&mut self, uid: &str, look: Look, due: &[Drift]) {
        let Some(enrolment) = self.enrolled.get_mut(uid) else {
            return;
        };
        let repaired = self.with.enroller.repair(enrolment, look, due).await;
        let mut error = repaired.err().map(|error| chain(&error));
        if due.iter().any(|drift| drift.kind == DriftKind::Map) {
            error = error.or(self.repair_entries(uid));
        }
        if let Some(error) = &error {
            tracing::error!(uid, error, "a pod is not repaired, trying again");
        }
        if let Some(watched) = self.verifier.pods.get_mut(uid) {
            watched.book.tried(Instant::now(), due, error.as_deref());
        }
        let pod = self.enrolled.get(uid).filter(|pod| !pod.is_elder());
        if let Some(pod) = pod.map(Enrolment::to_pod)
            && due.iter().any(|drift| drift.kind == DriftKind::Address)
        {
            self.with.compiler.set_pod(pod);
            self.write();
            self.publish();
        }
    }

    fn repair_entries(&mut self, uid: &str) -> Option<String> {
        let enrolment = self.enrolled.get(uid)?;
        let (netns, addresses) = entries(enrolment);
        let maps = &self.with.maps;
        let found = self.with_expected(|tables| maps.verify_pod(netns, &addresses, tables));
        let maps = &mut self.with.maps;
        let repaired = found.and_then(|found| maps.repair(&found, self.with.host_netns));
        self.show_tallies();
        repaired.err().map(|error| chain(&error))
    }

    /// The pod's path names another netns: it was made anew, as after a reboot.
    async fn enrol_anew(&mut self, uid: &str) {
        let drift = Drift::new(DriftKind::Netns, "the path names another network namespace");
        let now = Instant::now();
        if let Some(watched) = self.verifier.pods.get_mut(uid) {
            let news = watched.book.enter(now, std::slice::from_ref(&drift));
            watched.book.tried(now, std::slice::from_ref(&drift), None);
            let state = &self.with.state;
            state.set_verification(uid, Verification::of(&watched.book), &[]);
            state.set_pod_state(uid, PodState::Failed(drift.what.clone()));
            self.tell(uid, &news);
        }
        self.remove(&[uid.to_owned()]);
        self.make_room().await;
        self.enrol_wanted().await;
        self.take_over();
        self.publish();
    }

    /// Counts what has changed, and logs it once.
    fn tell(&self, uid: &str, news: &News) {
        let spec = self.enrolled.get(uid).map(Enrolment::spec);
        let pod = spec.map(|spec| format!("{}/{}", spec.namespace, spec.name));
        let pod = pod.unwrap_or_default();
        for drift in &news.appeared {
            self.with.state.count_drift(drift.kind, 1, 0);
            tracing::warn!(
                pod,
                uid,
                kind = drift.kind.label(),
                what = drift.what,
                "drift"
            );
        }
        for drift in &news.repaired {
            self.with.state.count_drift(drift.kind, 0, 1);
            tracing::info!(
                pod,
                uid,
                kind = drift.kind.label(),
                what = drift.what,
                "repaired"
            );
        }
    }

    /// Brings the pod's status up to date; whether its state is another one.
    pub(in crate::reconcile) fn show_pod(&self, uid: &str) -> bool {
        let (Some(enrolment), Some(watched)) =
            (self.enrolled.get(uid), self.verifier.pods.get(uid))
        else {
            return false;
        };
        let state = &self.with.state;
        let verification = Verification::of(&watched.book);
        state.set_verification(uid, verification, enrolment.addresses());
        let readiness = self.with.enroller.readiness(enrolment);
        let Some(before) = state.set_pod_state(uid, watched.state(readiness)) else {
            return false;
        };
        let spec = enrolment.spec();
        let pod = format_args!("{}/{}", spec.namespace, spec.name);
        match watched.state(self.with.enroller.readiness(enrolment)) {
            PodState::Enrolled => tracing::info!(%pod, uid, "pod enrolled"),
            PodState::Pending(reason) if before == PodState::Enrolled => {
                tracing::warn!(%pod, uid, reason, "pod no longer served by the tunnel");
            }
            PodState::Drifted(reason) if before == PodState::Enrolled => {
                tracing::warn!(%pod, uid, reason, "pod no longer as it was enrolled");
            }
            PodState::Pending(reason) | PodState::Drifted(reason) | PodState::Failed(reason) => {
                tracing::debug!(%pod, uid, reason, "pod pending");
            }
            PodState::Leaving => {}
        }
        true
    }
}

/// Keys of a pod's own entries.
fn entries(enrolment: &Enrolment) -> (PodKey, Vec<AddressKey>) {
    let addresses = enrolment.addresses().iter();
    let addresses = addresses.map(|address| AddressKey {
        address: to_wire(*address),
    });
    let netns = enrolment.netns().into();
    (PodKey { netns }, addresses.collect())
}

impl Watched {
    /// Enrolled is who was looked at and found to be as he should.
    fn state(&self, readiness: Readiness) -> PodState {
        let standing = self.book.standing().map(|(drift, _)| drift);
        let harmful: Vec<&str> = standing
            .filter(|drift| !drift.kind.is_harmless() && drift.kind != DriftKind::Listener)
            .map(|drift| drift.what.as_str())
            .collect();
        if let Some(error) = &self.unseen {
            return PodState::Drifted(error.clone());
        }
        if !harmful.is_empty() {
            return PodState::Drifted(harmful.join("; "));
        }
        match readiness {
            Readiness::Waiting { reason } | Readiness::Refused { reason } => {
                PodState::Pending(reason)
            }
            Readiness::Ready if self.looked.is_none() => {
                PodState::Pending("it was not looked at yet".to_owned())
            }
            Readiness::Ready if self.listening.is_now() => PodState::Enrolled,
            Readiness::Ready => PodState::Pending(
                "the tunnel says that it serves the pod, and does not listen in it".to_owned(),
            ),
        }
    }
}
