//! The one task that writes the maps, and with them decides which pods are captured.
//!
//! Desired state is recomputed from the mesh and the enrolled pods, compared with what was written
//! last, and the difference is written.

mod paths;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::paths::PathWatch;
use self::verify::Verifier;
use crate::compile::{Changes, Compiled, EnrolledPod, Node, Tables, compile};
use crate::enrol::{Enroller, Enrolment};
use crate::kernel::maps::Maps;
use crate::model::{Delta, Mesh, PodSpec};
use crate::source::{Event, Report, Severity};
use crate::state::{PodState, PodStatus, SourceStatus, State, Verification};
use crate::tunnel::{TunnelError, View};

/// A pod that could not be enrolled is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// What the writer needs of the rest of the agent.
#[derive(Debug)]
pub struct Reconciler {
    pub node: Node,
    pub maps: Maps,
    /// Cookie of the agent's own netns, whose sockets are the host's.
    pub host_netns: u64,
    pub enroller: Enroller,
    /// The root that the programs for sockets are attached to.
    pub cgroup: PathBuf,
    /// Between two looks at something of which nothing was heard.
    pub verify_interval: Duration,
    pub view: watch::Sender<Arc<View>>,
    pub state: Arc<State>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("the tunnel cannot serve this mesh")]
    Tunnel(#[from] TunnelError),
    #[error("the source stopped")]
    SourceStopped,
}

struct Work {
    with: Reconciler,
    mesh: Mesh,
    /// What the maps hold.
    applied: Tables,
    wanted: BTreeMap<String, PodSpec>,
    enrolled: BTreeMap<String, Enrolment>,
    retry_at: Option<Instant>,
    pods_known: bool,
    verifier: Verifier,
    paths: PathWatch,
}

impl Reconciler {
    /// Runs until `stop`, then undoes what was done.
    ///
    /// # Errors
    /// When going on would leave flows unprotected; everything is undone then too.
    pub async fn run(
        self,
        mut events: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) -> Result<(), ReconcileError> {
        let (verifier, mut heard) = Verifier::new(self.verify_interval);
        let (paths, mut path_changes) = PathWatch::new();
        let mut work = Work {
            with: self,
            mesh: Mesh::default(),
            applied: Tables::default(),
            wanted: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            retry_at: None,
            pods_known: false,
            verifier,
            paths,
        };
        // Host probes must be told apart before the first pod is enrolled.
        work.write();
        let mut readiness = work.with.enroller.tunnel.changes();
        let result = loop {
            let retry = work
                .retry_at
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let (verify, look_at_paths) = (work.verifier.due(), work.paths.due());
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = sleep_until(retry) => work.enrol_wanted().await,
                () = sleep_until(verify) => work.verify_next().await,
                Some(uid) = heard.recv() => work.verifier.heard_of(&uid),
                Some(()) = path_changes.recv() => work.paths.changed(),
                () = sleep_until(look_at_paths) => work.look_at_paths(),
                Ok(()) = readiness.changed() => work.show_readiness(),
                event = events.recv() => match event {
                    Some(event) => if let Err(error) = work.handle(event).await {
                        break Err(error);
                    },
                    None if stop.is_cancelled() => break Ok(()),
                    None => break Err(ReconcileError::SourceStopped),
                },
            }
        };
        work.undo().await;
        result
    }
}

impl Work {
    async fn handle(&mut self, event: Event) -> Result<(), ReconcileError> {
        match event {
            Event::Mesh(delta) => self.apply_mesh(delta),
            Event::Pods(pods) => {
                self.apply_pods(pods).await;
                Ok(())
            }
            Event::Report(report) => {
                self.report(report);
                Ok(())
            }
        }
    }

    fn apply_mesh(&mut self, delta: Delta) -> Result<(), ReconcileError> {
        let first = !self.mesh.complete;
        self.mesh.apply(delta);
        let unenforced = !self.with.enroller.tunnel.enforces_policies();
        if first && self.mesh.complete && unenforced && !self.mesh.policies.is_empty() {
            let names: Vec<String> = self.mesh.policies.keys().map(ToString::to_string).collect();
            return Err(TunnelError::Policies {
                policies: names.join(", "),
            }
            .into());
        }
        self.write();
        Ok(())
    }

    fn report(&self, report: Report) {
        let Report {
            origin,
            diagnostics,
        } = report;
        for diagnostic in &diagnostics {
            match diagnostic.severity {
                Severity::Error => tracing::error!("{diagnostic}"),
                Severity::Warning => tracing::warn!("{diagnostic}"),
            }
        }
        if diagnostics.is_empty() {
            tracing::info!(origin, "the source is without errors again");
        }
        self.with.state.set_diagnostics(origin, diagnostics);
    }

