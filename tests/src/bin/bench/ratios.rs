//! The ratios of a release, which later runs are compared with. Ratios, because times are those of a
//! machine; and told, not failed, because they are still of one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::report::{Report, Row};

/// What is worse by more is told.
const TOLERANCE: f64 = 0.10;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Where and how they were measured.
    measured: String,
    ratios: BTreeMap<String, f64>,
}

/// Where they are kept, in the repository.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/ratios.json")
}

/// What has become worse since, a sentence each; and one of how many were looked at.
pub(crate) fn compare(report: &Report, path: &Path) -> Result<Vec<String>> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(vec![format!(
            "{}: no ratios to compare with",
            path.display()
        )]);
    };
    let kept: Kept = serde_json::from_str(&text)
        .with_context(|| format!("{} does not parse", path.display()))?;
    let mut said = Vec::new();
    let mut compared = 0;
    for row in report.rows.iter().filter(|row| is_kept(row)) {
        let Some(before) = kept.ratios.get(&row.key()) else {
            continue;
        };
        compared += 1;
        let now = row.ratio.median;
        let by = worse_by(*before, now, row.metric.is_rate());
        if by > TOLERANCE {
            let percent = by * 100.0;
            said.push(format!(
                "worse by {percent:.0} %: {}: {now:.3}, was {before:.3}",
                row.key()
            ));
        }
    }
    said.push(format!(
        "{compared} ratios compared with those of {}; {} worse by more than {:.0} %",
        kept.measured,
        said.len(),
        TOLERANCE * 100.0
    ));
    Ok(said)
}

/// Writes those of this run in their place.
pub(crate) fn keep(report: &Report, path: &Path) -> Result<()> {
    let rounded = |ratio: f64| (ratio * 1000.0).round() / 1000.0;
    let kept = Kept {
        measured: format!("Linux {}, {} rounds", report.kernel, report.rounds),
        ratios: report
            .rows
            .iter()
            .filter(|row| is_kept(row))
            .map(|row| (row.key(), rounded(row.ratio.median)))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&kept)? + "\n";
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text).with_context(|| format!("{} not written", path.display()))
}

/// Times of agents that have nothing to do are noise.
fn is_kept(row: &Row) -> bool {
    row.ratio.median.is_finite() && !row.metric.is_of_agents()
}

/// By which share of what it was.
fn worse_by(before: f64, now: f64, is_rate: bool) -> f64 {
    let by = now / before - 1.0;
    if is_rate { -by } else { by }
}
