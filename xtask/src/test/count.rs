//! Counting tests while their output passes through.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command;

/// Tests that were run, over any number of test binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Tests that ended at once because something is not installed here; they count as passed too.
    skipped: u64,
    /// Runs that ended badly without a failed test to show for it, such as a build that broke.
    broken: u64,
}

impl Count {
    pub(super) fn is_success(&self) -> bool {
        self.failed == 0 && self.broken == 0
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped += other.skipped;
        self.broken += other.broken;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed + self.broken;
        write!(out, "{} passed, {failed} failed", self.passed)?;
        if self.ignored > 0 {
            write!(out, ", {} ignored", self.ignored)?;
        }
        if self.skipped > 0 {
            write!(out, ", {} of the passed skipped", self.skipped)?;
        }
        if self.broken > 0 {
            write!(out, " ({} runs broke off without a result)", self.broken)?;
        }
        Ok(())
    }
}

/// Runs `cargo test …`, prints its lines as they come, and adds up its results.
pub(super) fn run(cargo: &mut Command) -> Result<Count> {
    let line = command::describe(cargo);
    eprintln!("$ {line}");
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{line}` could not be started"))?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the tests' output broke off")?;
        println!("{line}");
        if let Some(result) = parse(&line) {
            count += result;
        }
        // As the tests' `skip` prints it.
        count.skipped += u64::from(line.starts_with("skipped: "));
    }
    let status = child.wait().context("the tests could not be waited for")?;
    if !status.success() && count.failed == 0 {
        count.broken += 1;
    }
    Ok(count)
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = Count::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        match (number.parse(), what) {
            (Ok(number), "passed") => count.passed = number,
            (Ok(number), "failed") => count.failed = number,
            (Ok(number), "ignored") => count.ignored = number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; \
                    3 filtered out; finished in 0.01s";
        let count = parse(line).expect("it is a result line");
        assert_eq!((count.passed, count.failed, count.ignored), (5, 2, 1));
        assert!(!count.is_success());
        assert_eq!(parse("test kernel::netns ... ok"), None);
    }

    #[test]
    fn skipped_tests_are_told() {
        let script = "echo 'skipped: a: no b'; echo 'test result: ok. 1 passed; 0 failed; '";
        let count = run(Command::new("sh").args(["-c", script])).expect("sh starts");
        assert_eq!(
            count.to_string(),
            "1 passed, 0 failed, 1 of the passed skipped"
        );
    }

    #[test]
    fn a_run_without_a_result_is_a_failure() {
        let count = run(Command::new("sh").args(["-c", "exit 3"])).expect("sh starts");
        assert!(!count.is_success());
        assert!(count.to_string().starts_with("0 passed, 1 failed"));
    }
}
