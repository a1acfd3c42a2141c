//! The programs alone, over maps of several sizes: the hook of `connect()` under real calls of it,
//! which fail for want of a route once the hook has run, and packet programs by `BPF_PROG_TEST_RUN`.

mod bars;
mod bed;
mod mesh;
mod packet;

use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions};
use aya::sys::{Stats, enable_stats};
use waysteer::kernel::load::PROGRAMS;
use waysteer_common::abi::names::STEER_MARK;
use waysteer_tests::interrupt;

use crate::report::{Report, Table};
use bed::{Bed, Doing};
use mesh::Destination;

/// So many fit into the ring buffer, which is emptied in between.
const AT_ONCE: usize = 4_000;
const ROUNDS: usize = 9;
const RUNS: u32 = 100_000;
/// `struct __sk_buff` as far as the mark.
const CONTEXT: usize = 12;

type Row = (&'static str, bool, Option<Destination>, bool);

/// What is dialled, by an enrolled pod or not, and another one each time or not: the former is for
/// what memory far away costs.
const HOOK: [Row; 11] = [
    ("UDP: the counting itself, mostly", true, None, false),
    ("not enrolled", false, Some(Destination::Nobody), false),
    ("nobody knows it", true, Some(Destination::Nobody), false),
    (
        "nobody, others each time",
        true,
        Some(Destination::Nobody),
        true,
    ),
    ("workload, plain TCP", true, Some(Destination::Plain), false),
    ("workload, HBONE", true, Some(Destination::Hbone), false),
    (
        "workload, others each time",
        true,
        Some(Destination::Hbone),
        true,
    ),
    ("service, HBONE", true, Some(Destination::Service), false),
    (
        "service, others each time",
        true,
        Some(Destination::Service),
        true,
    ),
    (
        "service with a waypoint",
        true,
        Some(Destination::Waypoint),
        false,
    ),
    (
        "neighbour, policies allow",
        true,
        Some(Destination::Neighbour),
        false,
    ),
];

/// Rows of [`HOOK`] that are measured with somebody who listens, too: what telling costs is the same
/// for all.
const TOLD: [usize; 3] = [0, 2, 5];

/// Program, mark, and who a SYN is for.
const PACKETS: [(&str, &str, u32, Destination); 3] = [
    ("no mark", "lo_ingress", 0, Destination::Nobody),
    (
        "SYN, steered, held",
        "lo_ingress",
        STEER_MARK,
        Destination::Hbone,
    ),
    ("SYN, nobody knows it", "pod_egress", 0, Destination::Nobody),
];

pub(crate) fn measure(sizes: &[usize], report: &mut Report) -> Result<()> {
    let mut names: Vec<[String; 2]> = Vec::new();
    let mut cells: Vec<Vec<u128>> = Vec::new();
    let mut instructions = Vec::new();
    for size in sizes {
        eprintln!("maps of {size} workloads");
        let dry = Bed::new(*size, Doing::Deciding)?.hook("connect4, dry run", HOOK)?;
        let told = TOLD.map(|row| HOOK[row]);
        let told = Bed::new(*size, Doing::Telling)?.hook("connect4, dry run, told", told)?;
        let mut bed = Bed::new(*size, Doing::Acting)?;
        let mut values = bed.hook("connect4", HOOK)?;
        values.extend(dry);
        values.extend(told);
        values.extend(bed.packets()?);
        names = values.iter().map(|(name, _)| name.clone()).collect();
        cells.push(values.into_iter().map(|(_, value)| value).collect());
        instructions = bed.instructions()?;
    }
    let row = |(place, [program, what]): (usize, &[String; 2])| {
        let values = cells.iter().filter_map(|column| column.get(place));
        let values = values.map(ToString::to_string);
        [program.clone(), what.clone()]
            .into_iter()
            .chain(values)
            .collect()
    };
    let mut columns = vec!["program", ""];
    columns.extend(sizes.iter().map(|size| match size {
        100 => "100",
        10_000 => "10,000",
        100_000 => "100,000",
        _ => "1,000,000",
    }));
    if let (Some(first), Some(last)) = (cells.first(), cells.get(sizes.len().min(3) - 1)) {
        report.bars.extend(bars::of_hook(first, last));
    }
    report.tables.extend([
        Table {
            title: "ns a run, by the number of workloads in the maps".to_owned(),
            columns,
            rows: names.iter().enumerate().map(row).collect(),
        },
        Table {
            title: "instructions".to_owned(),
            columns: vec!["program", "looked at by the verifier", "in the program"],
            rows: instructions,
        },
    ]);
    Ok(())
}

impl Bed {
    /// Nanoseconds of `connect4`, under a name.
    fn hook(
        &mut self,
        name: &str,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Vec<([String; 2], u128)>> {
        let _counting = enable_stats(Stats::RunTime).context("counting runs of programs")?;
        let mut values = Vec::new();
        for (what, enrolled, destination, others) in rows {
            interrupt::check()?;
            let worker = if enrolled {
                &self.inside
            } else {
                &self.outside
            };
            let workloads = self.workloads;
            let dial = move |round: usize| {
                for number in 0..AT_ONCE {
                    let turn = if others { round * AT_ONCE + number } else { 1 };
                    // No route: that it fails is what was expected.
                    match destination {
                        Some(destination) => {
                            let _ = TcpStream::connect(destination.pick(workloads, turn));
                        }
                        None => {
                            let to = Destination::Nobody.pick(workloads, turn);
                            let any = SocketAddr::from(([0, 0, 0, 0], 0));
                            let _ = UdpSocket::bind(any)?.connect(to);
                        }
                    }
                }
                Ok(())
            };
            let mut rounds = Vec::new();
            // Once for the caches.
            for is_measured in [false, true] {
                for round in 0..ROUNDS {
                    let before = self.info("connect4")?;
                    worker.run(move || dial(round))?;
                    let after = self.info("connect4")?;
                    if is_measured {
                        let count = after.run_count() - before.run_count();
                        let time = after.run_time() - before.run_time();
                        let each = time.as_nanos().checked_div(count.into());
                        let each = each.with_context(|| format!("{what}: the hook did not run"))?;
                        rounds.push(each);
                    }
                    while self.loaded.events.take().is_some() {}
                }
            }
            let name = [name.to_owned(), what.to_owned()];
            values.push((name, median(rounds)?));
        }
        Ok(values)
    }

    fn packets(&self) -> Result<Vec<([String; 2], u128)>> {
        let mut values = Vec::new();
        for (what, program, mark, destination) in PACKETS {
            let classifier = self.loaded.programs.classifier(program)?;
            let frame = packet::syn(mesh::CLIENT, destination.pick(self.workloads, 1));
            let mut context = [0; CONTEXT];
            context[8..].copy_from_slice(&mark.to_ne_bytes());
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                let mut options = TestRunOptions::new();
                options.data_in = Some(&frame);
                options.ctx_in = Some(&context);
                options.repeat = RUNS;
                let ran = self.pod.run(|| classifier.test_run(options))?;
                rounds.push(ran.duration.as_nanos());
            }
            let name = [program.to_owned(), what.to_owned()];
            values.push((name, median(rounds)?));
        }
        Ok(values)
    }

    fn instructions(&self) -> Result<Vec<Vec<String>>> {
        let of = |program: &&'static str| {
            let info = self.info(program)?;
            let number =
                |value: Option<u32>| value.map_or(String::new(), |value| value.to_string());
            Ok(vec![
                (*program).to_owned(),
                number(info.verified_instruction_count()),
                // Eight bytes each.
                number(info.size_translated().map(|bytes| bytes / 8)),
            ])
        };
        PROGRAMS.iter().map(of).collect()
    }
}

/// Of the rounds: in some the machine has done something else meanwhile.
fn median(mut rounds: Vec<u128>) -> Result<u128> {
    rounds.sort_unstable();
    let middle = rounds.get(rounds.len() / 2);
    middle.copied().context("nothing was measured")
}
