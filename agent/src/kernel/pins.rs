//! Where programs, maps and links outlive the process: a directory of a bpf file system.
//!
//! ```text
//! <root>/v<ABI>[-<n>]/maps/NAME
//!                     programs/NAME
//!                     links/cgroup/NAME
//!                     links/pods/<netns cookie>/<index of the device>-<program>
//! ```
//!
//! A [`Generation`] is one set of maps and the programs that work by them. Normally there is one;
//! while an agent with other maps takes over from an older one there are two, and `-<n>` tells
//! them apart where the ABI is the same.

mod error;
mod lock;
mod mount;
mod names;

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use self::error::PinError;
use self::lock::Lock;
use self::names::GenerationName;
use super::bpf;

const MAPS: &str = "maps";
const PROGRAMS: &str = "programs";
const CGROUP_LINKS: &str = "links/cgroup";
const POD_LINKS: &str = "links/pods";

/// Ends the name of a pin that is about to take the place of another. File systems of this kind
/// refuse names with dots.
const NEW: &str = "+";

/// The directory, which is this process's alone while the value lives.
#[derive(Debug)]
pub struct PinRoot {
    path: PathBuf,
    _lock: Lock,
}

/// One set of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    path: PathBuf,
    name: GenerationName,
}

impl PinRoot {
    /// Makes the directory where there is none, and mounts a bpf file system where that is where
    /// everybody has it.
    ///
    /// # Errors
    /// When the directory is another agent's, or cannot be on a bpf file system.
    pub fn open(path: &Path) -> Result<Self, PinError> {
        mount::prepare(path)?;
        make(path)?;
        Self::lock(path)
    }

    /// `None` where there is no such directory. Nothing is made or mounted.
    pub fn find(path: &Path) -> Result<Option<Self>, PinError> {
        if path.is_dir() && mount::is_bpf(path)? {
            Self::lock(path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// What a [`PinRoot::open`] would have to do first, or why it would be refused.
    pub fn check(path: &Path) -> Result<&'static str, PinError> {
        mount::check(path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that are there, the oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>, PinError> {
        generations(&self.path)
    }

    /// One that is not there yet; nothing is made.
    pub fn next_generation(&self, abi: u32) -> Result<Generation, PinError> {
        let last = self.generations()?.into_iter().map(|found| found.name);
        let last = last.filter(|name| name.abi == abi).map(|name| name.number);
        let number = last.max().map_or(1, |number| number.saturating_add(1));
        Ok(Generation::named(
            &self.path,
            GenerationName { abi, number },
        ))
    }

    /// Gives the directory up; it goes away when nothing is in it.
    pub fn close(self) -> Result<bool, PinError> {
        match fs::remove_dir(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(PinError::failed("remove", &self.path, error)),
        }
    }

    fn lock(path: &Path) -> Result<Self, PinError> {
        Ok(Self {
            path: path.to_owned(),
            _lock: Lock::take(path)?,
        })
    }
}

/// All that are in a directory, which may be another process's, the oldest first.
pub fn generations(root: &Path) -> Result<Vec<Generation>, PinError> {
    let names = list(root)?;
    let names = names.iter().filter_map(|name| GenerationName::parse(name));
    let mut found: Vec<Generation> = names.map(|name| Generation::named(root, name)).collect();
    found.sort_by_key(|generation| generation.name);
    Ok(found)
}

impl Generation {
    fn named(root: &Path, name: GenerationName) -> Self {
        Self {
            path: root.join(name.to_string()),
            name,
        }
    }

    pub fn abi(&self) -> u32 {
        self.name.abi
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directories that are missing.
    pub fn make(&self) -> Result<(), PinError> {
        for part in [MAPS, PROGRAMS, CGROUP_LINKS, POD_LINKS] {
            make(&self.path.join(part))?;
        }
        Ok(())
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.path.join(MAPS).join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.path.join(PROGRAMS).join(name)
    }

    pub fn cgroup_link(&self, program: &str) -> PathBuf {
        self.path.join(CGROUP_LINKS).join(program)
    }

    /// The directory of the links in one netns.
    pub fn pod(&self, netns: u64) -> PathBuf {
        self.path.join(POD_LINKS).join(netns.to_string())
    }

    pub fn pod_link(&self, netns: u64, device: u32, program: &str) -> PathBuf {
        self.pod(netns).join(format!("{device}-{program}"))
    }

    /// The netns that have links.
    pub fn pods(&self) -> Result<Vec<u64>, PinError> {
        let names = list(&self.path.join(POD_LINKS))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Pins of links in one netns.
    pub fn pod_links(&self, netns: u64) -> Result<Vec<PathBuf>, PinError> {
        in_directory(&self.pod(netns))
    }

    /// Whether any netns has links.
    pub fn has_pod_links(&self) -> Result<bool, PinError> {
        for netns in self.pods()? {
            if !self.pod_links(netns)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn cgroup_links(&self) -> Result<Vec<PathBuf>, PinError> {
        in_directory(&self.path.join(CGROUP_LINKS))
    }

    /// Names of the pinned programs.
    pub fn programs(&self) -> Result<Vec<String>, PinError> {
        list(&self.path.join(PROGRAMS))
    }

    /// Names of the pinned maps.
    pub fn maps(&self) -> Result<Vec<String>, PinError> {
        list(&self.path.join(MAPS))
    }

    /// A pinned map, if there is one of that name.
    pub(super) fn find_map(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        match bpf::get(&self.map(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            map => map.map(Some),
        }
    }

    /// Unpins everything. What nobody else holds goes away, links too, but not at once.
    pub fn remove(&self) -> Result<(), PinError> {
        remove(&self.path)
    }
}

/// Whether the pin of a link in a netns is one of this program's.
pub fn is_link_of(pin: &Path, program: &str) -> bool {
    let name = pin.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(|name| name.split_once('-'));
    parts.is_some_and(|(_, of)| of == program)
}

/// Makes `path` name what `pin` pins: in one step where it named something else.
pub fn replace(path: &Path, pin: impl Fn(&Path) -> io::Result<()>) -> Result<(), PinError> {
    let failed = |source| PinError::failed("pin", path, source);
    match pin(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        pinned => return pinned.map_err(failed),
    }
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    // What a crash may have left.
    unpin(&new)?;
    pin(&new).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

/// What is not there is no error.
pub fn unpin(path: &Path) -> Result<(), PinError> {
    gone(fs::remove_file(path)).map_err(|source| PinError::failed("unpin", path, source))
}

/// Removes a directory with all that is pinned in it. What is not there is no error.
pub fn remove(path: &Path) -> Result<(), PinError> {
    gone(fs::remove_dir_all(path)).map_err(|source| PinError::failed("remove", path, source))
}

/// Makes a directory with those above it.
pub fn make(path: &Path) -> Result<(), PinError> {
    let mut builder = DirBuilder::new();
    // For root alone: who can open a map can write it.
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|source| PinError::failed("make", path, source))
}

/// Moves a pin, in one step.
pub fn rename(from: &Path, to: &Path) -> Result<(), PinError> {
    fs::rename(from, to).map_err(|source| PinError::failed("move a pin to", to, source))
}

/// Paths of what is pinned in a directory.
pub fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, PinError> {
    let names = list(directory)?;
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Names in a directory, in order; none where there is no directory.
fn list(directory: &Path) -> Result<Vec<String>, PinError> {
    let failed = |source| PinError::failed("list", directory, source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // All our names are plain.
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
