//! What `docs/metrics.md` says there is, and which names `deploy/monitoring` uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub fn read(path: &str) -> Result<String> {
    let path = file(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Documented series, each with the heading that it stands below.
pub fn documented() -> Result<BTreeMap<String, String>> {
    let text = read("docs/metrics.md")?;
    let mut heading = String::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
        }
        let name = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next());
        if let Some(name) = name {
            found.insert(name.to_owned(), heading.clone());
        }
    }
    Ok(found)
}

/// Names of waysteer's metrics, and of those it has in common with ztunnel, in a text.
pub fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names =
        words.filter(|word| word.starts_with("waysteer_") || word.starts_with("istio_tcp_"));
    names.map(str::to_owned).collect()
}

/// The documented name of a series: histograms have three.
pub fn family(series: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"].map(|part| series.strip_suffix(part));
    parts.into_iter().flatten().next().unwrap_or(series)
}
