//! The object file that holds the kernel programs.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

#[cfg(embedded_object)]
static EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/waysteer.o"
)));
#[cfg(not(embedded_object))]
static EMBEDDED: Option<&[u8]> = None;

/// An object file's bytes, and where they come from.
#[derive(Clone)]
pub struct Object {
    bytes: Cow<'static, [u8]>,
    origin: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum ObjectError {
    #[error(
        "this binary was built without the kernel programs: run `cargo xtask build-ebpf`, then \
         build it again"
    )]
    NotEmbedded,
    #[error("cannot read the kernel programs from {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Object {
    /// The file at `path` where one is given, else what was embedded when the agent was built.
    pub fn find(path: Option<&Path>) -> Result<Self, ObjectError> {
        match path {
            Some(path) => Self::from_file(path),
            None => Self::embedded(),
        }
    }

    pub fn embedded() -> Result<Self, ObjectError> {
        let bytes = EMBEDDED.ok_or(ObjectError::NotEmbedded)?;
        Ok(Self {
            bytes: Cow::Borrowed(bytes),
            origin: None,
        })
    }

    pub fn from_file(path: &Path) -> Result<Self, ObjectError> {
        let bytes = fs::read(path).map_err(|source| ObjectError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            bytes: Cow::Owned(bytes),
            origin: Some(path.to_owned()),
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("bytes", &self.bytes.len())
            .field("origin", &self.origin)
            .finish()
    }
}
