//! Pods that come and go, hundreds of them, under traffic of others.

pub(crate) mod held;
mod times;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use held::Held;
use times::Times;

/// Pods in all; `WAYSTEER_CHURN` is another number.
const PODS: usize = 500;
/// That come together; `WAYSTEER_CHURN_AT_ONCE` is another number.
const AT_ONCE: usize = 5;
/// New connections a second of the others.
const RATE: u32 = 130;
const PATIENCE: Duration = Duration::from_secs(30);
/// That an agent remembers.
const VERDICTS: u64 = 4096;
/// The bed's own.
const STAYING: [&str; 3] = ["client", "other", "server"];
/// By which the agent's memory may be more at the end than after the first quarter: the heap is not
/// packed.
const SLACK_KIB: u64 = 2048;

#[test]
fn nothing_is_left_of_five_hundred_pods() -> Result<()> {
    let number = from_environment("WAYSTEER_CHURN", PODS)?;
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        expedite_rcu: true,
        ..Options::default()
    })?;
    let wire = Wire::watch(&bed)?;
    fill_memory(&bed)?;
    let load = Load::start(&bed, RATE)?;
    let mut churn = Churn::of(from_environment("WAYSTEER_CHURN_AT_ONCE", AT_ONCE)?);
    // What is allocated once is there after the first.
    churn.add(&mut bed)?;
    churn.remove_all(&mut bed)?;
    let before = Held::by(&bed)?;
    let mut quarters = Vec::new();
    for quarter in 0..4 {
        let until = number * (quarter + 1) / 4;
        while churn.times.len() < until {
            churn.add(&mut bed)?;
            if churn.alive.len() > 2 * churn.at_once {
                churn.remove(&mut bed)?;
            }
        }
        quarters.push(Held::by(&bed)?.resident_kib);
    }
    churn.remove_all(&mut bed)?;

    let mut after = Held::by(&bed)?;
    let waited = wait_until(PATIENCE, "everything is as before", || {
        after = Held::by(&bed).unwrap_or_default();
        after.is_like(&before)
    });
    waited.with_context(|| format!("before: {before:#?}\nafter: {after:#?}"))?;
    let mut links = 0;
    let waited = wait_until(PATIENCE, "the namespaces are gone", || {
        links = held::pod_links(&bed).unwrap_or(usize::MAX);
        links == bed.topology.node.pods.len()
    });
    waited.with_context(|| format!("{links} links to pods"))?;
    println!("{}, resident by quarters: {quarters:?} KiB", churn.times);
    println!("{}", times::in_the_agent(&bed)?);
    let grown = quarters[3].saturating_sub(quarters[0]);
    // Another agent that comes first on the cgroup hooks is not this test's, but is worth a look.
    let stirred = bed.metric("waysteer_drift", &[("kind", "order")])? > 0;
    ensure!(
        grown <= SLACK_KIB || stirred,
        "grown by {grown} KiB: {quarters:?}"
    );
    load.finish_whole(&wire)?;
    Ok(())
}

/// A tunnel that drains is told of no pods any more; that one has a connection is nothing to the others.
#[test]
fn a_pod_is_let_go_while_a_tunnel_drains() -> Result<()> {
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    let netns = &bed.pod("far").netns;
    let _far = Server::start(netns, "far", 8080, Service::Echo)?;
    let far = SocketAddr::new(bed.address("far", false), 8080);
    let kept = Dial::new().connect(&bed.pod("client").netns, far)?.stream;
    let echo = || -> Result<()> {
        (&kept).write_all(b"hello")?;
        Ok((&kept).read_exact(&mut [0; 5])?)
    };
    echo()?;
    let mut churn = Churn::of(1);
    churn.add(&mut bed)?;
    bed.start_ztunnel()?;
    bed.wait_for_ztunnel()?;
    bed.ztunnels[0].signal(Signal::SIGTERM)?;
    bed.ztunnels[0].wait_for_log(PATIENCE, "draining")?;
    churn.remove_all(&mut bed)?;
    // Sooner than pooled connections end that nobody uses.
    wait_until(PATIENCE, "the namespace is gone", || {
        held::pod_links(&bed).is_ok_and(|links| links == bed.topology.node.pods.len())
    })?;
    echo()?;
    ensure!(bed.ztunnels[0].is_running(), "it has cut its streams");
    Ok(())
}

