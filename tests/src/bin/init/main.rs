//! The first and only program of the machines of `cargo xtask vm`: loads modules, runs what the
//! plan says, tells the result over the serial port that is its argument, and turns the machine off.
//!
//! `/plan` has a line for each thing to do, its fields separated by tabs, in order:
//!
//! ```text
//! module   PATH                                one that the tests need
//! set      NAME  VALUE                         in the environment of what follows
//! command  NAME  SECONDS  PROGRAM ARGUMENT…    its end and all that it prints are told
//! tests    NAME  SECONDS  PROGRAM PREFIX…      each test of that binary whose name begins so,
//!                                              alone; `-PREFIX` leaves out again
//! ```
//!
//! What comes back, in the same way:
//!
//! ```text
//! kernel   RELEASE
//! begun    NAME                                a command or a test
//! printed  NAME  LINE                          of a command, or of a test that failed
//! ended    NAME  STATUS  MILLISECONDS          of a command: its exit status, or `late`
//! test     NAME  TEST  RESULT  MILLISECONDS    `ok`, `failed`, `skipped` or `late`
//! trouble  TEXT                                what this program could not do
//! end                                          nothing was left out
//! ```

mod machine;
mod plan;
mod program;
mod report;

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use plan::{Step, Task};
use program::{End, Outcome, Runner};
use report::Report;

const PLAN: &str = "/plan";
/// How long a test binary may take to tell its tests.
const LIST: Duration = Duration::from_secs(60);

fn main() {
    // There is nowhere to return to: the kernel panics when its first program ends.
    if let Err(error) = run() {
        eprintln!("waysteer-init: {error:#}");
    }
    machine::power_off();
}

fn run() -> Result<()> {
    machine::mount_all()?;
    let port = env::args().nth(1).context("no port to report to")?;
    let mut report = Report::open(port)?;
    match work(&mut report) {
        Ok(()) => report.tell(&["end"]),
        Err(error) => report.tell(&["trouble", &format!("{error:#}")]),
    }
}

fn work(report: &mut Report) -> Result<()> {
    report.tell(&["kernel", &machine::release()?])?;
    let text = fs::read_to_string(PLAN).context(PLAN)?;
    let mut runner = Runner::default();
    for step in plan::read(&text)? {
        match step {
            Step::Module(path) => machine::load_module(&path)?,
            Step::Set(name, value) => runner.set(name, value),
            Step::Command(task) => command(&runner, report, &task)?,
            Step::Tests(task) => tests(&runner, report, &task)?,
        }
    }
    Ok(())
}

fn command(runner: &Runner, report: &mut Report, task: &Task) -> Result<()> {
    report.tell(&["begun", &task.name])?;
    let outcome = runner.run(&task.program, &task.arguments, task.within)?;
    print(report, &task.name, &outcome)?;
    let status = match outcome.end {
        End::Exited(status) => status.to_string(),
        End::Signalled(signal) => format!("signal {signal}"),
        End::Late => "late".to_owned(),
    };
    report.tell(&["ended", &task.name, &status, &milliseconds(&outcome)])
}

fn tests(runner: &Runner, report: &mut Report, task: &Task) -> Result<()> {
    for test in listed(runner, task)? {
        report.tell(&["begun", &test])?;
        let arguments = ["--exact", &test].map(str::to_owned);
        let outcome = runner.run(&task.program, &arguments, task.within)?;
        let result = match outcome.end {
            End::Exited(0) if outcome.lines().any(is_skip) => "skipped",
            End::Exited(0) => "ok",
            End::Exited(_) | End::Signalled(_) => "failed",
            End::Late => "late",
        };
        if result != "ok" {
            print(report, &test, &outcome)?;
        }
        report.tell(&["test", &task.name, &test, result, &milliseconds(&outcome)])?;
    }
    Ok(())
}

/// The tests of a binary that the plan wants, as it lists them itself.
fn listed(runner: &Runner, task: &Task) -> Result<Vec<String>> {
    let list = ["--list", "--format", "terse"].map(str::to_owned);
    let outcome = runner.run(&task.program, &list, LIST)?;
    anyhow::ensure!(
        outcome.end == End::Exited(0),
        "{} does not list its tests: {:?}",
        task.program,
        outcome.end
    );
    let tests = outcome
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    let chosen = tests.filter(|name| plan::chooses(&task.arguments, name));
    Ok(chosen.map(str::to_owned).collect())
}

/// As tests say that they cannot run here.
fn is_skip(line: &str) -> bool {
    line.starts_with("skipped: ") || line.starts_with("SKIPPED ")
}

fn print(report: &mut Report, name: &str, outcome: &Outcome) -> Result<()> {
    outcome
        .lines()
        .try_for_each(|line| report.tell(&["printed", name, line]))
}

fn milliseconds(outcome: &Outcome) -> String {
    outcome.took.as_millis().to_string()
}
