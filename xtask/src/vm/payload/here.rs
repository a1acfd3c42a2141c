//! Tools and libraries of the developer's own machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Files, PROGRAMS, TOOLS};

/// The tools, with the libraries of them and of these programs.
pub(super) fn collect(programs: &Files) -> Result<Files> {
    let mut files = Vec::new();
    for tool in TOOLS {
        files.push((find(tool)?, Path::new(PROGRAMS).join(tool)));
    }
    let all = programs
        .iter()
        .chain(&files)
        .map(|(path, _)| path.as_path());
    let libraries = libraries(all)?.into_iter();
    files.extend(libraries.map(|library| (library.clone(), library)));
    Ok(files)
}

fn find(tool: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Tools of administrators are not on everybody's path.
    let directories = std::env::split_paths(&path);
    let directories = directories.chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut candidates = directories.map(|directory| directory.join(tool));
    let found = candidates.find(|path| path.is_file());
    found.with_context(|| format!("{tool} is not installed; run `cargo xtask setup --with-vm`"))
}

/// What the dynamic loader would load for these programs, and itself.
fn libraries<'a>(programs: impl Iterator<Item = &'a Path>) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let mut ldd = Command::new("ldd");
        let output = ldd.arg(program).output().context("ldd")?;
        ensure!(
            output.status.success(),
            "ldd cannot read {}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        libraries.extend(loaded(&String::from_utf8_lossy(&output.stdout)));
    }
    Ok(libraries)
}

/// The paths in what ldd prints: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn loaded(printed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.find(|word| Path::new(OsStr::new(word)).is_absolute())?;
        Some(path.into())
    };
    printed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(loaded(printed), expected.map(PathBuf::from));
    }
}
