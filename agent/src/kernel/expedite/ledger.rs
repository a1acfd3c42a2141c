//! What was changed, written down for as long as it is: a map that is pinned before the change and
//! unpinned after it is undone. What the map says is JSON, of which fields are only ever added.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ExpediteError;
use super::parameter::{OFF, Parameter};
use crate::kernel::bpf::{self, Command, MapCreateAttr};
use crate::kernel::pins::{self, PinRoot};

/// Of the pin, beside the records of pods.
const NAME: &str = "EXPEDITED";
/// JSON, and zeros after it.
const LENGTH: usize = 512;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const KEY: [u8; 4] = [0; 4];

/// Where it is written down, durably, that the parameter is changed.
pub(super) trait Ledger: fmt::Debug + Send + Sync {
    fn enter(&self) -> Result<(), ExpediteError>;
    fn strike(&self) -> Result<(), ExpediteError>;
}

/// What is to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    pub file: PathBuf,
    pub before: String,
}

#[derive(Debug)]
pub(super) struct PinnedLedger {
    map: OwnedFd,
    path: PathBuf,
}

/// What is written down in a directory of pins, which may be another process's.
pub fn debt(root: &Path) -> Result<Option<Debt>, ExpediteError> {
    let path = root.join(NAME);
    let read = || {
        let value = bpf::value(bpf::get(&path)?.as_fd(), &KEY)?;
        let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
        serde_json::from_slice(text).map_err(io::Error::other)
    };
    match read() {
        Ok(debt) => Ok(Some(debt)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExpediteError::Debt { path, source }),
    }
}

/// Puts back what is written down, and strikes it out; what that was.
pub fn put_back(root: &PinRoot) -> Result<Option<Debt>, ExpediteError> {
    let debt = debt(root.path())?;
    if let Some(debt) = &debt {
        Parameter::new(&debt.file).put_back()?;
        pins::unpin(&root.path().join(NAME))?;
    }
    Ok(debt)
}

impl fmt::Display for Debt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, before } = self;
        write!(f, "{}, which was {before}", file.display())
    }
}

impl PinnedLedger {
    /// Nothing is written down yet.
    pub(super) fn new(root: &PinRoot, parameter: &Parameter) -> Result<Self, ExpediteError> {
        let file = parameter.file();
        let debt = Debt {
            file: file.to_owned(),
            before: OFF.to_owned(),
        };
        let map = make(&debt).map_err(|source| ExpediteError::Ledger {
            file: file.to_owned(),
            source,
        })?;
        let path = root.path().join(NAME);
        Ok(Self { map, path })
    }
}

impl Ledger for PinnedLedger {
    fn enter(&self) -> Result<(), ExpediteError> {
        let pin = |path: &Path| bpf::pin(self.map.as_fd(), path);
        Ok(pins::replace(&self.path, pin)?)
    }

    fn strike(&self) -> Result<(), ExpediteError> {
        Ok(pins::unpin(&self.path)?)
    }
}

fn make(debt: &Debt) -> io::Result<OwnedFd> {
    let text = serde_json::to_vec(debt).map_err(io::Error::other)?;
    let mut value = [0; LENGTH];
    let room = value.get_mut(..text.len());
    room.ok_or_else(|| io::Error::other(format!("the path is too long: {LENGTH} bytes at most")))?
        .copy_from_slice(&text);
    let mut attr = MapCreateAttr {
        kind: BPF_MAP_TYPE_ARRAY,
        key_size: size_of_val(&KEY) as u32,
        value_size: LENGTH as u32,
        capacity: 1,
        name: *b"EXPEDITED\0\0\0\0\0\0\0",
        ..MapCreateAttr::default()
    };
    // SAFETY: the attributes hold no address.
    let map = unsafe { bpf::open(Command::MapCreate, &mut attr) }?;
    // SAFETY: key and value have the sizes that the map was just made with.
    unsafe { bpf::replace(map.as_fd(), &KEY, &value) }?;
    Ok(map)
}
