//! The file system that the kernel unpacks at boot: an archive of cpio's `newc` form, not packed,
//! because the emulated machine would take longer to unpack it than to boot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context as _, Result, ensure};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

#[derive(Default)]
pub(super) struct Initramfs {
    archive: Vec<u8>,
    entries: u32,
    paths: BTreeSet<String>,
}

impl Initramfs {
    /// A file at an absolute path, with the directories above it. One that is there stays.
    pub(super) fn add(&mut self, path: &Path, contents: &[u8]) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.add_directory(parent)?;
        }
        let name = plain(path)?;
        if self.paths.insert(name.clone()) {
            self.entry(&name, PROGRAM, contents)?;
        }
        Ok(())
    }

    /// A copy of a file of this machine.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let contents =
            fs::read(from).with_context(|| format!("{} could not be read", from.display()))?;
        self.add(to, &contents)
    }

    pub(super) fn add_directory(&mut self, path: &Path) -> Result<()> {
        let name = plain(path)?;
        let ends = name.match_indices('/').map(|(end, _)| end);
        let ends: Vec<usize> = ends.chain([name.len()]).filter(|end| *end > 0).collect();
        for end in ends {
            let above = name.get(..end).unwrap_or(&name).to_owned();
            if self.paths.insert(above.clone()) {
                self.entry(&above, DIRECTORY, b"")?;
            }
        }
        Ok(())
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, b"")?;
        Ok(self.archive)
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(contents.len()).context("a file is too large")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let fields = [
            self.entries, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            size,
            0, // device
            0,
            0, // of a device file
            0,
            name_size,
            0, // checksum
        ];
        self.archive.extend_from_slice(b"070701");
        for field in fields {
            self.archive
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(name.as_bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend_from_slice(contents);
        self.pad();
        Ok(())
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        self.archive
            .resize(self.archive.len().next_multiple_of(4), 0);
    }
}

/// Without the root and without `..`, which the kernel does not resolve.
fn plain(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().context("a path is not UTF-8")?),
            Component::ParentDir | Component::Prefix(_) => {
                ensure!(false, "{} is no plain path", path.display());
            }
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_the_kernel_wants_it() -> Result<()> {
        let mut image = Initramfs::default();
        image.add(Path::new("/a/b/c"), b"hello")?;
        image.add(Path::new("/a/b/c"), b"again")?;
        let archive = image.finish()?;
        let text = String::from_utf8_lossy(&archive);
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| {
                let name = entry.get(13 * 8..).unwrap_or_default();
                name.split('\0').next().unwrap_or_default()
            })
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "TRAILER!!!"]);
        assert_eq!(archive.len() % 4, 0);
        // Header, name and its end: 110 + 6 is a multiple of four, so the contents follow.
        let at = text.find("hello").context("the contents are in it")?;
        assert_eq!(at % 4, 0);
        assert!(!text.contains("again"));
        Ok(())
    }

    #[test]
    fn paths_stay_inside() {
        assert!(Initramfs::default().add(Path::new("/a/../b"), b"").is_err());
    }
}
