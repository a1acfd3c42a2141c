//! Letting pods go: out of the maps at once, out of their netns when nobody waits for anything else.
//!
//! A pod that is out of the maps is captured no more: nothing of it is marked, and what is open goes
//! on through the programs, which are still there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::task::block_in_place;

use super::Work;
use crate::enrol::Enrolment;
use crate::error::chain;
use crate::state::PodState;

impl Work {
    /// Out of the maps. [`Self::withdraw_next`] does the rest.
    pub(super) fn remove(&mut self, uids: &[String]) {
        for uid in uids {
            let Some(enrolment) = self.enrolled.remove(uid) else {
                continue;
            };
            let state = match self.wanted.contains_key(uid) {
                true => PodState::Failed("it is being enrolled anew".to_owned()),
                false => PodState::Leaving,
            };
            self.with.state.set_pod_state(uid, state);
            self.with.compiler.remove_pod(enrolment.netns());
            self.write();
            self.served.remove(uid);
            self.verifier.unwatch(uid);
            self.leaving.push_back(enrolment);
        }
    }

    /// Withdraws what is in the way of wanted pods: the same ones, or others in their netns.
    pub(super) async fn make_room(&mut self) {
        let paths: BTreeSet<&PathBuf> = self.wanted.values().map(|spec| &spec.netns).collect();
        let (in_the_way, others) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition::<Vec<_>, _>(|enrolment| {
                let spec = enrolment.spec();
                self.wanted.contains_key(&spec.uid) || paths.contains(&spec.netns)
            });
        self.leaving = others.into();
        for enrolment in in_the_way {
            self.withdraw(enrolment).await;
        }
    }

    /// One pod, so that others get their turn.
    pub(super) async fn withdraw_next(&mut self) {
        let Some(enrolment) = self.leaving.pop_front() else {
            return;
        };
        self.withdraw(enrolment).await;
        if self.leaving.is_empty() {
            self.retire_elders();
            self.settle_traffic();
        }
    }

    /// Takes out what was counted of pods that are no more.
    pub(super) fn settle_traffic(&self) {
        if !self.pods_known {
            return;
        }
        let pods = self.enrolled.values().chain(&self.leaving);
        let mut live: BTreeSet<u64> = pods.map(Enrolment::netns).collect();
        live.extend(&self.gone);
        // Those too that could not be captured anew, and may be later.
        match self.with.enroller.records().all() {
            Ok(records) => live.extend(records.iter().map(|(netns, _)| netns)),
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "traffic of pods that left stays counted"
                );
                return;
            }
        }
        if let Err(error) = block_in_place(|| self.with.traffic.settle(&live)) {
            let error = chain(&error);
            tracing::warn!(error, "traffic of pods that left stays counted");
        }
    }

    pub(super) async fn undo(&mut self) {
        let all: Vec<String> = self.enrolled.keys().cloned().collect();
        self.remove(&all);
        self.withdraw_all().await;
        self.abandon_gone();
        self.retire_elders();
    }

    pub(super) async fn withdraw_all(&mut self) {
        while !self.leaving.is_empty() {
            self.withdraw_next().await;
        }
    }

    async fn withdraw(&mut self, enrolment: Enrolment) {
        let spec = enrolment.spec().clone();
        // Programs that must stay need their maps.
        self.must_stay |= !self.with.enroller.withdraw(enrolment).await;
        // One that is wanted is shown, and keeps the agent from being ready.
        if !self.wanted.contains_key(&spec.uid) {
            self.with.state.remove_pod(&spec.uid);
        }
        tracing::info!(
            pod = %format_args!("{}/{}", spec.namespace, spec.name),
            uid = spec.uid,
            "pod no longer enrolled"
        );
    }
}
