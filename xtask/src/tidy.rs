//! `cargo xtask tidy`: house rules that no compiler knows.
//!
//! A check is a function from the tree to findings; a new one is a line in `CHECKS`.

mod documents;
mod layers;
mod licences;
mod source;
mod tree;

use anyhow::{Result, bail};

use tree::Tree;

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// `path` or `path:line`, from the workspace's root.
    at: String,
    what: String,
    /// Said, but no failure.
    is_warning: bool,
}

impl Finding {
    fn error(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            is_warning: false,
        }
    }

    fn warning(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::error(at, what)
        }
    }
}

const CHECKS: &[fn(&Tree) -> Vec<Finding>] = &[
    source::check,
    layers::check,
    licences::check,
    documents::check,
];

pub(crate) fn run() -> Result<()> {
    let tree = Tree::read(crate::workspace::root())?;
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.sort_by(|one, other| one.at.cmp(&other.at));
    for finding in &findings {
        let kind = if finding.is_warning {
            "warning"
        } else {
            "error"
        };
        println!("{kind}: {}: {}", finding.at, finding.what);
    }
    let errors = findings
        .iter()
        .filter(|finding| !finding.is_warning)
        .count();
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        tree.files.len(),
        findings.len() - errors
    );
    if errors > 0 {
        bail!("the tree is not tidy");
    }
    Ok(())
}
