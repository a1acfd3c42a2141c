//! Documents that must be there.

use super::Finding;
use super::tree::Tree;

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/maps.md",
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
    missing.chain(long).collect()
}
