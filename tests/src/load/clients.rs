//! Who asks: a thread for each source, inside its namespace.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::PATIENCE;
use super::tally::Tally;
use super::ways::{From, Kind, Way};
use super::words::{self, Word};
use crate::bed::Bed;
use crate::netns::NetNs;

/// Between a stream's word and the next.
const EVERY: Duration = Duration::from_millis(50);
/// A stream that is silent for so long is cut. TCP repeats what was lost before.
const SILENCE: Duration = Duration::from_secs(20);
/// How often what a test wants is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// What a test wants of the clients.
#[derive(Debug)]
pub(super) struct Control {
    rate: u32,
    paused: Mutex<Vec<Kind>>,
    finish: AtomicBool,
    abort: AtomicBool,
}

impl Control {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate,
            paused: Mutex::default(),
            finish: AtomicBool::new(false),
            abort: AtomicBool::new(false),
        }
    }

    pub(super) fn pause(&self, kinds: &[Kind]) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = kinds.to_vec();
    }

    pub(super) fn finish(&self) {
        self.finish.store(true, Ordering::Relaxed);
    }

    pub(super) fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }

    fn is_paused(&self, kind: Kind) -> bool {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.contains(&kind)
    }

    fn is_finishing(&self) -> bool {
        self.finish.load(Ordering::Relaxed)
    }
}

/// What a source's thread works with.
#[derive(Clone)]
struct Client {
    tally: Arc<Tally>,
    control: Arc<Control>,
    /// All ways together.
    ways: u32,
}

pub(super) fn start(
    bed: &Bed,
    ways: &[Way],
    tally: &Arc<Tally>,
    control: &Arc<Control>,
) -> Result<Vec<JoinHandle<()>>> {
    let mut sources: BTreeMap<From, Vec<(usize, Way)>> = BTreeMap::new();
    for (index, way) in ways.iter().enumerate() {
        let source = sources.entry(way.from).or_default();
        source.push((index, way.clone()));
    }
    let client = Client {
        tally: Arc::clone(tally),
        control: Arc::clone(control),
        ways: ways.len() as u32,
    };
    let start = |(from, ways)| {
        let client = client.clone();
        namespace(bed, from).spawn("load-client", move || inside(client.run(ways)))
    };
    sources.into_iter().map(start).collect()
}

fn namespace(bed: &Bed, from: From) -> &NetNs {
    match from {
        From::Pod(name) => &bed.pod(name).netns,
        From::Node => &bed.topology.node.netns,
        From::External => &bed.topology.external.netns,
    }
}

/// Runs on the calling thread, so that every socket is made where the thread is.
pub(super) fn inside(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(work);
}

impl Client {
    async fn run(self, ways: Vec<(usize, Way)>) {
        let control = Arc::clone(&self.control);
        let work = async {
            let mut streams = JoinSet::new();
            let mut requests = JoinSet::new();
            for (index, way) in ways {
                streams.spawn(self.clone().keep_stream(index, way.clone()));
                requests.spawn(self.clone().keep_asking(index, way));
            }
            while requests.join_next().await.is_some() {}
            while streams.join_next().await.is_some() {}
        };
        let aborted = async {
            while !control.abort.load(Ordering::Relaxed) {
                sleep(GLANCE).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = aborted => {}
        }
    }

    /// Begins connections at a steady rate, whether earlier ones have ended or not.
    async fn keep_asking(self, index: usize, way: Way) {
        let mut tick = interval(Duration::from_secs(1) * self.ways / self.control.rate);
        // On a machine that is too slow the rate is lower; it does not pile up.
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let way = Arc::new(way);
        let mut under_way = JoinSet::new();
        for number in 0.. {
            tick.tick().await;
            if self.control.is_finishing() {
                break;
            }
            while under_way.try_join_next().is_some() {}
            if self.control.is_paused(way.kind) {
                continue;
            }
            self.tally.count(index, |counts| counts.begun += 1);
            let (tally, way) = (Arc::clone(&self.tally), Arc::clone(&way));
            under_way.spawn(async move {
                let start = Instant::now();
                let asked = timeout(PATIENCE, words::ask(&way, number)).await;
                let took = start.elapsed();
                tally.count(index, |counts| match asked {
                    Ok(Ok(())) => counts.answer(took),
                    Ok(Err(error)) => counts.fail(format!("after {took:?}: {error}")),
                    Err(_) => counts.fail(format!("nothing within {PATIENCE:?}")),
                });
            });
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn keep_stream(self, index: usize, way: Way) {
        if let Err(error) = self.stream(index, &way).await {
            self.tally.count(index, |counts| counts.cut = Some(error));
        }
    }

    /// One connection, for as long as the load runs.
    async fn stream(&self, index: usize, way: &Way) -> Result<(), String> {
        let connected = timeout(PATIENCE, words::connect(way)).await;
        let mut stream = connected.map_err(|_| "not connected in time")??;
        let mut number = 0;
        let mut last = Instant::now();
        while !self.is_over() {
            self.exchange(&mut stream, way, number).await?;
            let gap = last.elapsed();
            last = Instant::now();
            self.tally.count(index, |counts| {
                counts.words += 1;
                if number > 0 {
                    counts.longest_gap = counts.longest_gap.max(gap);
                }
            });
            number += 1;
            sleep(EVERY).await;
        }
        let end = async {
            stream.shutdown().await?;
            stream.read(&mut [0; 1]).await
        };
        match timeout(SILENCE, end).await {
            Ok(Ok(0)) => Ok(()),
            other => Err(format!("at its end: {other:?}")),
        }
    }

    /// Streams end after the last request of any source is begun.
    fn is_over(&self) -> bool {
        let report = self.tally.report();
        self.control.is_finishing() && report.ways.iter().all(|way| way.under_way() == 0)
    }

    async fn exchange(&self, stream: &mut TcpStream, way: &Way, number: u64) -> Result<(), String> {
        let word = Word::new(way, number);
        let exchange = async {
            stream.write_all(&word.0).await?;
            let mut back = Word::default();
            stream.read_exact(&mut back.0).await?;
            Ok::<_, std::io::Error>(back)
        };
        match timeout(SILENCE, exchange).await {
            Ok(Ok(back)) if back == word => Ok(()),
            Ok(Ok(back)) => Err(format!("word {number}: {back:?}, not {word:?}")),
            Ok(Err(error)) => Err(format!("word {number}: {error}")),
            Err(_) => Err(format!("word {number}: silent for {SILENCE:?}")),
        }
    }
}
