//! Which pods there are: enrolling them, and letting them go.

use std::time::Duration;

use tokio::time::Instant;

use super::Work;
use crate::enrol::{EnrolError, Enrolment};
use crate::error::chain;
use crate::model::PodSpec;
use crate::state::{PodState, PodStatus, Verification};

/// A pod that could not be enrolled is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

impl Work {
    pub(super) async fn apply_pods(&mut self, pods: Vec<PodSpec>) {
        for pod in &pods {
            self.with.state.expect_pod(&pod.uid);
        }
        self.wanted = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        let gone: Vec<String> = self
            .enrolled
            .iter()
            .filter(|(uid, enrolment)| self.wanted.get(*uid) != Some(enrolment.spec()))
            .map(|(uid, _)| uid.clone())
            .collect();
        self.remove(&gone).await;
        self.enrol_wanted().await;
        self.abandon_gone();
        self.abandon_kept().await;
        self.verifier.retain(|uid| self.wanted.contains_key(uid));
        self.pods_known = true;
        self.take_over();
        self.publish();
        self.with.enroller.tunnel.pods_registered();
    }

    /// Enrols every wanted pod that is not yet; what fails is tried again later.
    pub(super) async fn enrol_wanted(&mut self) {
        self.retry_at = None;
        let wanted: Vec<PodSpec> = self.wanted.values().cloned().collect();
        for spec in wanted {
            let uid = spec.uid.clone();
            let mut status = PodStatus {
                uid: spec.uid.clone(),
                name: spec.name.clone(),
                namespace: spec.namespace.clone(),
                netns: spec.netns.display().to_string(),
                cookie: None,
                addresses: Vec::new(),
                state: PodState::Pending("it was not looked at yet".to_owned()),
                verification: Verification::default(),
            };
            let pod = format!("{}/{}", spec.namespace, spec.name);
            match self.enrol(spec).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(pod, uid, error, "pod not enrolled, trying again");
                    status.state = if self.enrolled.contains_key(&uid) {
                        PodState::Pending(error)
                    } else {
                        PodState::Failed(error)
                    };
                    self.retry();
                }
            }
            let Some(enrolment) = self.enrolled.get(&uid) else {
                self.with.state.set_pod(status);
                continue;
            };
            status.cookie = Some(enrolment.netns());
            status.addresses = enrolment.addresses().to_vec();
            tracing::info!(
                pod,
                uid,
                netns = enrolment.netns(),
                addresses = ?status.addresses,
                "pod captured"
            );
            self.verifier.watch(enrolment);
            self.with.state.set_pod(status);
            // A pod counts once the kernel and the tunnel know it, and it was looked at.
            self.look_after_enrolment(&uid);
        }
        let paths = self.wanted.values().map(|spec| spec.netns.as_path());
        self.paths.update(paths);
    }

    /// After something changed on the tunnel's side.
    pub(super) fn show_readiness(&mut self) {
        let uids: Vec<String> = self.enrolled.keys().cloned().collect();
        for uid in uids {
            // With the tunnel its listeners come and go, of which nothing else tells.
            if self.show_pod(&uid) || self.verifier.misses_listeners(&uid) {
                self.verifier.heard_of(&uid);
            }
        }
    }

    /// Pods whose paths name another netns by now are looked at.
    pub(super) fn look_at_paths(&mut self) {
        self.paths.looked();
        for (uid, enrolment) in &self.enrolled {
            if enrolment.has_successor() {
                self.verifier.heard_of(uid);
            }
        }
    }

    /// Whether anything was left to do.
    async fn enrol(&mut self, spec: PodSpec) -> Result<bool, EnrolError> {
        let uid = spec.uid.clone();
        if !self.enrolled.contains_key(&uid) {
            let taken: Vec<u64> = self.enrolled.values().map(Enrolment::netns).collect();
            let enrolment = self.with.enroller.capture(spec, &taken)?;
            // One of an older generation is in its maps, and not yet in ours.
            if !enrolment.is_elder() {
                self.compiler.set_pod(enrolment.to_pod());
                self.write();
            }
            self.enrolled.insert(uid.clone(), enrolment);
        } else if self.served.contains(&uid) {
            return Ok(false);
        }
        if let Some(enrolment) = self.enrolled.get(&uid) {
            self.with.enroller.serve(enrolment).await?;
        }
        self.served.insert(uid);
        Ok(true)
    }

    pub(super) fn retry(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// First out of the maps, so that nothing is marked any more, then out of the netns.
    pub(super) async fn remove(&mut self, uids: &[String]) {
        let removed: Vec<Enrolment> = uids
            .iter()
            .filter_map(|uid| self.enrolled.remove(uid))
            .collect();
        for enrolment in &removed {
            let uid = &enrolment.spec().uid;
            if self.wanted.contains_key(uid) {
                let state = PodState::Failed("it is being enrolled anew".to_owned());
                self.with.state.set_pod_state(uid, state);
            }
            self.compiler.remove_pod(enrolment.netns());
            self.write();
        }
        for enrolment in removed {
            let spec = enrolment.spec().clone();
            self.served.remove(&spec.uid);
            self.with.enroller.withdraw(enrolment).await;
            self.verifier.unwatch(&spec.uid);
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
}
