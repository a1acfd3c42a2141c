//! What was written down of each pod before the first change in its netns, in a pinned map: who it
//! is, and what has to be put back. A later agent adopts pods by it, `waysteer cleanup` undoes by it.
//!
//! Written and read by user space only, as JSON, so that agents of other versions can read it: the
//! map's layout never changes, and fields are only ever added.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData, MapError};
use nix::libc::ENOENT;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bpf::{self, Command, MapCreateAttr};
use super::load::io_error;
use super::pins::{self, PinError, PinRoot};
use super::redirect::Before;
use crate::model::PodSpec;
use crate::names::pods::named;

/// Of the pin, below the root and above the generations, which come and go.
const NAME: &str = "ENROLMENTS";
/// As many as `PODS` takes.
const CAPACITY: u32 = 4_096;
/// JSON, and zeros after it. Names of Kubernetes have up to 253 bytes.
const LENGTH: usize = 2_048;
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_F_NO_PREALLOC: u32 = 1;

/// One pod's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    pub netns: PathBuf,
    #[serde(default)]
    pub before: Before,
}

named!(Record);

/// A netns cookie, and what is written down of it.
pub type Found = (u64, Result<Record, RecordError>);

/// Records by netns cookie.
#[derive(Debug)]
pub struct Records {
    map: HashMap<MapData, u64, [u8; LENGTH]>,
}

#[derive(Debug, Error)]
pub enum RecordError {
    #[error("cannot make the map {NAME}")]
    Make(#[source] io::Error),
    #[error("what is pinned at {} is not the map {NAME}", path.display())]
    Foreign {
        path: PathBuf,
        #[source]
        source: MapError,
    },
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(
        "the pod's names and paths are too long to be written down: {length} of {LENGTH} bytes"
    )]
    TooLong { length: usize },
    #[error("the pod cannot be written down")]
    Encode(#[source] serde_json::Error),
    #[error("what is written down of netns {netns} cannot be read")]
    Decode {
        netns: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot {what} the record of netns {netns}")]
    Map {
        what: &'static str,
        netns: u64,
        #[source]
        source: MapError,
    },
    #[error("cannot list the records")]
    List(#[source] MapError),
}

impl Record {
    pub fn new(spec: &PodSpec, before: Before) -> Self {
        let PodSpec {
            uid,
            name,
            namespace,
            service_account,
            netns,
        } = spec.clone();
        Self {
            uid,
            name,
            namespace,
            service_account,
            netns,
            before,
        }
    }

    pub fn spec(&self) -> PodSpec {
        PodSpec {
            uid: self.uid.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            netns: self.netns.clone(),
        }
    }
}

impl Records {
    /// Those that an earlier agent has left, or a map for new ones.
    pub fn open(root: &PinRoot) -> Result<Self, RecordError> {
        if let Some(records) = Self::find(root)? {
            return Ok(records);
        }
        let path = root.path().join(NAME);
        let map = make().map_err(RecordError::Make)?;
        pins::replace(&path, |path| bpf::pin(map.as_fd(), path))?;
        Self::of_descriptor(map, path)
    }

    /// `None` where nobody has left any.
    pub fn find(root: &PinRoot) -> Result<Option<Self>, RecordError> {
        Self::look(root.path())
    }

    /// The same in a directory that may be another process's: for reading.
    pub fn look(root: &Path) -> Result<Option<Self>, RecordError> {
        let path = root.join(NAME);
        let fd = match bpf::get(&path) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Open { path, source }),
        };
        Self::of_descriptor(fd, path).map(Some)
    }

    fn of_descriptor(fd: OwnedFd, path: PathBuf) -> Result<Self, RecordError> {
        let map = MapData::from_fd(fd).and_then(Map::from_map_data);
        let map = map.and_then(HashMap::try_from);
        let map = map.map_err(|source| RecordError::Foreign { path, source })?;
        Ok(Self { map })
    }

    /// When the last record is gone.
    pub fn remove(self, root: &PinRoot) -> Result<(), RecordError> {
        Ok(pins::unpin(&root.path().join(NAME))?)
    }

    pub fn get(&self, netns: u64) -> Result<Option<Record>, RecordError> {
        match self.map.get(&netns, 0) {
            Ok(value) => decode(netns, &value).map(Some),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(RecordError::Map {
                what: "read",
                netns,
                source,
            }),
        }
    }

    pub fn put(&mut self, netns: u64, record: &Record) -> Result<(), RecordError> {
        let value = encode(record)?;
        let put = self.map.insert(netns, value, 0);
        put.map_err(|source| RecordError::Map {
            what: "write",
            netns,
            source,
        })
    }

    /// What is not there is no error.
    pub fn delete(&mut self, netns: u64) -> Result<(), RecordError> {
        match self.map.remove(&netns) {
            Err(source) if code(&source) != Some(ENOENT) => Err(RecordError::Map {
                what: "delete",
                netns,
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All of them; one that cannot be read does not hide the others.
    pub fn all(&self) -> Result<Vec<Found>, RecordError> {
        let entries = self.map.iter().map(|entry| {
            let (netns, value) = entry.map_err(RecordError::List)?;
            Ok((netns, decode(netns, &value)))
        });
        entries.collect()
    }
}

fn make() -> io::Result<OwnedFd> {
    let mut attr = MapCreateAttr {
        kind: BPF_MAP_TYPE_HASH,
        key_size: size_of::<u64>() as u32,
        value_size: LENGTH as u32,
        capacity: CAPACITY,
        flags: BPF_F_NO_PREALLOC,
        name: *b"ENROLMENTS\0\0\0\0\0\0",
        ..MapCreateAttr::default()
    };
    // SAFETY: the attributes hold no address.
    unsafe { bpf::open(Command::MapCreate, &mut attr) }
}

fn encode(record: &Record) -> Result<[u8; LENGTH], RecordError> {
    let text = serde_json::to_vec(record).map_err(RecordError::Encode)?;
    let mut value = [0; LENGTH];
    let length = text.len();
    let room = value.get_mut(..length);
    room.ok_or(RecordError::TooLong { length })?
        .copy_from_slice(&text);
    Ok(value)
}

fn decode(netns: u64, value: &[u8]) -> Result<Record, RecordError> {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    serde_json::from_slice(text).map_err(|source| RecordError::Decode { netns, source })
}

fn code(error: &MapError) -> Option<i32> {
    io_error(error).and_then(|io| io.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let spec = PodSpec {
            uid: "u".into(),
            name: "n".into(),
            namespace: "ns".into(),
            service_account: "sa".into(),
            netns: "/run/netns/x".into(),
        };
        Record::new(&spec, Before::default())
    }

    #[test]
    fn what_is_written_down_can_be_read() {
        let value = encode(&record()).unwrap();
        assert_eq!(decode(1, &value).unwrap(), record());
        assert_eq!(record().spec().netns, Path::new("/run/netns/x"));
    }

    #[test]
    fn fields_of_other_versions_are_no_obstacle() {
        let text = br#"{"uid":"u","name":"n","namespace":"ns","service_account":"sa","netns":"/run/netns/x","since":3}"#;
        assert_eq!(decode(1, text).unwrap(), record());
        assert!(matches!(
            decode(7, b"{"),
            Err(RecordError::Decode { netns: 7, .. })
        ));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = Record {
            name: "x".repeat(LENGTH),
            ..record()
        };
        assert!(matches!(encode(&long), Err(RecordError::TooLong { .. })));
    }
}
