//! What can go wrong with pins.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::kernel::privileges::hint;

#[derive(Debug, Error)]
pub enum PinError {
    #[error("cannot {what} {}{hint}", path.display())]
    Failed {
        what: &'static str,
        path: PathBuf,
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is not on a bpf file system: `mount -t bpf bpf {}`, or set pin_root to a directory on \
         one",
        path.display(),
        mount.display()
    )]
    NotBpf { path: PathBuf, mount: PathBuf },
    #[error("no bpf file system is mounted at {}, and mounting one failed{hint}", path.display())]
    Mount {
        path: PathBuf,
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is in use by another agent{}: stop it, or give this one a pin_root of its own",
        path.display(),
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse { path: PathBuf, holder: Option<u32> },
}

impl PinError {
    pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Failed {
            what,
            path: path.to_owned(),
            hint: hint(&source),
            source,
        }
    }
}
