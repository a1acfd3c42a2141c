//! Which pods there are: enrolling them.

use std::pin::pin;
use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::Work;
use crate::enrol::{Captured, EnrolError, Enrolment};
use crate::error::chain;
use crate::model::PodSpec;
use crate::state::{PodState, PodStatus, Verification};

/// A pod that could not be enrolled is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

impl Work {
    /// The source has said which pods there are. Those that are gone are nothing to the maps any
    /// more; then come the new ones, who wait for it, and only then what the others have left.
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
        self.remove(&gone);
        self.forget_failed();
        self.make_room().await;
        self.enrol_wanted().await;
        self.abandon_gone();
        self.abandon_kept().await;
        self.verifier.retain(|uid| self.wanted.contains_key(uid));
        self.pods_known = true;
        self.take_over();
        self.publish();
        self.settle_traffic();
        self.with.enroller.tunnel.pods_registered();
    }

    /// Pods that nobody wants any more, and that never were enrolled.
    fn forget_failed(&self) {
        for pod in self.with.state.pods() {
            let is_failed = matches!(pod.state, PodState::Failed(_));
            if is_failed && !self.wanted.contains_key(&pod.uid) {
                self.with.state.remove_pod(&pod.uid);
            }
        }
    }

    /// Enrols every wanted pod that is not yet; what fails is tried again later.
    pub(super) async fn enrol_wanted(&mut self) {
        self.retry_at = None;
        let is_done = |uid: &String| self.enrolled.contains_key(uid) && self.served.contains(uid);
        let wanted = self.wanted.iter().filter(|(uid, _)| !is_done(uid));
        let wanted: Vec<PodSpec> = wanted.map(|(_, spec)| spec.clone()).collect();
        for spec in wanted {
            self.with.state.begin_pod(&spec.uid);
            let Err(error) = self.enrol(&spec).await else {
                continue;
            };
            let PodSpec {
                uid,
                name,
                namespace,
                ..
            } = &spec;
            let error = chain(&error);
            let pod = format_args!("{namespace}/{name}");
            tracing::error!(%pod, uid, error, "pod not enrolled, trying again");
            if self.enrolled.contains_key(uid) {
                let state = PodState::Pending(error);
                self.with.state.set_pod_state(uid, state);
            } else {
                let state = PodState::Failed(error);
                self.with.state.set_pod(status(&spec, state));
            }
            self.retry();
        }
        let paths = self.wanted.values().map(|spec| spec.netns.as_path());
        self.paths.update(paths);
    }

    async fn enrol(&mut self, spec: &PodSpec) -> Result<(), EnrolError> {
        let uid = &spec.uid;
        if !self.enrolled.contains_key(uid) {
            let captured = self.capture(spec).await?;
            self.take_in(captured);
        }
        if let Some(enrolment) = self.enrolled.get(uid) {
            self.with.enroller.serve(enrolment).await?;
        }
        self.served.insert(uid.clone());
        self.hear_of_tunnel(uid);
        Ok(())
    }

    /// While one pod is visited, the tunnel takes those before it.
    async fn capture(&mut self, spec: &PodSpec) -> Result<Captured, EnrolError> {
        let others = self.enrolled.values().chain(&self.leaving);
        let taken: Vec<u64> = others.map(Enrolment::netns).collect();
        let enroller = self.with.enroller.clone();
        let mut readiness = enroller.tunnel.changes();
        readiness.mark_changed();
        let mut capture = pin!(enroller.capture(spec.clone(), taken));
        loop {
            let listeners = self.verifier.listeners_due();
            select! {
                captured = &mut capture => return captured,
                Ok(()) = readiness.changed() => self.hear_of_tunnels(),
                () = sleep_until(listeners) => self.look_for_due_listeners(),
            }
        }
    }

    /// From now on its connections are judged.
    fn take_in(&mut self, captured: Captured) {
        let Captured {
            enrolment,
            look,
            watch,
        } = captured;
        // One of an older generation is in its maps, and not yet in ours.
        if !enrolment.is_elder() {
            self.with.compiler.set_pod(enrolment.to_pod());
            self.write();
        }
        let spec = enrolment.spec().clone();
        let state = PodState::Pending("it was not looked at yet".to_owned());
        let status = PodStatus {
            cookie: Some(enrolment.netns()),
            addresses: enrolment.addresses().to_vec(),
            ..status(&spec, state)
        };
        tracing::info!(
            pod = %format_args!("{}/{}", spec.namespace, spec.name),
            uid = spec.uid,
            netns = enrolment.netns(),
            addresses = ?status.addresses,
            "pod captured"
        );
        self.with.state.set_pod(status);
        self.enrolled.insert(spec.uid.clone(), enrolment);
        self.verifier.watch(&spec.uid, watch);
        // What is wrong already is found to be so by the next look, and repaired.
        self.enter(&spec.uid, look);
    }

    pub(super) fn retry(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// After something changed on the tunnel's side.
    pub(super) fn show_readiness(&mut self) {
        let uids: Vec<String> = self.enrolled.keys().cloned().collect();
        for uid in uids {
            // With the tunnel its listeners come and go, of which nothing else tells.
            if !self.hear_of_tunnel(&uid) && self.show_pod(&uid) {
                self.verifier.heard_of(&uid);
            }
        }
    }

    fn hear_of_tunnels(&mut self) {
        let uids: Vec<String> = self.enrolled.keys().cloned().collect();
        for uid in uids {
            self.hear_of_tunnel(&uid);
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
}

fn status(spec: &PodSpec, state: PodState) -> PodStatus {
    PodStatus {
        uid: spec.uid.clone(),
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        netns: spec.netns.display().to_string(),
        cookie: None,
        addresses: Vec::new(),
        state,
        verification: Verification::default(),
    }
}
