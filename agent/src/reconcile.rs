//! The one task that writes the maps, and with them decides which pods are captured.
//!
//! Desired state is recomputed from the mesh and the enrolled pods, compared with what was written
//! last, and the difference is written.

mod adopt;
mod leave;
mod paths;
mod pods;
mod verify;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::adopt::Held;
use self::paths::PathWatch;
use self::verify::Verifier;
use crate::config::OnStop;
use crate::enrol::{Enroller, Enrolment};
use crate::kernel::maps::Maps;
use crate::model::{Delta, PodSpec};
use crate::source::{Event, Report, Severity};
use crate::state::State;
use crate::traffic::Ledger;
use crate::tunnel::{SharedCompiler, TunnelError};

/// What the writer needs of the rest of the agent.
#[derive(Debug)]
pub struct Reconciler {
    pub compiler: SharedCompiler,
    pub maps: Maps,
    /// Cookie of the agent's own netns, whose sockets are the host's.
    pub host_netns: u64,
    pub enroller: Enroller,
    /// The root that the programs for sockets are attached to.
    pub cgroup: PathBuf,
    /// Between two looks at something of which nothing was heard.
    pub verify_interval: Duration,
    pub state: Arc<State>,
    pub traffic: Arc<Ledger>,
    pub on_stop: OnStop,
    /// Cancelled when everything is to be undone, whatever `on_stop` says.
    pub cleanup: CancellationToken,
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
    /// The maps may hold something else than was written last.
    rewrite: bool,
    held: Option<Held>,
    /// Those of an earlier agent, until the source has said which there are.
    wanted: BTreeMap<String, PodSpec>,
    enrolled: BTreeMap<String, Enrolment>,
    /// Out of the maps, and still to be taken out of their netns. The first is the next.
    leaving: VecDeque<Enrolment>,
    /// A pod could not be let go, and is guarded by its programs for good.
    must_stay: bool,
    /// Of the enrolled, whom the tunnel has taken.
    served: BTreeSet<String>,
    /// Netns cookies of recorded pods that cannot be reached.
    gone: BTreeSet<u64>,
    /// Pods of before that could not be captured anew, and that the tunnel is to keep.
    kept: BTreeSet<String>,
    retry_at: Option<Instant>,
    pods_known: bool,
    verifier: Verifier,
    paths: PathWatch,
}

impl Reconciler {
    /// Runs until `stop`; then undoes what was done, or leaves it to the next agent.
    ///
    /// # Errors
    /// When going on would leave flows unprotected.
    pub async fn run(
        self,
        mut events: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) -> Result<(), ReconcileError> {
        let (on_stop, cleanup) = (self.on_stop, self.cleanup.clone());
        let (verifier, mut heard) = Verifier::new(self.verify_interval);
        let (paths, mut path_changes) = PathWatch::new();
        // From before pods are adopted: a ztunnel may take them while others still are.
        let mut readiness = self.enroller.tunnel.changes();
        let mut work = Work {
            with: self,
            rewrite: true,
            held: None,
            wanted: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            leaving: VecDeque::new(),
            must_stay: false,
            served: BTreeSet::new(),
            gone: BTreeSet::new(),
            kept: BTreeSet::new(),
            retry_at: None,
            pods_known: false,
            verifier,
            paths,
        };
        work.adopt().await;
        // Host probes must be told apart before the first pod is enrolled.
        work.write();
        work.publish();
        let result = loop {
            let retry = work
                .retry_at
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let (verify, look_at_paths) = (work.verifier.due(), work.paths.due());
            let listeners = work.verifier.listeners_due();
            tokio::select! {
                // What somebody waits for comes first.
                biased;
                () = stop.cancelled() => break Ok(()),
                Ok(()) = readiness.changed() => work.show_readiness(),
                () = sleep_until(listeners) => work.look_for_due_listeners(),
                event = events.recv() => match event {
                    Some(event) => if let Err(error) = work.handle(event).await {
                        break Err(error);
                    },
                    None if stop.is_cancelled() => break Ok(()),
                    None => break Err(ReconcileError::SourceStopped),
                },
                () = sleep_until(retry) => {
                    work.enrol_wanted().await;
                    work.take_over();
                    work.publish();
                }
                Some(uid) = heard.recv() => work.verifier.heard_of(&uid),
                Some(()) = path_changes.recv() => work.paths.changed(),
                () = sleep_until(look_at_paths) => work.look_at_paths(),
                () = sleep_until(verify) => work.verify_next().await,
                () = std::future::ready(()), if !work.leaving.is_empty() => {
                    work.withdraw_next().await;
                }
            }
        };
        work.withdraw_all().await;
        match on_stop {
            OnStop::Leave if !cleanup.is_cancelled() => tracing::info!("pods stay captured"),
            OnStop::Undo | OnStop::Leave => work.undo().await,
        }
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
        let first = !self.with.compiler.is_complete();
        // A large one takes a while.
        block_in_place(|| self.with.compiler.apply(delta));
        let is_complete = self.with.compiler.is_complete();
        let unenforced = !self.with.enroller.tunnel.enforces_policies();
        if first && is_complete && unenforced {
            self.refuse_policies()?;
        }
        if is_complete {
            self.release();
        }
        self.write();
        self.take_over();
        self.publish();
        Ok(())
    }

    /// For a tunnel that would not enforce them.
    fn refuse_policies(&self) -> Result<(), TunnelError> {
        let compiler = self.with.compiler.read();
        let policies = &compiler.mesh().policies;
        if policies.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = policies.keys().map(ToString::to_string).collect();
        let policies = names.join(", ");
        Err(TunnelError::Policies { policies })
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
}
