//! Putting the programs to work, by links: nothing of anybody else's is ever touched.
//!
//! In a pod's netns our programs come first. A tcx program before us that returns a final verdict
//! would hide its packets from us: on ingress from the tunnel, and on egress from the guard, which
//! is there so that nothing leaves by mistake. The guard does not need to see others' marks: it
//! goes by what our own programs decided about the socket. All of ours return "next" for what is
//! not theirs, so those that follow lose nothing.
//!
//! Where the programs are pinned the links are too, and outlive the process. None of them is kept
//! open then: 500 pods would be 1,500 descriptors, and looking is cheap.

mod cgroup;
mod error;
mod keep;
mod order;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use aya::programs::{SchedClassifier, TcAttachType};

pub use self::cgroup::CgroupLinks;
pub use self::error::{AttachError, LinkDrift, LinkProblem};
use self::keep::{Kept, Position};
use super::connections::Verdicts;
use super::link::{Hook, Link, LinkInfo, Place};
use super::load::{Programs, program_fd, program_id};
use super::netns::{PodNetns, PodNetwork, run_in_new_netns};
use super::pins::{self, Generation};

const LOOPBACK: &str = "lo";
/// Of `lo` in every netns.
const LOOPBACK_INDEX: u32 = 1;

/// The programs in one netns. Those that are pinned stay when it is dropped.
#[derive(Debug)]
pub struct PodLinks {
    links: Vec<PodLink>,
    /// Where they are pinned.
    directories: Vec<PathBuf>,
}

#[derive(Debug)]
struct PodLink {
    spot: Spot,
    program_id: u32,
    kept: Kept,
}

/// One hook of one device, and what belongs there.
#[derive(Clone, Debug)]
pub struct Spot {
    pub device: String,
    pub index: u32,
    pub program: &'static str,
    pub hook: Hook,
}

impl Programs {
    /// Attaches to `lo` and to all devices of a netns. A link that is pinned from before gets the
    /// program of now in one step, and comes to this generation if it was an older one's; pins of
    /// devices that are gone are removed. After an error what was there before is still there.
    /// Blocks, see [`PodNetns::run`].
    pub fn attach_pod(
        &mut self,
        netns: &PodNetns,
        network: &PodNetwork,
    ) -> Result<PodLinks, AttachError> {
        let cookie = netns.cookie();
        netns.run(|| self.attach_here(cookie, network))?
    }

    /// The same in the calling thread's netns, which has this cookie.
    pub fn attach_here(&self, cookie: u64, network: &PodNetwork) -> Result<PodLinks, AttachError> {
        let directory = self.pins.as_ref().map(|pins| pins.pod(cookie));
        if let Some(directory) = &directory {
            pins::make(directory)?;
        }
        let mut links: Vec<PodLink> = Vec::new();
        for spot in spots(network) {
            match self.attach_spot(&spot, cookie) {
                Ok(link) => links.push(link),
                Err(error) => {
                    for link in links.into_iter().filter(|link| link.kept.is_new) {
                        // The first failure is what is worth telling.
                        let _ = link.kept.detach();
                    }
                    return Err(error);
                }
            }
        }
        if let Some(directory) = &directory {
            for pin in pins::in_directory(directory)? {
                if !links.iter().any(|link| link.kept.is_pinned_at(&pin)) {
                    keep::detach_pin(&pin)?;
                }
            }
        }
        for elder in &self.elders {
            keep::detach_directory(&elder.pod(cookie))?;
        }
        Ok(PodLinks {
            links,
            directories: directory.into_iter().collect(),
        })
    }

    /// The links that older generations have in a netns; `None` where there are none.
    pub fn elder_links(&self, cookie: u64) -> Result<Option<PodLinks>, AttachError> {
        let mut directories = Vec::new();
        for elder in &self.elders {
            if !elder.pod_links(cookie)?.is_empty() {
                directories.push(elder.pod(cookie));
            }
        }
        if directories.is_empty() {
            return Ok(None);
        }
        // Half moved, when a crash has come between.
        directories.extend(self.pins.as_ref().map(|pins| pins.pod(cookie)));
        Ok(Some(PodLinks {
            links: Vec::new(),
            directories,
        }))
    }

