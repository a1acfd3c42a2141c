//! Memory of connections that do nothing.

use std::fs;

use anyhow::{Context as _, Result};
use waysteer_tests::wait::wait_until;

use crate::PATIENCE;
use crate::client;
use crate::report::Table;
use crate::stage::Stage;
use crate::ways::{COMPARISONS, Topic, Way};
use crate::worker::Worker;

/// Kilobytes.
struct Memory {
    agents: f64,
    /// The kernel's own objects, sockets among them, of the whole machine.
    slab: f64,
}

/// So many idle connections over each way of some parts.
pub(crate) fn measure(stage: &Stage, count: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for topic in [Topic::Passthrough, Topic::Local, Topic::Hbone] {
        let of_topic = COMPARISONS
            .iter()
            .filter(|comparison| comparison.topic == topic);
        let ways: Vec<Way> = of_topic
            .flat_map(|comparison| [comparison.base, comparison.way])
            .collect();
        for way in ways {
            let is_new = |row: &Vec<String>| row.first().is_none_or(|name| *name != way.name);
            if rows.iter().all(is_new) {
                rows.push(of_way(stage, &way, count).with_context(|| way.name.to_owned())?);
            }
        }
    }
    Ok(Table {
        title: format!("{count} idle connections, KB each"),
        columns: vec!["", "agents and waypoint", "kernel objects"],
        rows,
    })
}

fn of_way(stage: &Stage, way: &Way, count: usize) -> Result<Vec<String>> {
    eprintln!("{count} idle connections: {}", way.name);
    let worker = Worker::start(way.name, &stage.client_place(way.from()))?;
    let to = way.to(stage);
    let server = way.server(stage).context("somebody answers")?;
    // What grows once and stays is no connection's.
    let few = worker.run(move || client::idle(to, 10))?;
    drop(few);
    close(server)?;
    let before = Memory::now(stage)?;
    let connections = worker.run(move || client::idle(to, count))?;
    let with = Memory::now(stage)?;
    drop(connections);
    close(server)?;
    let each = |before: f64, with: f64| format!("{:.1}", (with - before) / count as f64);
    Ok(vec![
        way.name.to_owned(),
        each(before.agents, with.agents),
        each(before.slab, with.slab),
    ])
}

fn close(server: &crate::server::Server) -> Result<()> {
    server.close_idle();
    wait_until(PATIENCE, "no connection is left", || server.idle() == 0)
}

impl Memory {
    fn now(stage: &Stage) -> Result<Self> {
        let mut agents = 0.0;
        for process in stage.processes() {
            agents += field(&format!("/proc/{process}/status"), "VmRSS:")?;
        }
        Ok(Self {
            agents,
            slab: field("/proc/meminfo", "Slab:")?,
        })
    }
}

fn field(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next());
    let value = value.with_context(|| format!("{path} has no {name}"))?;
    Ok(value.parse()?)
}
