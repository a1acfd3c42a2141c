//! Documents that must be there, and those that are generated.

use super::Finding;
use super::tree::Tree;
use crate::maps_doc;

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    maps_doc::PAGE,
];

/// ARCHITECTURE.md is the one picture; longer, and nobody reads it.
const ARCHITECTURE_LINES: usize = 150;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing = DOCUMENTS
        .iter()
        .filter(|path| tree.file(path).is_none())
        .map(|path| Finding::error(*path, "is missing"));
    let long = tree
        .file("ARCHITECTURE.md")
        .filter(|file| file.lines() > ARCHITECTURE_LINES)
        .map(|file| Finding::warning(&file.path, format!("over {ARCHITECTURE_LINES} lines")));
    missing.chain(long).chain(stale_maps(tree)).collect()
}

fn stale_maps(tree: &Tree) -> Option<Finding> {
    let written = tree.file(maps_doc::PAGE)?;
    let read = |path: &str| tree.file(path).map(|file| file.text.clone());
    match maps_doc::generate(&read) {
        Ok(page) if page == written.text => None,
        Ok(_) => Some(Finding::error(
            maps_doc::PAGE,
            "is not current: run `cargo xtask maps-doc`",
        )),
        Err(error) => Some(Finding::error(maps_doc::PAGE, format!("{error:#}"))),
    }
}
