//! Strangers on every hook at once.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::{Direction, Foreign};
use crate::netns::NetNs;

/// One on each hook of a pod that the agent has programs on.
#[derive(Debug)]
pub struct Everywhere {
    all: Vec<(&'static str, Foreign)>,
}

impl Everywhere {
    pub fn new(netns: &NetNs) -> Result<Self> {
        Ok(Self {
            all: vec![
                ("connect", Foreign::on_connect(&cgroup_root()?)?),
                (
                    "eth0 in",
                    Foreign::on_device(netns, "eth0", Direction::Ingress)?,
                ),
                (
                    "eth0 out",
                    Foreign::on_device(netns, "eth0", Direction::Egress)?,
                ),
                (
                    "lo in",
                    Foreign::on_device(netns, "lo", Direction::Ingress)?,
                ),
            ],
        })
    }

    /// Each sees what `work` causes.
    pub fn see(&self, when: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        let before: Vec<u64> = self.counts()?;
        work().with_context(|| when.to_owned())?;
        let after = self.counts()?;
        for (((name, _), before), after) in self.all.iter().zip(before).zip(after) {
            ensure!(after > before, "{when}: the program on {name} saw nothing");
        }
        Ok(())
    }

    fn counts(&self) -> Result<Vec<u64>> {
        self.all
            .iter()
            .map(|(_, program)| program.count())
            .collect()
    }
}

fn cgroup_root() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    root.context("a cgroup v2 hierarchy")
}
