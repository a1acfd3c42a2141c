//! What is pinned and attached, for whoever asks while no agent runs. Reads, and changes nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bpf;
use super::expedite::{self, Debt};
use super::inspect::PodSight;
use super::link::{Link, LinkInfo, Place};
use super::netns::PodNetns;
use super::pins::{self, Generation, PinError};
use super::records::{Record, Records};
use crate::error::chain;
use crate::names::pods::named;

/// Everything below one directory of pins.
#[derive(Debug, Default, Serialize)]
pub struct Pinned {
    pub generations: Vec<PinnedGeneration>,
    pub pods: Vec<PinnedPod>,
    /// A parameter of the kernel that a killed agent has left changed.
    pub expedited: Option<Debt>,
    /// What could not be looked at, and why.
    pub errors: Vec<String>,
}

/// A set of maps, and the programs that work by them.
#[derive(Debug, Serialize)]
pub struct PinnedGeneration {
    pub path: PathBuf,
    pub abi: u32,
    /// The programs for sockets.
    pub hooks: Vec<PinnedHook>,
    /// Pods that have programs of it.
    pub pods: usize,
}

#[derive(Debug, Serialize)]
pub struct PinnedHook {
    pub name: String,
    pub program: u32,
    /// It is where it was put, and runs.
    pub attached: bool,
}

/// A pod that was written down when it was captured.
#[derive(Debug, Serialize)]
pub struct PinnedPod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub netns: PathBuf,
    pub cookie: u64,
    /// The netns that was captured is gone, and with it all that was done in it.
    pub gone: bool,
    /// What of its capture is not as it should be.
    pub wrong: Vec<String>,
    /// Ports on which no tunnel listens: what needs it is held.
    pub no_listener: Vec<u16>,
}

impl Pinned {
    /// Blocks. Pods are looked at in their netns.
    pub fn look(root: &Path) -> Self {
        let mut pinned = Self::default();
        let generations = pinned.note(pins::generations(root)).unwrap_or_default();
        for generation in &generations {
            let found = PinnedGeneration::look(generation);
            let found = pinned.note(found);
            pinned.generations.extend(found);
        }
        let records = pinned.note(Records::look(root)).flatten();
        let records = records.and_then(|records| pinned.note(records.all()));
        for (cookie, record) in records.unwrap_or_default() {
            if let Some(record) = pinned.note(record) {
                let pod = PinnedPod::look(cookie, record, &generations);
                pinned.pods.push(pod);
            }
        }
        pinned.expedited = pinned.note(expedite::debt(root)).flatten();
        let name = |pod: &PinnedPod| (pod.namespace.clone(), pod.name.clone());
        pinned.pods.sort_by_key(name);
        pinned
    }

    /// Nobody has left anything here.
    pub fn is_empty(&self) -> bool {
        let Self {
            generations,
            pods,
            expedited,
            errors,
        } = self;
        generations.is_empty() && pods.is_empty() && expedited.is_none() && errors.is_empty()
    }

    fn note<T>(&mut self, result: Result<T, impl Error>) -> Option<T> {
        result.map_err(|error| self.errors.push(chain(&error))).ok()
    }
}

impl PinnedGeneration {
    fn look(generation: &Generation) -> Result<Self, PinError> {
        let hook = |pin: PathBuf| {
            let link = Link::open(&pin).and_then(|link| link.info());
            PinnedHook {
                name: file_name(&pin),
                program: link.as_ref().map_or(0, |link| link.program),
                attached: link.is_ok_and(|link| link.place != Place::Nowhere),
            }
        };
        Ok(Self {
            path: generation.path().to_owned(),
            abi: generation.abi(),
            hooks: generation.cgroup_links()?.into_iter().map(hook).collect(),
            pods: generation.pods()?.len(),
        })
    }
}

named!(PinnedPod);

impl PinnedPod {
    fn look(cookie: u64, record: Record, generations: &[Generation]) -> Self {
        let mut pod = Self {
            uid: record.uid,
            namespace: record.namespace,
            name: record.name,
            netns: record.netns,
            cookie,
            gone: false,
            wrong: Vec::new(),
            no_listener: Vec::new(),
        };
        let netns = match PodNetns::open(&pod.netns) {
            Ok(netns) if netns.cookie() == cookie => netns,
            // The path may lead to the pod's next netns.
            Ok(_) => {
                pod.gone = true;
                return pod;
            }
            Err(_) if !pod.netns.exists() => {
                pod.gone = true;
                return pod;
            }
            Err(error) => {
                pod.wrong.push(chain(&error));
                return pod;
            }
        };
        match netns.inspect() {
            Ok(sight) => pod.judge(&sight, generations),
            Err(error) => pod.wrong.push(chain(&error)),
        }
        pod
    }

    fn judge(&mut self, sight: &PodSight, generations: &[Generation]) {
        let wrong = &mut self.wrong;
        wrong.extend(sight.redirect.iter().map(ToString::to_string));
        let links = links(generations, self.cookie, wrong);
        for hook in &sight.programs {
            let ours = links.get(&(hook.device, hook.hook.number()));
            let position = ours.and_then(|ours| hook.programs.iter().position(|id| id == ours));
            let (at, device) = (hook.hook.label(), hook.device);
            match position {
                Some(0) => {}
                Some(_) => wrong.push(format!("others before ours at {at} of device {device}")),
                None => wrong.push(format!("no program of ours at {at} of device {device}")),
            }
        }
        match is_in_maps(generations, self.cookie) {
            Ok(true) => {}
            Ok(false) => wrong.push("not in the map PODS".to_owned()),
            Err(error) => wrong.push(format!("cannot read the map PODS: {error}")),
        }
        self.no_listener = sight
            .no_listener
            .iter()
            .map(|missing| missing.port)
            .collect();
    }
}

/// Ids of the programs that work by our links in a netns, by device and attach type.
fn links(
    generations: &[Generation],
    cookie: u64,
    wrong: &mut Vec<String>,
) -> BTreeMap<(u32, u32), u32> {
    let mut found = BTreeMap::new();
    for generation in generations {
        let pins = generation.pod_links(cookie).unwrap_or_else(|error| {
            wrong.push(chain(&error));
            Vec::new()
        });
        for pin in pins {
            match Link::open(&pin).and_then(|link| link.info()) {
                Ok(LinkInfo {
                    program,
                    place: Place::Device { index, attach_type },
                    ..
                }) => drop(found.insert((index, attach_type), program)),
                Ok(_) => wrong.push(format!("{} is detached", file_name(&pin))),
                Err(error) => wrong.push(format!("{}: {error}", pin.display())),
            }
        }
    }
    found
}

/// Whether programs judge the pod's connections at all.
fn is_in_maps(generations: &[Generation], cookie: u64) -> io::Result<bool> {
    for generation in generations {
        let map = bpf::get(&generation.map("PODS"))?;
        if bpf::contains(map.as_fd(), &cookie.to_be_bytes())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
