//! Everything that can happen on a node, in any order, for as long as one likes, under traffic of
//! every class: pods, services, waypoints and policies come and go, agents and tunnels end and are
//! exchanged, what is captured is broken by hand. After each step traffic goes on everywhere and the
//! kernel decides as the mesh says; throughout, no connection fails, no stream is cut, and nothing
//! that must be encrypted is on a wire as it is; in the end nothing is left over, and what was
//! counted is what the clients have done.
//!
//! `cargo xtask soak --minutes N` runs it; `--seed` makes the same steps again.

mod counted;
mod services;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::drawn::Draw;
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::process::other_object;
use waysteer_tests::wait::wait_until;

use crate::churn::Churn;
use crate::churn::held::{self, Held};
use crate::drift::under_load::{BREAKS, UNCOUNTED};
use counted::Counted;
use services::Services;

/// How long it takes steps, in seconds; `cargo xtask soak` sets it.
const SECONDS: &str = "WAYSTEER_SOAK_SECONDS";
const DEFAULT_SECONDS: u64 = 120;
const SEED: &str = "WAYSTEER_SOAK_SEED";
/// New connections a second, over all ways.
const RATE: u32 = 60;
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests and words on every way after each step.
const ENOUGH: u64 = 2;
/// Pods that come together, and that are there at most, besides the bed's own.
const AT_ONCE: usize = 2;
const MOST_PODS: usize = 8;
/// Of tunnels that were replaced the streams go on until the end.
const MOST_ZTUNNELS: usize = 4;
/// By which the agent's memory may be more at the end than when it was started last.
const SLACK_KIB: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    PodsCome,
    PodsGo,
    MeshChanges,
    AgentKilled,
    AgentStopped,
    AgentUpgraded,
    TunnelUpgraded,
    Broken,
}

/// Those that change much less often.
const STEPS: [Step; 12] = [
    Step::PodsCome,
    Step::PodsCome,
    Step::PodsGo,
    Step::MeshChanges,
    Step::MeshChanges,
    Step::MeshChanges,
    Step::AgentKilled,
    Step::AgentStopped,
    Step::AgentUpgraded,
    Step::TunnelUpgraded,
    Step::Broken,
    Step::Broken,
];

#[test]
fn whatever_happens() -> Result<()> {
    let seconds = number(SECONDS)?.unwrap_or(DEFAULT_SECONDS);
    let seed = number(SEED)?.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{seconds} s, {SEED}={seed}");
    let mut soak = Soak::new(seed)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut taken: BTreeMap<Step, u32> = BTreeMap::new();
    while Instant::now() < end {
        let step = soak.draw.of(&STEPS);
        let number = taken.values().sum::<u32>() + 1;
        println!("{number}: {step:?}");
        soak.take(step)
            .with_context(|| format!("step {number}, {step:?}"))?;
        *taken.entry(step).or_default() += 1;
    }
    println!("{taken:?}");
    soak.finish()
}

fn number(name: &str) -> Result<Option<u64>> {
    let text = std::env::var(name).ok();
    let number = text.map(|text| text.parse()).transpose();
    number.with_context(|| name.to_owned())
}

struct Soak {
    draw: Draw,
    churn: Churn,
    services: Services,
    /// Of the programs of other code, which the agent runs every other time.
    object: String,
    runs_other_code: bool,
    before: Held,
    counted: Counted,
    // Dropped in this order.
    load: Load,
    wire: Wire,
    bed: Bed,
}

impl Soak {
    fn new(seed: u64) -> Result<Self> {
        let bed = Bed::new(&Options {
            tunnel: TunnelKind::StandIn,
            extra: "verify_interval = 1\n".to_owned(),
            ..Options::default()
        })?;
        let wire = Wire::watch(&bed)?;
        let before = Held::by(&bed)?;
        let counted = Counted::by(&bed)?;
        let load = Load::start(&bed, RATE)?;
        load.wait_for_more(ENOUGH, PATIENCE)?;
        Ok(Self {
            draw: Draw::new(seed),
            churn: Churn::of(AT_ONCE),
            services: Services::default(),
            object: other_object("code")?,
            runs_other_code: false,
            before,
            counted,
            load,
            wire,
            bed,
        })
    }

