//! `cargo xtask vm`: kernels of Debian, booted in emulated machines, and the tests that a kernel can
//! make a difference to run on each.

pub(crate) mod arch;
pub(crate) mod archive;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod page;
mod payload;
mod plan;
mod release;
mod report;
mod verdict;

use std::fs;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::budget::Budget;
use crate::{setup, workspace};
use arch::Arch;
use kernel::Kernel;
use modules::Module;
use payload::Payload;
use release::Release;
use report::{Outcome, Report};

const PAGE: &str = "docs/kernels.md";
const AT_ONCE: usize = 2;
/// A machine that takes longer is killed.
const LONGEST: Duration = Duration::from_secs(90 * 60);

/// What a machine needs besides the payload.
struct Prepared {
    kernel: Kernel,
    modules: Vec<Module>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The series of each kernel, such as 6.12 or 7.2; of each the newest that Debian has. All that
    /// are supported, and one that must be refused, if none is named
    kernels: Vec<String>,
    /// Of which architecture, and of which in turn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "amd64")]
    arch: Vec<Arch>,
    /// Only a group of tests, or tests of one, whose name begins so
    #[arg(long)]
    only: Option<String>,
    /// Writes docs/kernels.md, from what was seen last on each of the kernels of all architectures
    /// that are run without naming any
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Only writes that page, and runs nothing
    #[arg(long, conflicts_with_all = ["kernels", "arch", "only", "update"])]
    page: bool,
    /// How many machines run at the same time
    #[arg(long, default_value_t = AT_ONCE)]
    at_once: usize,
    /// Looks for newer kernels of these series than those that lie here
    #[arg(long)]
    update: bool,
}

impl Args {
    /// All kernels of all architectures, the newest that there are of each.
    pub(crate) fn all() -> Self {
        Self {
            kernels: Vec::new(),
            arch: Arch::ALL.to_vec(),
            only: None,
            write: false,
            page: false,
            at_once: AT_ONCE,
            update: true,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args {
        kernels,
        arch,
        only,
        write,
        page,
        at_once,
        update,
    } = args;
    let budget = Budget::read()?;
    if *page {
        return write_page(&budget);
    }
    setup::require_for_machines(arch)?;
    let mut problems = Vec::new();
    for arch in arch {
        let machines = prepare(*arch, kernels, *update)?;
        let payload = Payload::build(*arch)?;
        let reports = boot_all(&machines, &payload, only.as_deref(), *at_once)?;
        for (Prepared { kernel, .. }, report) in machines.into_iter().zip(reports) {
            problems.extend(judge(&kernel.release, &report, &budget));
        }
    }
    if *write {
        write_page(&budget)?;
    }
    if !problems.is_empty() {
        bail!("{} problems:\n{}", problems.len(), problems.join("\n"));
    }
    Ok(())
}

/// The kernels that were named, or all.
fn prepare(arch: Arch, kernels: &[String], update: bool) -> Result<Vec<Prepared>> {
    let named: Vec<&str> = kernels.iter().map(String::as_str).collect();
    let series = match named.as_slice() {
        [] => arch.series(),
        named => named,
    };
    let mut machines = Vec::new();
    for kernel in kernel::find(arch, series, update)? {
        let modules = modules::collect(&kernel.modules, &plan::MODULES);
        let modules = modules.with_context(|| format!("modules of {}", kernel.release.name()))?;
        machines.push(Prepared { kernel, modules });
    }
    Ok(machines)
}

/// Says how a kernel did, and gives what is wrong with it.
fn judge(release: &Release, report: &Report, budget: &Budget) -> Vec<String> {
    let name = release.name();
    let tests = report.tests.iter();
    let passed = tests.filter(|test| test.result == Outcome::Passed).count();
    let all = report.tests.len();
    println!("{name}: {passed} of {all} tests passed");
    let problems = verdict::problems(release, report, budget).into_iter();
    problems
        .map(|problem| format!("{name}: {problem}"))
        .collect()
}

/// From the reports of the last whole runs, for a run over all takes long.
fn write_page(budget: &Budget) -> Result<()> {
    let mut runs = Vec::new();
    for arch in Arch::ALL {
        for kernel in kernel::find(arch, arch.series(), false)? {
            let report = last(&kernel)?;
            runs.push((kernel.release, report));
        }
    }
    fs::write(workspace::root().join(PAGE), page::write(&runs, budget)).context(PAGE)?;
    println!("written: {PAGE}");
    Ok(())
}

/// What a kernel told when it was run last.
fn last(kernel: &Kernel) -> Result<Report> {
    let path = path_of(&kernel.release, "report");
    let lines = fs::read_to_string(&path).with_context(|| {
        let (name, arch) = (kernel.release.name(), kernel.arch);
        let path = path.display();
        format!("{name} was not run (`cargo xtask vm --arch {arch}`): {path} is missing")
    })?;
    let mut report = Report::default();
    lines.lines().for_each(|line| report.take(line));
    Ok(report)
}

fn path_of(release: &Release, what: &str) -> PathBuf {
    let name = format!("{}.{what}", release.name());
    workspace::target().join("vm").join(name)
}

/// Runs machines, so many at once, and gives their reports in the order of the kernels.
fn boot_all(
    machines: &[Prepared],
    payload: &Payload,
    only: Option<&str>,
    at_once: usize,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for some in machines.chunks(at_once.max(1)) {
        let ended: Vec<Result<Report>> = thread::scope(|scope| {
            let start = |prepared| scope.spawn(move || boot(prepared, payload, only));
            let running: Vec<_> = some.iter().map(start).collect();
            let join = |machine: thread::ScopedJoinHandle<'_, _>| {
                machine.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            running.into_iter().map(join).collect()
        });
        for report in ended {
            reports.push(report?);
        }
    }
    Ok(reports)
}

/// Runs a machine from power on to power off. Whatever becomes of it is in the report.
fn boot(prepared: &Prepared, payload: &Payload, only: Option<&str>) -> Result<Report> {
    let Prepared { kernel, modules } = prepared;
    let label = kernel.label();
    let archive = payload.archive(modules, &plan::steps(&kernel.release, only))?;
    let initramfs = path_of(&kernel.release, "initramfs");
    fs::write(&initramfs, archive).with_context(|| format!("{}", initramfs.display()))?;
    let console = path_of(&kernel.release, "console");
    let begun = Instant::now();
    let mut report = Report::default();
    let mut lines = String::new();
    let ended = machine::boot(kernel, &initramfs, &console, LONGEST, |line| {
        report.take(line);
        lines += line;
        lines.push('\n');
        tell(&label, line, begun.elapsed());
    });
    if let Err(error) = ended {
        report.trouble.push(format!("{error:#}"));
    }
    fs::remove_file(&initramfs)?;
    if only.is_none() {
        fs::write(path_of(&kernel.release, "report"), lines)?;
    }
    if !report.is_complete {
        let said = fs::read(&console).unwrap_or_default();
        println!("{}", String::from_utf8_lossy(&said));
    }
    Ok(report)
}

/// What somebody who waits wants to see; several machines may be talking.
fn tell(label: &str, line: &str, after: Duration) {
    let fields: Vec<&str> = line.split('\t').collect();
    let text = match fields.as_slice() {
        ["begun", _] => return,
        ["printed", _, text] => format!("    {text}"),
        ["ended", name, status, milliseconds] => format!("{name}: {status} ({milliseconds} ms)"),
        ["test", of, name, result, milliseconds] => {
            format!("{of}, {name}: {result} ({milliseconds} ms)")
        }
        fields => fields.join(" "),
    };
    println!("{label:<15}{:>5} s  {text}", after.as_secs());
}