    /// Takes off all that this and older generations have in a netns, which need not be reachable
    /// any more.
    pub fn detach_netns(&self, cookie: u64) -> Result<(), AttachError> {
        let generations = self.elders.iter().chain(&self.pins);
        let directories = generations.map(|generation| generation.pod(cookie));
        PodLinks::pinned(directories.collect()).detach()
    }

    /// What programs of this and older generations have said of sockets.
    pub fn verdicts(&self) -> Result<Vec<Verdicts>, AttachError> {
        let generations = self.elders.iter().chain(&self.pins);
        let all = generations.map(Verdicts::of).collect::<Result<_, _>>();
        all.map_err(AttachError::Verdicts)
    }

    /// Whether any link may still run a program of an older generation.
    pub fn has_elders(&self) -> bool {
        !self.elders.is_empty()
    }

    /// Takes off what the older generations have at the cgroup, and removes them with all they
    /// have. No pod may need them any more.
    pub fn retire_elders(&mut self) -> Result<(), AttachError> {
        while let Some(elder) = self.elders.pop() {
            detach_all(&elder)?;
            elder.remove()?;
            tracing::info!(path = %elder.path().display(), "older programs and maps removed");
        }
        Ok(())
    }

    /// Attaches to a netns of its own, and detaches again.
    pub fn try_tcx(&mut self) -> Result<(), AttachError> {
        let program = program_fd(&self.ebpf, "lo_ingress")?;
        run_in_new_netns(|| {
            let link = Link::attach_tcx(program, LOOPBACK_INDEX, Hook::TcxIngress);
            let link = link.map_err(|e| AttachError::refused("lo_ingress", Some(LOOPBACK), e))?;
            drop(link);
            Ok(())
        })?
    }

    fn attach_spot(&self, spot: &Spot, cookie: u64) -> Result<PodLink, AttachError> {
        let pin = |pins: &Generation| pins.pod_link(cookie, spot.index, spot.program);
        let elders: Vec<PathBuf> = self.elders.iter().map(pin).collect();
        let position = PodPosition {
            spot,
            program: program_fd(&self.ebpf, spot.program)?,
            program_id: program_id(&self.ebpf, spot.program)?,
        };
        let program_id = position.program_id;
        let kept = keep::keep(self.pins.as_ref().map(pin), &elders, &position)?;
        Ok(PodLink {
            spot: spot.clone(),
            program_id,
            kept,
        })
    }
}

struct PodPosition<'a> {
    spot: &'a Spot,
    program: BorrowedFd<'a>,
    program_id: u32,
}

impl Position for PodPosition<'_> {
    fn program(&self) -> BorrowedFd<'_> {
        self.program
    }

    fn program_id(&self) -> u32 {
        self.program_id
    }

    fn is_at(&self, place: Place) -> bool {
        place
            == Place::Device {
                index: self.spot.index,
                attach_type: self.spot.hook.number(),
            }
    }

    fn is_settled(&self, _before: LinkInfo) -> io::Result<bool> {
        Ok(true)
    }

    fn attach(&self) -> io::Result<Link> {
        Link::attach_tcx(self.program, self.spot.index, self.spot.hook)
    }

    fn refused(&self, source: io::Error) -> AttachError {
        AttachError::refused(self.spot.program, Some(&self.spot.device), source)
    }
}

impl PodLinks {
    /// Which programs are not attached, or not first. Blocks, see [`PodNetns::run`].
    pub fn verify(&self, netns: &PodNetns) -> Result<Vec<LinkDrift>, AttachError> {
        let drifts = netns.run(|| self.links.iter().filter_map(PodLink::drift).collect())?;
        Ok(drifts)
    }

    /// Where there are programs, with the id of each.
    pub fn spots(&self) -> impl Iterator<Item = (&Spot, u32)> {
        self.links.iter().map(|link| (&link.spot, link.program_id))
    }

