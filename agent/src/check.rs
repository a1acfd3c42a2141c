//! `waysteer check`: whether this kernel and these privileges are enough, a line each.

use std::path::Path;

use anyhow::bail;

use crate::config::PIN_ROOT;
use crate::kernel::features::{self, Finding, Outcome};

/// Prints what was found.
///
/// # Errors
/// When something that is needed is missing.
pub fn run() -> anyhow::Result<()> {
    let findings = features::check(None, None, Path::new(PIN_ROOT));
    for Finding { what, outcome } in &findings {
        match outcome {
            Outcome::Works { detail } => println!("ok       {what}: {detail}"),
            Outcome::Information { detail } => println!("info     {what}: {detail}"),
            Outcome::Fails { reason } => println!("missing  {what}: {reason}"),
        }
    }
    let failures = findings
        .iter()
        .filter(|finding| finding.is_failure())
        .count();
    if failures > 0 {
        bail!(
            "{failures} of {} things that are needed are missing",
            findings.len()
        );
    }
    Ok(())
}