fn from_environment(name: &str, default: usize) -> Result<usize> {
    let number = std::env::var(name).ok();
    let number = number.map_or(Ok(default), |number| number.parse());
    number.with_context(|| name.to_owned())
}

/// The agent remembers its last verdicts; only when it has so many its memory is to stay as it is.
fn fill_memory(bed: &Bed) -> Result<()> {
    let load = Load::start(bed, 5 * RATE)?;
    wait_until(PATIENCE, "the agent has many verdicts", || {
        bed.mark().is_ok_and(|number| number > VERDICTS)
    })?;
    load.finish()?.ensure_whole()
}

/// The pods that come and go.
#[derive(Default)]
pub(crate) struct Churn {
    at_once: usize,
    pub(crate) made: usize,
    /// The oldest first.
    pub(crate) alive: VecDeque<String>,
    times: Times,
}

impl Churn {
    pub(crate) fn of(at_once: usize) -> Self {
        Self {
            at_once,
            ..Self::default()
        }
    }

    /// Some more, each of which must be captured as soon as it is said to be enrolled.
    pub(crate) fn add(&mut self, bed: &mut Bed) -> Result<()> {
        let mut new = Vec::new();
        for _ in 0..self.at_once {
            let name = format!("c{}", self.made);
            self.made += 1;
            bed.topology.node.add_pod(&name)?;
            self.alive.push_back(name.clone());
            new.push(name);
        }
        bed.write_mesh(&bed.mesh())?;
        let start = Instant::now();
        self.tell(bed)?;
        let socket = bed.socket();
        let mut waiting = new.clone();
        wait_until(PATIENCE, "the new pods are enrolled", || {
            let states = admin::pod_states(&socket).unwrap_or_default();
            waiting.retain(|name| {
                let enrolled = states.get(name).is_some_and(|state| state == "enrolled");
                if enrolled {
                    self.times.add(start.elapsed());
                }
                !enrolled
            });
            waiting.is_empty()
        })?;
        for (index, name) in new.iter().enumerate() {
            // In plaintext it would be seen on the wire, and its SYN would be answered too.
            let v6 = index % 2 == 1;
            let far = SocketAddr::new(bed.address("far", v6), 8080);
            let connected = Dial::new().connect(&bed.pod(name).netns, far);
            connected.with_context(|| format!("{name} to {far}"))?;
            // And the other way.
            let own = SocketAddr::new(bed.address(name, v6), 15008);
            let reached = Dial::new().connect(&bed.pod("far-plain").netns, own);
            reached.with_context(|| format!("nobody listens in {name}"))?;
        }
        Ok(())
    }

    /// The oldest; every other time their namespaces are gone before the agent is told.
    pub(crate) fn remove(&mut self, bed: &mut Bed) -> Result<()> {
        let told_first = (self.made / self.at_once).is_multiple_of(2);
        let gone: Vec<String> = self.alive.drain(..self.at_once).collect();
        if told_first {
            self.tell(bed)?;
            let socket = bed.socket();
            wait_until(PATIENCE, "the old pods are let go", || {
                let states = admin::pod_states(&socket).unwrap_or_default();
                !states.is_empty() && gone.iter().all(|name| !states.contains_key(name))
            })?;
        }
        for name in &gone {
            bed.topology.node.remove_pod(name);
        }
        self.tell(bed)?;
        bed.write_mesh(&bed.mesh())
    }

    /// All, and waits until the agent has heard of it.
    pub(crate) fn remove_all(&mut self, bed: &mut Bed) -> Result<()> {
        while !self.alive.is_empty() {
            self.remove(bed)?;
        }
        let workloads = bed.topology.pods().count() as u64;
        wait_until(PATIENCE, "the agent knows of no more", || {
            let states = admin::pod_states(&bed.socket());
            let known = bed.metric("waysteer_source_workloads", &[]);
            states.is_ok_and(|states| states.keys().eq(STAYING.iter()))
                && known.is_ok_and(|known| known == workloads)
        })
    }

    fn tell(&self, bed: &Bed) -> Result<()> {
        let pods = STAYING.into_iter();
        let pods: Vec<&str> = pods.chain(self.alive.iter().map(String::as_str)).collect();
        bed.write_pods(&pods)
    }
}
