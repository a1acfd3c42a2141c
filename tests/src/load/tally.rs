//! Counting.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::ways::{Kind, Way};

/// Of failures so many are remembered in words.
const REMEMBERED: usize = 5;

/// What the ways are doing.
#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    ways: Mutex<Vec<WayReport>>,
}

/// The counts at one time.
#[derive(Debug, Clone)]
pub struct Report {
    pub time: Duration,
    pub ways: Vec<WayReport>,
}

/// One way's requests and its stream.
#[derive(Debug, Clone)]
pub struct WayReport {
    pub name: String,
    pub kind: Kind,
    pub begun: u64,
    pub answered: u64,
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<String>,
    pub slowest: Duration,
    /// That came back on the stream.
    pub words: u64,
    pub longest_gap: Duration,
    /// Why the stream has ended before it was told to.
    pub cut: Option<String>,
}

impl Tally {
    pub(super) fn new(ways: &[Way]) -> Self {
        let nothing = |way: &Way| WayReport {
            name: way.name.clone(),
            kind: way.kind,
            begun: 0,
            answered: 0,
            failed: 0,
            failures: Vec::new(),
            slowest: Duration::ZERO,
            words: 0,
            longest_gap: Duration::ZERO,
            cut: None,
        };
        Self {
            start: Instant::now(),
            ways: Mutex::new(ways.iter().map(nothing).collect()),
        }
    }

    /// Counts something on a way, which is known by its index.
    pub(super) fn count(&self, way: usize, change: impl FnOnce(&mut WayReport)) {
        if let Some(report) = self.lock().get_mut(way) {
            change(report);
        }
    }

    pub(super) fn report(&self) -> Report {
        Report {
            time: self.start.elapsed(),
            ways: self.lock().clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<WayReport>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WayReport {
    pub(super) fn answer(&mut self, took: Duration) {
        self.answered += 1;
        self.slowest = self.slowest.max(took);
    }

    pub(super) fn fail(&mut self, error: String) {
        self.failed += 1;
        if self.failures.len() < REMEMBERED {
            self.failures.push(error);
        }
    }

    /// Connections that have neither succeeded nor failed yet.
    pub fn under_way(&self) -> u64 {
        self.begun - self.answered - self.failed
    }
}

impl Report {
    pub fn begun(&self) -> u64 {
        self.ways.iter().map(|way| way.begun).sum()
    }

    pub fn failed(&self) -> u64 {
        self.ways.iter().map(|way| way.failed).sum()
    }

    pub fn cut(&self) -> usize {
        self.ways.iter().filter(|way| way.cut.is_some()).count()
    }

    /// Fails unless every connection was answered and no stream was cut.
    pub fn ensure_whole(&self) -> Result<()> {
        let silent = self
            .ways
            .iter()
            .find(|way| way.answered == 0 || way.words == 0);
        ensure!(silent.is_none(), "nothing happened on {silent:?}\n{self}");
        ensure!(self.failed() == 0 && self.cut() == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        writeln!(
            f,
            "{} connections in {seconds:.1} s ({:.0}/s), {} failed; {} streams, {} cut",
            self.begun(),
            self.begun() as f64 / seconds,
            self.failed(),
            self.ways.len(),
            self.cut()
        )?;
        for way in &self.ways {
            write!(
                f,
                "  {:<58} {:>5} answered, slowest {:>6} ms; {:>5} words, longest gap {:>5} ms",
                way.name,
                way.answered,
                way.slowest.as_millis(),
                way.words,
                way.longest_gap.as_millis()
            )?;
            if way.under_way() > 0 {
                write!(f, "; {} under way", way.under_way())?;
            }
            if way.failed > 0 {
                write!(f, "; {} FAILED: {:?}", way.failed, way.failures)?;
            }
            if let Some(cut) = &way.cut {
                write!(f, "; CUT: {cut}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
