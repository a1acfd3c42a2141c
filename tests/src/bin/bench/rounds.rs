//! Rounds: in each of them every way is measured once, one after the other, so that what changes on
//! the machine meanwhile changes for all.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer_tests::interrupt;

use crate::client;
use crate::metric::Metric;
use crate::stage::Stage;
use crate::ways::Way;
use crate::worker::{Worker, own_processor_time, processor_time};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) rounds: usize,
    connections: u32,
    requests: u32,
    bulk: Duration,
    at_rate: u32,
    /// Connections that do nothing.
    pub(crate) idle: usize,
}

/// At the fixed rate.
const EVERY: Duration = Duration::from_millis(1);
/// Of ways that go through tunnels so much less is done, and at so much a lower rate.
const SLOWER: u32 = 5;

/// How often a connection is due.
fn every(way: &Way) -> Duration {
    EVERY * if way.is_slow { SLOWER } else { 1 }
}

/// What was measured of every way, a value a round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(&'static str, Metric), Vec<f64>>,
    /// At the fixed rate, of all rounds together, in order.
    latencies: BTreeMap<&'static str, (Duration, Vec<Duration>)>,
}

impl Amount {
    pub(crate) const QUICK: Self = Self {
        rounds: 5,
        connections: 500,
        requests: 2_000,
        bulk: Duration::from_millis(60),
        at_rate: 200,
        idle: 1_000,
    };
    pub(crate) const FULL: Self = Self {
        rounds: 21,
        connections: 1_000,
        requests: 5_000,
        bulk: Duration::from_millis(150),
        at_rate: 500,
        idle: 10_000,
    };
}

impl Samples {
    pub(crate) fn values(&self, way: &Way, metric: Metric) -> &[f64] {
        self.values
            .get(&(way.name, metric))
            .map_or(&[], Vec::as_slice)
    }

    /// Of each way, with how often a connection was due.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (&'static str, Duration, &[Duration])> {
        self.latencies
            .iter()
            .map(|(name, (every, times))| (*name, *every, times.as_slice()))
    }

    fn add(&mut self, way: &Way, metric: Metric, value: f64) {
        self.values
            .entry((way.name, metric))
            .or_default()
            .push(value);
    }
}

/// Measures all of some ways.
pub(crate) fn run(stage: &Stage, ways: &[Way], amount: &Amount) -> Result<Samples> {
    let workers = ways
        .iter()
        .map(|way| Worker::start(way.name, &stage.client_place(way.from())))
        .collect::<Result<Vec<_>>>()?;
    let all: Vec<(&Way, &Worker)> = ways.iter().zip(&workers).collect();
    let mut samples = Samples::default();
    // Tunnels open their connections, caches fill.
    for (way, worker) in &all {
        measure(stage, way, worker, amount, &mut Samples::default())
            .with_context(|| way.name.to_owned())?;
    }
    for round in 0..amount.rounds {
        eprint!("\rround {} of {}", round + 1, amount.rounds);
        // Nobody always comes after the same one.
        let mut order = all.clone();
        order.rotate_left(round % all.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for (way, worker) in order {
            interrupt::check()?;
            measure(stage, way, worker, amount, &mut samples)
                .with_context(|| way.name.to_owned())?;
        }
    }
    eprintln!();
    for (_, times) in samples.latencies.values_mut() {
        times.sort_unstable();
    }
    Ok(samples)
}

fn measure(
    stage: &Stage,
    way: &Way,
    worker: &Worker,
    amount: &Amount,
    samples: &mut Samples,
) -> Result<()> {
    let Amount {
        rounds: _,
        connections,
        requests,
        bulk,
        at_rate,
        idle: _,
    } = *amount;
    let less = if way.is_slow { SLOWER } else { 1 };
    let (connections, requests) = (connections / less, requests / less);
    let to = way.to(stage);

    let before = Used::now(stage)?;
    let times = worker.run(move || client::connections(to, connections))?;
    let used = before.since(stage)?;
    samples.add(way, Metric::Connect, times.connect);
    samples.add(way, Metric::Whole, times.whole);
    let thousands = f64::from(connections) / 1e3;
    samples.add(way, Metric::ConnectionsOwn, used.own / thousands);
    samples.add(way, Metric::ConnectionsAgents, used.agents / thousands);

    let time = worker.run(move || client::requests(to, requests))?;
    samples.add(way, Metric::Request, time);

    let before = Used::now(stage)?;
    let sent = worker.run(move || client::bulk(to, bulk))?;
    let used = before.since(stage)?;
    samples.add(way, Metric::Bulk, sent.rate);
    let gigabytes = sent.bytes as f64 / 1e9;
    samples.add(way, Metric::BytesOwn, used.own / gigabytes);
    samples.add(way, Metric::BytesAgents, used.agents / gigabytes);

    let rate = worker.run(move || client::bulk_of_many(to, bulk))?;
    samples.add(way, Metric::Bulk16, rate);

    let every = every(way);
    let times = worker.run(move || client::at_fixed_rate(to, every, at_rate / less))?;
    let (due, all) = samples.latencies.entry(way.name).or_default();
    *due = every;
    all.extend(times);
    Ok(())
}

/// Seconds of processor time.
struct Used {
    own: f64,
    agents: f64,
}

impl Used {
    fn now(stage: &Stage) -> Result<Self> {
        let mut agents = Duration::ZERO;
        for process in stage.processes() {
            agents += processor_time(process)?;
        }
        Ok(Self {
            own: own_processor_time().as_secs_f64(),
            agents: agents.as_secs_f64(),
        })
    }

    fn since(&self, stage: &Stage) -> Result<Self> {
        let now = Self::now(stage)?;
        Ok(Self {
            own: now.own - self.own,
            agents: now.agents - self.agents,
        })
    }
}
