//! Our programs, as the kernel has them: where they run, how often and for how long.

use std::collections::BTreeMap;
use std::path::Path;

use aya::programs::{ProgramInfo, loaded_programs};
use serde::{Deserialize, Serialize};

use super::link::{Link, LinkInfo, Place};
use super::pins::{self, Generation, PinError};

/// One program of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramReport {
    /// The directory of its maps' and links' pins.
    pub generation: String,
    pub abi: u32,
    pub name: String,
    /// The kernel's number of it; 0 where it is not loaded any more.
    pub id: u32,
    /// A digest of its instructions: the same for the same code.
    pub tag: String,
    /// `cgroup` for all sockets of the node, `device` for those of each pod; nothing where it runs
    /// nowhere.
    pub at: String,
    /// Links by which it runs.
    pub links: usize,
    /// Pinned links that lead nowhere: the device or the cgroup is gone, or somebody took it off.
    pub detached: usize,
    /// What the verifier looked at.
    pub instructions: Option<u32>,
    /// While `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    pub nanoseconds: u64,
}

/// Of all generations below a directory of pins, in their order. Blocks.
///
/// # Errors
/// When the pins cannot be listed. Programs that go meanwhile are left out.
pub fn programs(root: &Path) -> Result<Vec<ProgramReport>, PinError> {
    let mut loaded: BTreeMap<u32, ProgramInfo> = BTreeMap::new();
    for info in loaded_programs().flatten() {
        loaded.insert(info.id(), info);
    }
    let mut reports = Vec::new();
    for generation in pins::generations(root)? {
        let mut found: BTreeMap<u32, ProgramReport> = BTreeMap::new();
        for link in links(&generation)? {
            let report = found.entry(link.program).or_insert_with(|| {
                let report = ProgramReport {
                    generation: generation.path().display().to_string(),
                    abi: generation.abi(),
                    id: link.program,
                    ..ProgramReport::default()
                };
                report.completed(loaded.get(&link.program))
            });
            report.count(link.place);
        }
        let mut of_generation: Vec<ProgramReport> = found.into_values().collect();
        of_generation.sort_by(|a, b| (&a.at, &a.name, a.id).cmp(&(&b.at, &b.name, b.id)));
        reports.extend(of_generation);
    }
    Ok(reports)
}

fn links(generation: &Generation) -> Result<Vec<LinkInfo>, PinError> {
    let mut pins = generation.cgroup_links()?;
    for netns in generation.pods()? {
        pins.extend(generation.pod_links(netns)?);
    }
    let info = |pin: &Path| Link::open(pin).and_then(|link| link.info()).ok();
    Ok(pins.iter().filter_map(|pin| info(pin)).collect())
}

impl ProgramReport {
    fn count(&mut self, place: Place) {
        let at = match place {
            Place::Cgroup { .. } => "cgroup",
            Place::Device { .. } => "device",
            Place::Nowhere | Place::Elsewhere => {
                self.detached += 1;
                return;
            }
        };
        self.at = at.to_owned();
        self.links += 1;
    }

    fn completed(self, info: Option<&ProgramInfo>) -> Self {
        let Some(info) = info else {
            return self;
        };
        Self {
            name: info.name_as_str().unwrap_or_default().to_owned(),
            tag: format!("{:016x}", info.tag()),
            instructions: info.verified_instruction_count(),
            runs: info.run_count(),
            nanoseconds: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_one_row_wherever_its_links_lead() {
        let mut report = ProgramReport::default();
        let device = Place::Device {
            index: 2,
            attach_type: 46,
        };
        for place in [Place::Nowhere, device, device, Place::Nowhere] {
            report.count(place);
        }
        assert_eq!(
            (report.at.as_str(), report.links, report.detached),
            ("device", 2, 2)
        );
    }
}
