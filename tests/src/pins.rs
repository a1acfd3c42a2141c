//! Where agents under test pin their programs, maps and links.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Of a bpf file system, as an agent would mount it.
const DIRECTORY: &str = "/sys/fs/bpf";

/// A directory for one agent. Dropped, it takes along what a killed agent has left in it, and with
/// the pins the links end.
#[derive(Debug)]
pub struct PinDirectory {
    path: PathBuf,
}

impl PinDirectory {
    /// `name` must be nobody else's; dots cannot be in it. Nothing is made yet.
    pub fn new(name: &str) -> Self {
        Self {
            path: Path::new(DIRECTORY).join(name.replace('.', "_")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in it, as paths from it, in order; directories too.
    pub fn list(&self) -> Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        if self.path.exists() {
            collect(&self.path, &mut all)?;
        }
        let relative = |path: PathBuf| Ok(path.strip_prefix(&self.path)?.to_owned());
        all.into_iter().map(relative).collect()
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn collect(directory: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        all.push(path.clone());
        if path.is_dir() {
            collect(&path, all)?;
        }
    }
    Ok(())
}
