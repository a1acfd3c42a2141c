//! Traffic of every class at once, all of it checked: hundreds of new connections a second, and
//! streams that last.
//!
//! ```text
//! ways ─► clients, one thread a source: requests at a steady rate ─┐
//!                                       streams, a word at a time ─┼─► tally ─► report
//! servers, one thread a pod ◄──────────────────────────────────────┘
//! wire: what of the ways that need encryption passes the node's devices as it is
//! ```
//!
//! A request is answered by the server's name, the client's address as the server sees it, and the
//! request itself, and then both ends close in order; anything else is a failure. A stream's words
//! are numbered, and come back in order. The rate does not wait for answers, as users do not.

mod clients;
mod servers;
mod tally;
mod ways;
mod wire;
mod words;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::bed::Bed;
use crate::wait::wait_until;

pub use tally::{Report, WayReport};
pub use ways::{Kind, Way, all as all_ways};
pub use wire::Wire;

use clients::Control;
use servers::Servers;
use tally::Tally;

/// How long a connection may be held: a SYN is repeated after 1, 3, 7, 15 and 31 seconds.
const PATIENCE: Duration = Duration::from_secs(70);

/// Traffic that runs; it ends, unjudged, when dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
    _servers: Servers,
}

impl Load {
    /// Starts it on the bed, with so many new connections a second over all ways together.
    pub fn start(bed: &Bed, rate: u32) -> Result<Self> {
        Self::over(bed, ways::all(bed), rate)
    }

    /// Over some of the ways only.
    pub fn over(bed: &Bed, ways: Vec<Way>, rate: u32) -> Result<Self> {
        let servers = Servers::start(bed)?;
        let tally = Arc::new(Tally::new(&ways));
        let control = Arc::new(Control::new(rate));
        let threads = clients::start(bed, &ways, &tally, &control)?;
        let load = Self {
            tally,
            control,
            threads,
            _servers: servers,
        };
        load.wait_for_more(1, PATIENCE)?;
        Ok(load)
    }

    /// Waits until so many more requests have been answered on every way, and every stream has got
    /// as many words.
    pub fn wait_for_more(&self, count: u64, within: Duration) -> Result<()> {
        let before = self.report();
        wait_until(within, "traffic goes on", || {
            let now = self.report();
            let mut both = now.ways.iter().zip(&before.ways);
            both.all(|(now, before)| {
                now.answered >= before.answered + count && now.words >= before.words + count
            })
        })
        .map_err(|error| anyhow!("{error}\n{}", self.report()))
    }

    /// Begins no more connections on the ways of these kinds, and waits until none is under way.
    pub fn pause(&self, kinds: &[Kind]) -> Result<()> {
        self.control.pause(kinds);
        wait_until(PATIENCE, "connections end", || {
            let report = self.report();
            let mut paused = report.ways.iter().filter(|way| kinds.contains(&way.kind));
            paused.all(|way| way.under_way() == 0)
        })
    }

    /// Begins connections again everywhere.
    pub fn resume(&self) {
        self.control.pause(&[]);
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        self.tally.report()
    }

    /// Ends in order: no more connections, all that are under way to their end, then the streams.
    pub fn finish(mut self) -> Result<Report> {
        self.control.finish();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            ensure!(ended.is_ok(), "a client thread panicked");
        }
        Ok(self.report())
    }

    /// Ends it, and fails unless all of it was whole and nothing of it in the clear.
    pub fn finish_whole(self, wire: &Wire) -> Result<Report> {
        let report = self.finish()?;
        println!("{report}");
        report.ensure_whole()?;
        wire.ensure_clean()?;
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.control.abort();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
