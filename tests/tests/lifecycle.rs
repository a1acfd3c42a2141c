//! The agent's and the tunnel's comings and goings, under traffic of every class: no connection
//! fails, no stream is cut, and nothing that must be encrypted is on a wire as it is.

mod agent;
mod source;
mod steady;
pub(crate) mod stop;
mod ztunnel;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::wait::wait_until;

/// New connections a second, over all ways.
const RATE: u32 = 260;
/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many requests, and words of a stream, on every way, before something happens and after it.
const ENOUGH: u64 = 15;
/// A test goes on about so many times.
const PARTS: u64 = 4;
/// A machine may not reach the rate.
const SLOWER: u32 = 10;

/// New connections that a test has at least, if anybody wants a number.
const NUMBER: &str = "WAYSTEER_LOAD";

/// A bed with the stand-in for ztunnel, and traffic on it.
struct Scene {
    /// See [`NUMBER`].
    at_least: u64,
    // Dropped in this order.
    load: Load,
    wire: Wire,
    bed: Bed,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(&options())
    }

    fn with(options: &Options) -> Result<Self> {
        let bed = Bed::new(options)?;
        let wire = Wire::watch(&bed)?;
        let load = Load::start(&bed, RATE)?;
        load.wait_for_more(ENOUGH, PATIENCE)?;
        let at_least = std::env::var(NUMBER).map_or(Ok(0), |number| number.parse())?;
        Ok(Self {
            at_least,
            load,
            wire,
            bed,
        })
    }

    /// Waits until traffic has gone on for a while, everywhere: for a part of the connections that
    /// are wanted, so that the rest is there for what happens next.
    fn go_on(&self) -> Result<()> {
        self.load.wait_for_more(ENOUGH, PATIENCE)?;
        let enough = self.load.report().begun() + self.at_least / PARTS;
        self.wait_for(enough)
    }

    fn wait_for(&self, connections: u64) -> Result<()> {
        let within = PATIENCE + Duration::from_secs(connections / u64::from(RATE)) * SLOWER;
        wait_until(within, "there are enough connections", || {
            self.load.report().begun() >= connections
        })
    }

    /// The tags of the programs that are pinned, by name: digests of their instructions.
    fn programs(&self) -> Result<BTreeMap<String, String>> {
        let mut programs = BTreeMap::new();
        for path in self.bed.pins.list()? {
            let mut parts = path.iter().skip(1).map(|part| part.to_string_lossy());
            let (Some(kind), Some(name), None) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if kind == "programs" {
                let path = self.bed.pins.path().join(&path);
                let mut command = Command::new("bpftool");
                command.args(["--json", "prog", "show", "pinned"]).arg(path);
                let shown: serde_json::Value = serde_json::from_slice(&command.output()?.stdout)?;
                programs.insert(name.into_owned(), shown["tag"].to_string());
            }
        }
        ensure!(!programs.is_empty(), "no program is pinned");
        Ok(programs)
    }

    /// Ends the traffic, all of which must have been whole.
    fn finish(self) -> Result<()> {
        self.wait_for(self.at_least)?;
        let Self {
            at_least: _,
            load,
            wire,
            bed,
        } = self;
        load.finish_whole(&wire)?;
        drop(bed);
        Ok(())
    }
}

fn options() -> Options {
    Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    }
}
