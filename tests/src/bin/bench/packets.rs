//! How often the programs run, for connections and for packets of kept ones, and for how long, as
//! the kernel counts it (`BPF_ENABLE_STATS`, which ends with us). The counting itself takes part in
//! the times.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};
use waysteer::kernel::load::PROGRAMS;
use waysteer::kernel::pins;

use crate::client;
use crate::report::Table;
use crate::stage::Stage;
use crate::ways::{COMPARISONS, Way};
use crate::worker::Worker;

const CONNECTIONS: u32 = 1_000;
const REQUESTS: u32 = 5_000;

/// Runs and nanoseconds of a program, so far.
#[derive(Debug, Clone, Copy, Default)]
struct Ran {
    count: u64,
    nanoseconds: u64,
}

type Counted = BTreeMap<&'static str, Ran>;

pub(crate) fn measure(stage: &Stage) -> Result<Table> {
    let _counting = enable_stats(Stats::RunTime).context("counting runs of programs")?;
    let mut rows = Vec::new();
    let ways = COMPARISONS.iter().map(|comparison| comparison.way);
    for way in ways.filter(|way| !way.is_slow && has_programs(stage, way)) {
        // DirectLocal bypass is there twice.
        if rows
            .iter()
            .any(|row: &Vec<String>| row.first().is_some_and(|of| *of == way.name))
        {
            continue;
        }
        rows.extend(of_way(stage, &way)?);
    }
    Ok(Table {
        title: "runs of the programs at the client's hooks, each with its ns".to_owned(),
        columns: vec![
            "",
            "program",
            "a connection",
            "ns",
            "a request and answer",
            "ns",
        ],
        rows,
    })
}

fn of_way(stage: &Stage, way: &Way) -> Result<Vec<Vec<String>>> {
    let worker = Worker::start(way.name, &stage.client_place(way.from()))?;
    let to = way.to(stage);
    let start = counted(stage, way)?;
    worker.run(move || client::connections(to, CONNECTIONS))?;
    let connected = counted(stage, way)?;
    worker.run(move || client::requests(to, REQUESTS))?;
    let asked = counted(stage, way)?;
    let rows = PROGRAMS.iter().filter_map(|program| {
        let [a, b, c] = [&start, &connected, &asked]
            .map(|counted| counted.get(program).copied().unwrap_or_default());
        let of_connections = since(a, b, CONNECTIONS);
        let of_requests = since(b, c, REQUESTS);
        (b.count != a.count || c.count != b.count).then(|| {
            let mut row = vec![way.name.to_owned(), (*program).to_owned()];
            row.extend(of_connections);
            row.extend(of_requests);
            row
        })
    });
    Ok(rows.collect())
}

/// Runs for each of so many, and the time of one.
fn since(before: Ran, after: Ran, of: u32) -> [String; 2] {
    let count = after.count - before.count;
    let nanoseconds = after.nanoseconds - before.nanoseconds;
    let each = format!("{:.2}", count as f64 / f64::from(of));
    let time = match nanoseconds.checked_div(count) {
        Some(time) => time.to_string(),
        None => String::new(),
    };
    [each, time]
}

fn has_programs(stage: &Stage, way: &Way) -> bool {
    stage.agent_of(way.from()).is_some() || stage.empty_of(way.from()).is_some()
}

fn counted(stage: &Stage, way: &Way) -> Result<Counted> {
    let mut counted = Counted::new();
    if let Some(empty) = stage.empty_of(way.from()) {
        for program in PROGRAMS {
            if let Some((count, nanoseconds)) = empty.ran(program)? {
                counted.insert(program, Ran { count, nanoseconds });
            }
        }
        return Ok(counted);
    }
    let agent = stage.agent_of(way.from()).context("a pod with an agent")?;
    for generation in pins::generations(agent.pins.path())? {
        for program in PROGRAMS {
            let path = generation.program(program);
            let info = ProgramInfo::from_pin(path).with_context(|| program.to_owned())?;
            let ran = counted.entry(program).or_default();
            ran.count += info.run_count();
            ran.nanoseconds += info.run_time().as_nanos() as u64;
        }
    }
    Ok(counted)
}