    /// The devices that have programs, without `lo`.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let ingress = self
            .links
            .iter()
            .filter(|link| link.spot.program == "pod_ingress");
        ingress.map(|link| link.spot.device.as_str())
    }

    /// Takes the programs off, and unpins them. Goes on after an error, and returns the first.
    pub fn detach(self) -> Result<(), AttachError> {
        let Self { links, directories } = self;
        let mut result = Ok(());
        // What lets in goes before what delivers.
        for link in links.into_iter().rev() {
            result = result.and(link.kept.detach());
        }
        for directory in directories {
            result = result.and(keep::detach_directory(&directory));
        }
        result
    }
}

impl PodLinks {
    /// Those that are pinned in these directories of one netns.
    pub fn pinned(directories: Vec<PathBuf>) -> Self {
        Self {
            links: Vec::new(),
            directories,
        }
    }

    /// Takes one of the programs off everywhere, and leaves the others. Goes on after an error, and
    /// returns the first.
    pub fn detach_one(&mut self, program: &str) -> Result<(), AttachError> {
        let (these, others) = std::mem::take(&mut self.links)
            .into_iter()
            .partition::<Vec<_>, _>(|link| link.spot.program == program);
        self.links = others;
        let detached = these.into_iter().map(|link| link.kept.detach());
        let mut result = detached.fold(Ok(()), Result::and);
        for directory in &self.directories {
            for pin in pins::in_directory(directory)? {
                if pins::is_link_of(&pin, program) {
                    result = result.and(keep::detach_pin(&pin));
                }
            }
        }
        result
    }

    /// Unpins them, for a netns that has ended: what nobody holds any more the kernel takes off by
    /// itself, soon. Waits for nothing.
    pub fn let_go(self) -> Result<(), AttachError> {
        let Self { links, directories } = self;
        drop(links);
        let removed = directories.iter().map(|path| pins::remove(path));
        Ok(removed.fold(Ok(()), Result::and)?)
    }
}

/// Takes off and unpins every link of a generation. Goes on after an error, and returns the first.
pub fn detach_all(generation: &Generation) -> Result<(), AttachError> {
    let mut pins = Vec::new();
    for netns in generation.pods()? {
        pins.extend(generation.pod_links(netns)?);
    }
    pins.extend(generation.cgroup_links()?);
    let detached = pins.iter().map(|pin| keep::detach_pin(pin));
    detached.fold(Ok(()), Result::and)
}

impl PodLink {
    /// In the calling thread's netns.
    fn drift(&self) -> Option<LinkDrift> {
        let spot = &self.spot;
        let direction = match spot.hook {
            Hook::TcxEgress => TcAttachType::Egress,
            Hook::TcxIngress
            | Hook::SockOps
            | Hook::Connect4
            | Hook::Connect6
            | Hook::GetPeerName4
            | Hook::GetPeerName6 => TcAttachType::Ingress,
        };
        let problem = match SchedClassifier::query_tcx(&spot.device, direction) {
            Err(source) => LinkProblem::Unknown(source),
            Ok((_, programs)) => {
                match programs
                    .iter()
                    .position(|program| program.id() == self.program_id)
                {
                    Some(0) => return None,
                    Some(_) => LinkProblem::NotFirst,
                    None => LinkProblem::Detached,
                }
            }
        };
        Some(LinkDrift {
            device: spot.device.clone(),
            program: spot.program,
            problem,
        })
    }
}

/// In the order of attaching.
fn spots(network: &PodNetwork) -> Vec<Spot> {
    let spot = |device: &str, index, program, hook| Spot {
        device: device.to_owned(),
        index,
        program,
        hook,
    };
    let mut spots = vec![spot(
        LOOPBACK,
        LOOPBACK_INDEX,
        "lo_ingress",
        Hook::TcxIngress,
    )];
    for device in &network.devices {
        let (name, index) = (&device.name, device.index);
        // The guard first: what is let in may be answered.
        spots.push(spot(name, index, "pod_egress", Hook::TcxEgress));
        spots.push(spot(name, index, "pod_ingress", Hook::TcxIngress));
    }
    spots
}
