//! Reading a file that others write.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// A mesh of 100,000 workloads is about 40 MiB.
const MAX_BYTES: u64 = 128 << 20;
/// How often a file that changes while it is read is read again. The writer's last write wakes
/// the watcher, so giving up here loses nothing.
const MAX_ATTEMPTS: usize = 3;

/// A file and what it said when it was read last.
#[derive(Debug)]
pub(super) struct TextFile {
    path: PathBuf,
    hash: Option<u64>,
}

#[derive(Debug, Error)]
pub(super) enum TextError {
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotRegular,
    #[error("larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("not UTF-8, from byte {0} on")]
    NotText(usize),
}

impl TextFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, hash: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text, or `None` if it is the same as last time.
    pub(super) fn read(&mut self) -> Result<Option<String>, TextError> {
        let last = self.hash.take();
        let text = read_stable(&self.path)?;
        let hash = xxh3_64(text.as_bytes());
        self.hash = Some(hash);
        Ok((last != self.hash).then_some(text))
    }
}

/// Reads again while somebody writes: the first half of a list is a valid list too, and would
/// remove the second half.
fn read_stable(path: &Path) -> Result<String, TextError> {
    let mut attempt = 1;
    loop {
        let (text, was_stable) = read_once(path)?;
        if was_stable || attempt == MAX_ATTEMPTS {
            return Ok(text);
        }
        attempt += 1;
    }
}

fn read_once(path: &Path) -> Result<(String, bool), TextError> {
    // Asked by path first, because opening a FIFO would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(TextError::NotRegular);
    }
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let mut bytes = Vec::new();
    let limit = MAX_BYTES + 1;
    let read = (&mut file).take(limit).read_to_end(&mut bytes)?;
    if read as u64 == limit {
        return Err(TextError::TooLarge);
    }
    let was_stable = stamp(&before)? == stamp(&file.metadata()?)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| TextError::NotText(error.utf8_error().valid_up_to()))?;
    Ok((text, was_stable))
}

fn stamp(metadata: &Metadata) -> io::Result<(u64, SystemTime)> {
    Ok((metadata.len(), metadata.modified()?))
}
