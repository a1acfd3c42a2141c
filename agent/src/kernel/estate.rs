//! What earlier agents have left in the directory of pins, and what of it this one goes on with.
//!
//! Maps that fit are taken over as they are, with everything in them. Where none do, a new
//! generation is made beside the old ones, whose programs stay in charge of their pods until the
//! new maps hold a complete snapshot; then pod after pod is moved, link by link.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use thiserror::Error;
use waysteer_common::abi::names::ABI_VERSION;

use super::bpf;
use super::layout::{Layout, LayoutError};
use super::load::{LoadOptions, PINNED_MAPS};
use super::object::Object;
use super::pins::{self, Generation, PinError, PinRoot};
use super::records::{RecordError, Records};

/// Maps that programs fill, each with the first ABI version that gave its entries the form and the
/// meaning of now. A new generation uses those of an older one: the connections of now are in them.
///
/// `SOCKETS`, `CONNECTIONS` and `PACKET_FLOWS` keep packets of steered connections from leaving in
/// plaintext. A version that changes one of these has to bring a way to convert it, or another
/// witness, as since ABI 6 there is in the device by which a peer is heard.
const INHERITED: [(&str, u32); 11] = [
    ("SOCKETS", 1),
    ("CONNECTIONS", 7),
    ("PACKET_FLOWS", 1),
    ("LOCAL_CONNECTIONS", 7),
    ("LOCAL_FLOWS", 1),
    ("SYN_COOKIES", 5),
    ("COUNTERS", 1),
    ("PACKET_COUNTERS", 1),
    ("TRAFFIC", 3),
    ("POD_TRAFFIC", 3),
    ("OTHER_TRAFFIC", 3),
];

/// The pins of this node, for one agent.
#[derive(Debug)]
pub struct Estate {
    pub root: PinRoot,
    pub records: Records,
    /// The one to load the programs into.
    pub generation: Generation,
    /// Its maps were there.
    pub is_adopted: bool,
    /// Those with other maps that still have links.
    pub elders: Vec<Generation>,
}

#[derive(Debug, Error)]
pub enum EstateError {
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("cannot take over map {map}")]
    Inherit {
        map: &'static str,
        #[source]
        source: io::Error,
    },
}

impl Estate {
    /// Takes the directory over for this process, and looks what is in it. What a crash has left
    /// half done, and no link works by, is removed.
    pub fn open(path: &Path, object: &Object, options: &LoadOptions) -> Result<Self, EstateError> {
        let root = PinRoot::open(path)?;
        let records = Records::open(&root)?;
        let layout = Layout::of(object, options, &PINNED_MAPS)?;
        let mut elders = Vec::new();
        for found in root.generations()? {
            if has_links(&found)? {
                elders.push(found);
            } else {
                found.remove()?;
            }
        }
        let mut fitting = None;
        for (index, elder) in elders.iter().enumerate() {
            let misfits = layout.misfits(elder)?;
            let path = elder.path().display();
            if elder.abi() != ABI_VERSION {
                tracing::info!(%path, abi = elder.abi(), "pins of another ABI");
            } else if misfits.is_empty() {
                fitting = Some(index);
            } else {
                let misfits: Vec<String> = misfits.iter().map(ToString::to_string).collect();
                tracing::info!(%path, misfits = misfits.join("; "), "pins of other maps");
            }
        }
        let (generation, is_adopted) = match fitting {
            Some(index) => (elders.remove(index), true),
            None => (root.next_generation(ABI_VERSION)?, false),
        };
        let estate = Self {
            root,
            records,
            generation,
            is_adopted,
            elders,
        };
        if !is_adopted {
            estate.inherit(&layout)?;
        }
        Ok(estate)
    }

    /// Gives the new generation the youngest elder's maps of what programs have written.
    fn inherit(&self, layout: &Layout) -> Result<(), EstateError> {
        let Some(elder) = self.elders.last() else {
            return Ok(());
        };
        self.generation.make()?;
        for (map, since) in INHERITED {
            let is_known = (since..=ABI_VERSION).contains(&elder.abi());
            if !is_known || layout.misfit(elder, map)?.is_some() {
                tracing::warn!(
                    map,
                    "what this map holds of open connections is left behind"
                );
                continue;
            }
            let failed = |source| EstateError::Inherit { map, source };
            let fd = bpf::get(&elder.map(map)).map_err(failed)?;
            pins::replace(&self.generation.map(map), |path| bpf::pin(fd.as_fd(), path))?;
        }
        Ok(())
    }
}

/// Takes all pods out of a generation's maps, whatever version's they are: its programs then judge
/// and mark nothing any more.
pub fn forget_pods(generation: &Generation) -> io::Result<()> {
    match bpf::get(&generation.map("PODS")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        pods => bpf::clear(pods?.as_fd()),
    }
}

/// Whether any program works by these pins.
fn has_links(generation: &Generation) -> Result<bool, PinError> {
    Ok(!generation.cgroup_links()?.is_empty() || generation.has_pod_links()?)
}
