//! `waysteer check`: whether this kernel and these privileges are enough, a line each.

use anyhow::bail;

use crate::cli::CheckArgs;
use crate::kernel::features::{self, Finding, Outcome};

/// Prints what was found.
///
/// # Errors
/// When something that is needed is missing.
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let findings = features::check(None, None, &args.pin_root);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        findings.iter().for_each(tell);
    }
    let failures = findings.iter().filter(|finding| finding.is_failure());
    match failures.count() {
        0 => Ok(()),
        count => bail!(
            "{count} of {} things that are needed are missing",
            findings.len()
        ),
    }
}

fn tell(Finding { what, outcome }: &Finding) {
    match outcome {
        Outcome::Works { detail } => println!("ok       {what}: {detail}"),
        Outcome::Information { detail } => println!("info     {what}: {detail}"),
        Outcome::Fails { reason } => println!("missing  {what}: {reason}"),
    }
}
