//! Tools and libraries for a machine of another architecture: Debian's packages, unpacked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::elf::{DT_NEEDED, FileHeader64};
use object::endian::Endianness;
use object::read::elf::ElfFile;

use super::{Files, PROGRAMS, TOOLS};
use crate::vm::arch::{Arch, Cross};
use crate::vm::archive::Archive;
use crate::workspace;

/// What the tools are in.
const PACKAGES: [&str; 9] = [
    "bash",
    "bpftool",
    "bsdutils",
    "coreutils",
    "dash",
    "iproute2",
    "mount",
    "procps",
    "util-linux",
];

/// The tools, with the libraries of them and of these programs.
pub(super) fn collect(arch: Arch, cross: &Cross, programs: &Files) -> Result<Files> {
    let root = unpacked(arch)?;
    let mut files = Vec::new();
    for tool in TOOLS {
        let places = ["bin", "sbin"].map(|place| root.join("usr").join(place).join(tool));
        let found = places.into_iter().find(|path| path.is_file());
        let found = found.with_context(|| {
            let root = root.display();
            format!("{root} has no {tool}; remove it, for the packages to be fetched again")
        })?;
        files.push((found, Path::new(PROGRAMS).join(tool)));
    }
    let of = |name: &str| (root.join("usr").join(name), Path::new("/").join(name));
    files.push(of(cross.loader));
    // Each found is asked in turn what it needs.
    let mut asked: Files = programs.iter().chain(&files).cloned().collect();
    while let Some((path, _)) = asked.pop() {
        let bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let needed = needed(&bytes).with_context(|| format!("{}", path.display()))?;
        for name in needed {
            let library = of(&format!("{}/{name}", cross.libraries));
            if !files.contains(&library) {
                asked.push(library.clone());
                files.push(library);
            }
        }
    }
    Ok(files)
}

/// Where the packages lie. They are fetched once.
fn unpacked(arch: Arch) -> Result<PathBuf> {
    let root = workspace::target().join(format!("vm/root-{arch}"));
    if !root.exists() {
        let partial = root.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        Archive::open(arch)?.unpack_whole(&PACKAGES, &partial)?;
        fs::rename(&partial, &root)?;
    }
    Ok(root)
}

/// The libraries that a program or library names.
fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile::<FileHeader64<Endianness>>::parse(bytes).context("no object file")?;
    let table = file.elf_dynamic_table()?;
    let mut names = Vec::new();
    for entry in table.iter().filter(|entry| entry.tag == DT_NEEDED) {
        names.push(String::from_utf8_lossy(table.string(entry)?).into_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_libraries() -> Result<()> {
        let own = fs::read(std::env::current_exe()?)?;
        let needed = needed(&own)?;
        assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
        Ok(())
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(needed(b"#!/bin/sh\n").is_err());
    }
}