    async fn apply_pods(&mut self, pods: Vec<PodSpec>) {
        self.wanted = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        let gone: Vec<String> = self
            .enrolled
            .iter()
            .filter(|(uid, enrolment)| self.wanted.get(*uid) != Some(enrolment.spec()))
            .map(|(uid, _)| uid.clone())
            .collect();
        self.remove(&gone).await;
        self.enrol_wanted().await;
        self.verifier.retain(|uid| self.wanted.contains_key(uid));
        self.pods_known = true;
        self.write();
        self.with.enroller.tunnel.pods_registered();
    }

    /// Enrols every wanted pod that is not yet; what fails is tried again later.
    async fn enrol_wanted(&mut self) {
        self.retry_at = None;
        let missing: Vec<PodSpec> = self
            .wanted
            .values()
            .filter(|spec| !self.enrolled.contains_key(&spec.uid))
            .cloned()
            .collect();
        for spec in missing {
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
            let taken: Vec<u64> = self.enrolled.values().map(Enrolment::netns).collect();
            match self.with.enroller.enrol(spec, &taken).await {
                Ok(enrolment) => {
                    status.cookie = Some(enrolment.netns());
                    status.addresses = enrolment.addresses().to_vec();
                    tracing::info!(
                        pod = %format_args!("{}/{}", status.namespace, status.name),
                        uid = status.uid,
                        netns = enrolment.netns(),
                        addresses = ?status.addresses,
                        "pod captured"
                    );
                    self.verifier.watch(&enrolment);
                    self.enrolled.insert(status.uid.clone(), enrolment);
                    // A pod counts once the kernel knows it, and it was looked at.
                    self.write();
                    let uid = status.uid.clone();
                    self.with.state.set_pod(status);
                    self.look_after_enrolment(&uid);
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(
                        pod = %format_args!("{}/{}", status.namespace, status.name),
                        uid = status.uid,
                        error,
                        "pod not enrolled, trying again"
                    );
                    status.state = PodState::Failed(error);
                    self.retry_at = Some(Instant::now() + RETRY);
                    self.with.state.set_pod(status);
                }
            }
        }
        let paths = self.wanted.values().map(|spec| spec.netns.as_path());
        self.paths.update(paths);
    }

    /// After something changed on the tunnel's side.
    fn show_readiness(&mut self) {
        let uids: Vec<String> = self.enrolled.keys().cloned().collect();
        for uid in uids {
            // With the tunnel its listeners come and go, of which nothing else tells.
            if self.show_pod(&uid) {
                self.verifier.heard_of(&uid);
            }
        }
    }

    /// Pods whose paths name another netns by now are looked at.
    fn look_at_paths(&mut self) {
        self.paths.looked();
        for (uid, enrolment) in &self.enrolled {
            if enrolment.has_successor() {
                self.verifier.heard_of(uid);
            }
        }
    }

    /// First out of the maps, so that nothing is marked any more, then out of the netns.
    async fn remove(&mut self, uids: &[String]) {
        let removed: Vec<Enrolment> = uids
            .iter()
            .filter_map(|uid| self.enrolled.remove(uid))
            .collect();
        if removed.is_empty() {
            return;
        }
        self.write();
        for enrolment in removed {
            let spec = enrolment.spec().clone();
            self.with.enroller.withdraw(enrolment).await;
            self.verifier.unwatch(&spec.uid);
            self.with.state.remove_pod(&spec.uid);
            tracing::info!(
                pod = %format_args!("{}/{}", spec.namespace, spec.name),
                uid = spec.uid,
                "pod no longer enrolled"
            );
        }
    }

    async fn undo(&mut self) {
        let all: Vec<String> = self.enrolled.keys().cloned().collect();
        self.remove(&all).await;
    }

    /// Brings the maps to what the mesh and the enrolled pods compile to.
    fn write(&mut self) {
        let pods: Vec<EnrolledPod> = self
            .enrolled
            .values()
            .map(|enrolment| enrolment.to_pod())
            .collect();
        let compiled = compile(&self.mesh, &self.with.node, &pods);
        let changes = Changes::between(&self.applied, &compiled.tables);
        let result = self.with.maps.apply(&changes, self.with.host_netns);
        self.with
            .state
            .set_map_error(result.as_ref().err().map(|error| chain(error)));
        match result {
            Ok(()) => {
                tracing::debug!(writes = changes.len(), "maps written");
                self.applied = compiled.tables.clone();
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "maps not written whole");
                // What did not go in must be seen as missing the next time.
                match self.with.maps.read() {
                    Ok(tables) => self.applied = tables,
                    Err(error) => tracing::error!(error = chain(&error), "maps not readable"),
                }
            }
        }
        self.with.state.set_source(self.source_status(&compiled));
        self.with.view.send_replace(Arc::new(View { compiled }));
    }

    fn source_status(&self, compiled: &Compiled) -> SourceStatus {
        SourceStatus {
            synced: self.mesh.complete,
            pods_known: self.pods_known,
            workloads: self.mesh.workloads.len(),
            services: self.mesh.services.len(),
            policies: self.mesh.policies.len(),
            rejected: self.mesh.rejected.len(),
            map_entries: compiled.tables.len(),
        }
    }
}

/// An error and all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
