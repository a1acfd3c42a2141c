//! `cargo xtask bench`, after xtask has built everything: what redirection costs, against what there
//! is without it and against iptables.
//!
//! ```text
//! stage (cgroup, agents, servers) ─► ways ─► rounds (worker, client) ─► report ─► table, chart
//! ```

mod cgroup;
mod client;
mod idle;
mod metric;
mod micro;
mod packets;
mod ratios;
mod report;
mod rounds;
mod server;
mod stage;
mod ways;
mod worker;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum as _};
use waysteer_tests::interrupt;
use waysteer_tests::process::raise_file_limit;

use report::Report;
use rounds::Amount;
use stage::Stage;
use ways::Topic;

/// How long anything may take to get ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// What redirection costs
#[derive(Debug, Parser)]
struct Args {
    /// Fewer rounds, and less in each of them
    #[arg(long)]
    quick: bool,
    /// So many rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Topic>,
    /// Print one JSON document instead of tables
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print tables as docs/performance.md has them
    #[arg(long)]
    markdown: bool,
    /// Where the chart is written
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Keep the ratios of this run, for later ones to be compared with
    #[arg(long)]
    keep: bool,
    /// The programs over maps of a million workloads too
    #[arg(long)]
    million: bool,
}

/// Workloads in the maps of the programs that are run alone.
const SIZES: [usize; 3] = [100, 10_000, 100_000];

/// What an agent has open besides connections, and some to spare.
const OTHER_FILES: usize = 6_000;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and BPF need root"
    );
    interrupt::install()?;
    let files = usize::try_from(raise_file_limit()?)?;
    let mut amount = if args.quick {
        Amount::QUICK
    } else {
        Amount::FULL
    };
    amount.rounds = args.rounds.unwrap_or(amount.rounds);
    // Both ends of each are files of this process, or of the tunnel.
    amount.idle = amount.idle.min(files.saturating_sub(OTHER_FILES) / 2);
    let topics = if args.only.is_empty() {
        Topic::value_variants()
    } else {
        &args.only
    };
    let mut report = Report {
        kernel: kernel()?,
        processors: std::thread::available_parallelism()?.get(),
        rounds: amount.rounds,
        ..Report::default()
    };
    measure(&mut report, topics, &amount, args)?;
    if let Some(path) = &args.svg {
        let chart = report::chart::svg(&report);
        std::fs::write(path, chart).with_context(|| format!("{} not written", path.display()))?;
    }
    if args.keep {
        ratios::keep(&report, &ratios::path())?;
    } else {
        let said = ratios::compare(&report, &ratios::path())?;
        report.notes.extend(said);
    }
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else if args.markdown {
        write!(out, "{}", report::markdown(&report))?;
    } else {
        write!(out, "{}", report::text(&report))?;
    }
    Ok(out.flush()?)
}

fn measure(report: &mut Report, topics: &[Topic], amount: &Amount, args: &Args) -> Result<()> {
    let mut ways = ways::of_topics(topics);
    if topics.contains(&Topic::Micro) {
        let million = args.million.then_some(1_000_000);
        let sizes: Vec<usize> = SIZES.into_iter().chain(million).collect();
        micro::measure(&sizes, report)?;
    }
    if topics.iter().all(|topic| *topic == Topic::Micro) {
        return Ok(());
    }
    let stage = Stage::new(topics.contains(&Topic::Large))?;
    match &stage.iptables {
        Ok(version) => report
            .notes
            .push(format!("{version}, REDIRECT in table nat")),
        Err(error) => {
            ways.retain(|way| !way.needs_iptables());
            report
                .notes
                .push(format!("not measured with iptables: {error}"));
        }
    }
    if !ways.is_empty() {
        let samples = rounds::run(&stage, &ways, amount)?;
        report.add(&samples, topics);
    }
    if topics.contains(&Topic::Idle) {
        let table = idle::measure(&stage, amount.idle)?;
        report.tables.push(table);
    }
    if topics.contains(&Topic::Packets) {
        report.tables.push(packets::measure(&stage)?);
    }
    Ok(())
}

fn kernel() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(text.trim().to_owned())
}
