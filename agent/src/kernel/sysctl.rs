//! Kernel parameters of a netns. `/proc/sys/net` shows those of the netns of the thread that looks,
//! so every call belongs on a thread of [`super::netns::PodNetns::run`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A parameter, named by its path below `/proc/sys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sysctl(pub(super) &'static str);

#[derive(Debug, Error)]
#[error("cannot {verb} sysctl {name}{}", hint(source))]
pub struct SysctlError {
    verb: &'static str,
    name: &'static str,
    #[source]
    source: io::Error,
}

/// As in a container that is not privileged.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            ": /proc/sys is mounted read-only here; mount the node's /proc/sys into the container, \
             writable"
        }
        _ => "",
    }
}

/// Whether parameters of a netns can be set, tried in a netns of its own.
pub(super) fn try_write() -> Result<(), SysctlError> {
    let parameter = Sysctl("net/ipv4/fwmark_reflect");
    parameter.write(&parameter.read()?)
}

impl Sysctl {
    pub(super) fn read(self) -> Result<String, SysctlError> {
        let read = fs::read_to_string(self.path());
        let value = read.map_err(|source| SysctlError {
            verb: "read",
            name: self.0,
            source,
        })?;
        Ok(value.trim_end().to_owned())
    }

    pub(super) fn write(self, value: &str) -> Result<(), SysctlError> {
        fs::write(self.path(), value).map_err(|source| SysctlError {
            verb: "write",
            name: self.0,
            source,
        })
    }

    /// `None` where the kernel does not have the parameter.
    pub(super) fn read_if_there(self) -> Result<Option<String>, SysctlError> {
        if self.is_there() {
            self.read().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn is_there(self) -> bool {
        self.path().exists()
    }

    fn path(self) -> PathBuf {
        Path::new("/proc/sys").join(self.0)
    }
}
