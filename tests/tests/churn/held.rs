//! What the agent and its tunnel hold, in the kernel and of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use waysteer_tests::bed::Bed;

/// Maps whose entries are pods' and the mesh's. Those of flows are LRU, and forget by themselves.
const COUNTED: [&str; 6] = [
    "PODS",
    "POD_ADDRESSES",
    "WORKLOADS",
    "SERVICES",
    "ENDPOINTS",
    "WAYPOINTS",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pins: Vec<PathBuf>,
    /// By map.
    entries: BTreeMap<String, usize>,
    /// Of programs that are pinned.
    links: usize,
    agent: Process,
    ztunnel: Process,
    pub(crate) resident_kib: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Process {
    descriptors: usize,
    /// Of them such as hold a network namespace.
    netns: usize,
    threads: u64,
}

/// Idle connections and worker threads come and go.
const NOISE: usize = 12;

impl Held {
    pub(crate) fn by(bed: &Bed) -> Result<Self> {
        let agent = bed.agent.as_ref().context("the agent")?.id();
        let ztunnel = bed.ztunnels.last().context("the tunnel")?.id();
        let pins = bed.pins.list()?;
        let mut entries = BTreeMap::new();
        let mut programs = Vec::new();
        for pin in &pins {
            let path = bed.pins.path().join(pin);
            let mut names = pin.iter().rev().map(|name| name.to_string_lossy());
            let (name, kind) = (names.next(), names.next());
            match (kind.as_deref(), name) {
                (Some("maps"), Some(name)) if COUNTED.contains(&&*name) => {
                    entries.insert(name.into_owned(), count_entries(&path)?);
                }
                (Some("programs"), Some(_)) => programs.push(program_id(&path)?),
                _ => {}
            }
        }
        ensure!(entries.len() == COUNTED.len(), "{entries:?}");
        Ok(Self {
            pins,
            entries,
            links: count_links(&programs)?,
            agent: Process::look(agent)?,
            ztunnel: Process::look(ztunnel)?,
            resident_kib: status_field(agent, "VmRSS:")?,
        })
    }

    /// But for what load and chance make of it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let Self {
            pins,
            entries,
            links,
            agent,
            ztunnel,
            resident_kib: _,
        } = self;
        *pins == other.pins
            && *entries == other.entries
            && *links == other.links
            && agent.is_like(&other.agent)
            && ztunnel.netns == other.ztunnel.netns
    }
}

impl Process {
    fn look(id: u32) -> Result<Self> {
        let mut look = Self {
            threads: status_field(id, "Threads:")?,
            ..Self::default()
        };
        for descriptor in fs::read_dir(format!("/proc/{id}/fd"))? {
            // It may be closed by now.
            if let Ok(found) = statfs(&descriptor?.path()) {
                look.descriptors += 1;
                look.netns += usize::from(found.filesystem_type() == NSFS_MAGIC);
            }
        }
        Ok(look)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.netns == other.netns
            && self.descriptors.abs_diff(other.descriptors) <= NOISE
            && self.threads.abs_diff(other.threads) <= NOISE as u64
    }
}

/// Devices on the node that lead to pods. A namespace is gone, and not only its name, when its end
/// of the pair is.
pub(crate) fn pod_links(bed: &Bed) -> Result<usize> {
    let links = json(
        bed.topology
            .node
            .netns
            .command("ip")
            .args(["-json", "link"]),
    )?;
    let links = links.as_array().context("a list of links")?;
    let names = links.iter().filter_map(|link| link["ifname"].as_str());
    Ok(names.filter(|name| name.starts_with("v-")).count())
}

fn status_field(id: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {field}"))?.parse()?)
}

fn count_entries(map: &Path) -> Result<usize> {
    let entries = json(bpftool(&["map", "dump", "pinned"]).arg(map))?;
    Ok(entries.as_array().context("a list of entries")?.len())
}

fn program_id(program: &Path) -> Result<u64> {
    let shown = json(bpftool(&["prog", "show", "pinned"]).arg(program))?;
    shown["id"].as_u64().context("a program's id")
}

fn count_links(programs: &[u64]) -> Result<usize> {
    let links = json(&mut bpftool(&["link", "show"]))?;
    let links = links.as_array().context("a list of links")?.iter();
    let of = links.filter_map(|link| link["prog_id"].as_u64());
    Ok(of.filter(|program| programs.contains(program)).count())
}

fn bpftool(arguments: &[&str]) -> Command {
    let mut command = Command::new("bpftool");
    command.arg("--json").args(arguments);
    command
}

fn json(command: &mut Command) -> Result<serde_json::Value> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{command:?}: {text} {errors}")
    })
}
