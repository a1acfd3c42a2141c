//! The files that are looked at, read once.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Every Rust and Cargo file of the workspace, and the documents at its top and under `docs`.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

pub(super) struct File {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        visit(root, "", &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { files })
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

impl File {
    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Lines that ship, numbered from 1: no comments, and nothing that only tests compile. Test
    /// modules stand last in a file or in files of their own.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() {
            Some(0)
        } else {
            self.text
                .lines()
                .position(|line| line.trim() == "#[cfg(test)]")
        };
        self.text
            .lines()
            .take(end.unwrap_or(usize::MAX))
            .enumerate()
            .map(|(index, line)| (index + 1, without_comment(line)))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("tests/")
    }
}

/// Cuts at `//`, also inside a string: what is lost there is no code either.
fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn visit(directory: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("{} could not be read", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                visit(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if [".rs", "Cargo.toml", ".md"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("{path} could not be read"))?;
            files.push(File { path, text });
        }
    }
    Ok(())
}
