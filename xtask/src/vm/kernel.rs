//! A kernel that lies here: the file that boots, and its modules.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::arch::Arch;
use super::archive::{self, Archive};
use super::release::Release;
use crate::workspace;

#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) arch: Arch,
    pub(super) release: Release,
    pub(super) image: PathBuf,
    /// `…/lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// Short, for whoever watches.
    pub(super) fn label(&self) -> String {
        let name = self.release.name();
        let version = name.split(['+', '-']).next().unwrap_or(name);
        format!("{version} {}", self.arch)
    }
}

/// The newest of each series that lies here. What is missing is downloaded first; with `update` all
/// of them are.
pub(super) fn find(arch: Arch, series: &[&str], update: bool) -> Result<Vec<Kernel>> {
    let mut here = stored(arch)?;
    let is_missing = |series: &&str| newest(&here, series).is_none();
    if update || series.iter().any(is_missing) {
        let archive = Archive::open(arch)?;
        let offered = archive.releases()?;
        for series in series {
            if !update && newest(&here, series).is_some() {
                continue;
            }
            let Some(release) = newest(&offered, series) else {
                bail!("Debian offers no kernel of the series {series} for {arch}");
            };
            if !here.contains(&release) {
                store(&archive, &release)?;
                here.push(release);
            }
        }
    }
    let chosen = series.iter().filter_map(|series| newest(&here, series));
    chosen.map(|release| open(arch, release)).collect()
}

fn newest(releases: &[Release], series: &str) -> Option<Release> {
    let of_series = releases.iter().filter(|release| release.is_of(series));
    of_series.max().cloned()
}

fn directory() -> PathBuf {
    workspace::target().join("vm/kernels")
}

fn stored(arch: Arch) -> Result<Vec<Release>> {
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let mut releases = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PARTIAL) && name.ends_with(&archive::flavour(arch)) {
            releases.push(Release::new(name));
        }
    }
    Ok(releases)
}

/// A name under which a kernel is not whole yet.
const PARTIAL: &str = "partial-";

fn store(archive: &Archive, release: &Release) -> Result<()> {
    let partial = directory().join(format!("{PARTIAL}{}", release.name()));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    archive.unpack_kernel(release, &partial)?;
    fs::rename(&partial, directory().join(release.name()))?;
    Ok(())
}

fn open(arch: Arch, release: Release) -> Result<Kernel> {
    let root = directory().join(release.name());
    let name = release.name();
    let modules = first(
        &root,
        &[
            format!("usr/lib/modules/{name}"),
            format!("lib/modules/{name}"),
        ],
    )?;
    let image = first(
        &root,
        &[
            format!("boot/vmlinuz-{name}"),
            format!("usr/lib/modules/{name}/vmlinuz"),
        ],
    )?;
    Ok(Kernel {
        arch,
        release,
        image,
        modules,
    })
}

/// Where Debian puts things has changed.
fn first(root: &Path, places: &[String]) -> Result<PathBuf> {
    let mut places_in_root = places.iter().map(|place| root.join(place));
    let found = places_in_root.find(|path| path.exists());
    found.with_context(|| format!("{} has none of {}", root.display(), places.join(", ")))
}