    /// One thing happens, and all goes on as it should.
    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::PodsCome if self.churn.alive.len() < MOST_PODS => {
                self.churn.add(&mut self.bed)?;
            }
            Step::PodsCome | Step::PodsGo if !self.churn.alive.is_empty() => {
                self.churn.remove(&mut self.bed)?;
            }
            Step::PodsCome | Step::PodsGo => {}
            Step::MeshChanges => self.services.change(&mut self.bed, &mut self.draw)?,
            Step::AgentKilled => {
                self.bed.kill_agent()?;
                self.go_on()?;
                self.start_agent()?;
            }
            Step::AgentStopped => {
                self.bed.stop_agent()?;
                self.go_on()?;
                self.start_agent()?;
            }
            Step::AgentUpgraded => {
                self.runs_other_code = !self.runs_other_code;
                self.bed.kill_agent()?;
                self.start_agent()?;
            }
            Step::TunnelUpgraded => self.upgrade_tunnel()?,
            Step::Broken => self.break_something()?,
        }
        self.services.check(&self.bed)?;
        self.go_on()
    }

    fn go_on(&self) -> Result<()> {
        self.load.wait_for_more(ENOUGH, PATIENCE)?;
        let report = self.load.report();
        ensure!(report.failed() == 0 && report.cut() == 0, "{report}");
        self.wire.ensure_clean()
    }

    fn start_agent(&mut self) -> Result<()> {
        let flags: &[&str] = match self.runs_other_code {
            true => &["--object", &self.object],
            false => &[],
        };
        self.bed.start_agent_with(flags)?;
        self.bed.wait_until_ready()
    }

    fn upgrade_tunnel(&mut self) -> Result<()> {
        if self.bed.ztunnels.len() == MOST_ZTUNNELS {
            return Ok(());
        }
        self.bed.start_ztunnel()?;
        self.bed.wait_for_ztunnel()?;
        let old = self.bed.ztunnels.len() - 2;
        let old = self.bed.ztunnels.get_mut(old).context("the old one")?;
        old.signal(Signal::SIGTERM)?;
        old.wait_for_log(PATIENCE, "draining")
    }

    fn break_something(&mut self) -> Result<()> {
        let (what, breaking, _) = self.draw.of(&BREAKS);
        if UNCOUNTED.contains(&what) {
            return Ok(());
        }
        let drifts = |bed: &Bed| bed.metric("waysteer_drift", &[]);
        let standing = |bed: &Bed| bed.metric("waysteer_drift_standing", &[]);
        println!("  {what}");
        let before = drifts(&self.bed)?;
        breaking(&mut self.bed).context(what)?;
        wait_until(PATIENCE, &format!("{what} repaired"), || {
            drifts(&self.bed).is_ok_and(|found| found > before)
                && standing(&self.bed).is_ok_and(|count| count == 0)
        })
    }

    /// All that has come goes, and everything is compared with what was there before.
    fn finish(mut self) -> Result<()> {
        // The agent that ends it is the one that it began with, whose memory is then looked at.
        self.runs_other_code = false;
        self.bed.kill_agent()?;
        self.start_agent()?;
        self.services.remove_all(&mut self.bed)?;
        self.churn.remove_all(&mut self.bed)?;
        self.go_on()?;
        let mut after = Held::default();
        let waited = wait_until(PATIENCE, "everything is as before", || {
            after = Held::by(&self.bed).unwrap_or_default();
            after.is_like(&self.before)
        });
        waited.with_context(|| format!("before: {:#?}\nafter: {after:#?}", self.before))?;
        let grown = after.resident_kib.saturating_sub(self.before.resident_kib);
        ensure!(grown <= SLACK_KIB, "the agent has {grown} KiB more");
        let pods = self.bed.topology.node.pods.len();
        wait_until(PATIENCE, "the namespaces are gone", || {
            held::pod_links(&self.bed).is_ok_and(|links| links == pods)
        })?;
        let Self {
            churn,
            counted,
            load,
            wire,
            bed,
            ..
        } = self;
        let report = load.finish_whole(&wire)?;
        counted.ensure_as(&report, churn.made as u64, &bed)
    }
}
