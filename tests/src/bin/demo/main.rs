//! `cargo xtask demo`, after xtask has built everything: real requests on the test bed, and a table
//! of what became of them.
//!
//! ```text
//! flow ─► stage ─► times ─► observe ─► report ─► table, JSON
//!                             └ wire                └ hints
//! ```

mod flow;
mod hints;
mod observe;
mod report;
mod stage;
mod table;
mod times;
mod wire;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use waysteer_tests::interrupt;

use observe::Observer;
use report::Report;
use stage::Stage;
use times::{Times, Without};

/// Sends requests of every class through a small mesh of network namespaces
#[derive(Debug, Parser)]
struct Args {
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Leave everything running, say what to try, and wait for Ctrl-C
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it should be.
fn run(args: &Args) -> Result<bool> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and BPF need root"
    );
    interrupt::install()?;
    let mut stage = Stage::new()?;
    eprintln!("waypoint: {}", stage.waypoint);
    let report = show(&mut stage)?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        let colours = out.is_terminal();
        write!(out, "{}", table::render(&report, colours))?;
    }
    out.flush()?;
    if args.keep {
        // Standard output is the report's.
        eprint!("{}", hints::text(&stage)?);
        while !interrupt::requested() {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
    Ok(report.ok)
}

fn show(stage: &mut Stage) -> Result<Report> {
    let flows = flow::all(&stage.bed);
    eprintln!("measuring without waysteer");
    let mut without = Vec::new();
    for flow in &flows {
        without.push(Without::measure(stage.client(), flow)?);
    }
    eprintln!("starting the agents");
    stage.start_agents()?;
    eprintln!("sending requests, and watching the wires");
    let mut rows = Vec::new();
    let overall = {
        let observer = Observer::new(stage)?;
        for flow in &flows {
            interrupt::check()?;
            rows.push(observer.row(flow)?);
        }
        observer.overall()
    };
    // After the captures have ended: they were not there before either.
    eprintln!("measuring with waysteer");
    for ((flow, row), without) in flows.iter().zip(&mut rows).zip(without) {
        if row.ok && without.is_some() {
            row.add_times(Times::measure(stage.client(), flow.to), without);
            interrupt::check()?;
        }
    }
    Ok(Report::new(stage.waypoint.clone(), rows, overall))
}
