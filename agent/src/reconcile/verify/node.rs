//! What belongs to no pod: the programs at the cgroup root, and the maps.

use std::io;
use std::time::Instant as Clock;

use tokio::task::{JoinHandle, block_in_place};
use tokio::time::Instant;

use crate::error::chain;
use crate::kernel::hooks::{self, Shadow, Survey};
use crate::kernel::maps::{Differences, MapsError, Round};
use crate::reconcile::Work;
use crate::state::{NodeVerification, Verification};
use crate::verify::{Book, Drift, DriftKind, News};

/// What is known of the node.
#[derive(Debug)]
pub(super) struct NodeWatch {
    book: Book,
    shadows: Vec<Shadow>,
    hooks_due: Instant,
    /// A look at all cgroups, which takes a while where there are thousands.
    survey: Option<JoinHandle<io::Result<Survey>>>,
    maps_due: Instant,
    round: Round,
    maps_verified: Option<Clock>,
    maps_repaired: u64,
}

/// Between two pieces of a round over the maps, for others to get their turn.
const PIECE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
/// Until a survey is looked for again.
const SURVEY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

impl NodeWatch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            book: Book::default(),
            shadows: Vec::new(),
            hooks_due: now,
            survey: None,
            maps_due: now,
            round: Round::default(),
            maps_verified: None,
            maps_repaired: 0,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.hooks_due.min(self.maps_due)
    }
}

impl Work {
    pub(super) async fn verify_node(&mut self) {
        let now = Instant::now();
        if self.verifier.node.maps_due <= now {
            self.verify_maps();
        } else if self.verifier.node.hooks_due <= now {
            self.verify_hooks().await;
        } else {
            return;
        }
        self.show_node();
    }

    fn show_node(&self) {
        let node = &self.verifier.node;
        let mut verification = Verification::of(&node.book);
        verification.repaired += node.maps_repaired;
        self.with.state.set_node(NodeVerification {
            verification,
            shadows: node.shadows.clone(),
            maps: node.maps_verified,
        });
    }

    /// One piece of the maps.
    fn verify_maps(&mut self) {
        if !self.is_settled() {
            // What an earlier agent has left may be there without being known to us.
            self.verifier.node.maps_due = Instant::now() + self.verifier.interval;
            return;
        }
        let looked = block_in_place(|| {
            let round = &mut self.verifier.node.round;
            let compiler = self.with.compiler.read();
            let piece = self.with.maps.verify_piece(round, compiler.tables());
            drop(compiler);
            if let Ok((differences, _)) = &piece
                && differences.count > 0
            {
                self.repair_maps(differences)?;
            }
            piece
        });
        let node = &mut self.verifier.node;
        let is_over = match looked {
            Ok((_, is_over)) => is_over,
            Err(error) => {
                tracing::error!(error = chain(&error), "maps not verified");
                node.round = Round::default();
                node.maps_due = Instant::now() + self.verifier.interval;
                return;
            }
        };
        if is_over {
            node.maps_verified = Some(Clock::now());
            node.maps_due = Instant::now() + self.verifier.interval;
            self.settle_traffic();
        } else {
            node.maps_due = Instant::now() + PIECE_PAUSE;
        }
    }

    fn repair_maps(&mut self, differences: &Differences) -> Result<(), MapsError> {
        let count = differences.count;
        tracing::warn!(
            kind = DriftKind::Map.label(),
            count,
            examples = ?differences.examples,
            "drift"
        );
        let count = count as u64;
        self.with.state.count_drift(DriftKind::Map, count, 0);
        let repaired = self.with.maps.repair(differences, self.with.host_netns);
        self.show_tallies();
        repaired?;
        self.verifier.node.maps_repaired += count;
        self.with.state.count_drift(DriftKind::Map, 0, count);
        tracing::info!(kind = DriftKind::Map.label(), count, "repaired");
        Ok(())
    }

    /// Starts a survey of the cgroup hooks, or takes its result.
    async fn verify_hooks(&mut self) {
        let programs = match self.with.enroller.programs().at_cgroup() {
            Ok(programs) => programs,
            Err(error) => {
                tracing::error!(error = chain(&error), "programs without ids");
                Vec::new()
            }
        };
        let survey = &mut self.verifier.node.survey;
        let Some(running) = survey.take_if(|survey| survey.is_finished()) else {
            if survey.is_none() {
                let ours: Vec<_> = programs.iter().map(|(_, hook, id)| (*hook, *id)).collect();
                let root = self.with.cgroup.clone();
                *survey = Some(tokio::task::spawn_blocking(move || {
                    hooks::survey(&root, &ours)
                }));
            }
            self.verifier.node.hooks_due = Instant::now() + SURVEY_PAUSE;
            return;
        };
        self.verifier.node.hooks_due = Instant::now() + self.verifier.interval;
        match running.await {
            Ok(Ok(survey)) => self.judge_hooks(survey),
            Ok(Err(error)) => tracing::error!(%error, "the cgroup root cannot be looked at"),
            Err(error) => tracing::error!(%error, "the look at the cgroups did not end"),
        }
    }

    fn judge_hooks(&mut self, survey: Survey) {
        if survey.cut_short {
            tracing::warn!(cgroups = survey.cgroups, "not all cgroups were looked at");
        }
        let drifts: Vec<Drift> = survey.shadows.iter().map(drift_of).collect();
        let absent = survey.shadows.iter().any(|shadow| shadow.absent);
        let first: Vec<&'static str> = survey
            .shadows
            .iter()
            .filter(|shadow| !shadow.absent)
            .map(|shadow| shadow.hook)
            .collect();
        let node = &mut self.verifier.node;
        let news = node.book.enter(Clock::now(), &drifts);
        node.shadows = survey.shadows;
        // Who counts finds it shown.
        self.show_node();
        self.tell_of_node(&news);
        let node = &mut self.verifier.node;
        let root = &self.with.cgroup;
        let due = node.book.due(Clock::now());
        if !due.is_empty() {
            let mut programs = self.with.enroller.programs();
            let repaired = block_in_place(|| {
                if absent {
                    programs.attach_cgroup(root).map(drop)?;
                }
                programs.put_cgroup_first(root, &first)
            });
            let error = repaired.err().map(|error| chain(&error));
            if let Some(error) = &error {
                tracing::error!(error, "the cgroup programs are not repaired");
            }
            node.book.tried(Clock::now(), &due, error.as_deref());
            // What came of it.
            node.hooks_due = Instant::now();
        }
    }

    fn tell_of_node(&self, news: &News) {
        for drift in &news.appeared {
            self.with.state.count_drift(drift.kind, 1, 0);
            tracing::warn!(kind = drift.kind.label(), what = drift.what, "drift");
        }
        for drift in &news.repaired {
            self.with.state.count_drift(drift.kind, 0, 1);
            tracing::info!(kind = drift.kind.label(), what = drift.what, "repaired");
        }
    }
}

fn drift_of(shadow: &Shadow) -> Drift {
    let Shadow {
        hook,
        cgroup,
        before,
        absent,
    } = shadow;
    let cgroup = cgroup.display();
    if *absent {
        return Drift::new(
            DriftKind::Program,
            format_args!("{hook} is not attached to cgroup {cgroup}"),
        );
    }
    let names = hooks::names(before);
    Drift::new(
        DriftKind::Order,
        format_args!("{names} before {hook} in cgroup {cgroup}"),
    )
}
