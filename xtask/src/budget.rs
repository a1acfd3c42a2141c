//! `tests/budget.toml`: how many instructions the verifier may walk for each program.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

const FILE: &str = "tests/budget.toml";

/// The most for each program, by name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Budget(BTreeMap<String, u32>);

impl Budget {
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(workspace::root().join(FILE)).context(FILE)?;
        Self::parse(&text).context(FILE)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let programs = table.get("programs").and_then(toml::Value::as_table);
        let programs = programs.context("there is no table `programs`")?;
        let limit = |(name, value): (&String, &toml::Value)| {
            let limit = value.as_integer().and_then(|limit| limit.try_into().ok());
            let limit = limit.with_context(|| format!("{name} = {value} is no number"))?;
            Ok((name.clone(), limit))
        };
        Ok(Self(programs.iter().map(limit).collect::<Result<_>>()?))
    }

    pub(crate) fn limit(&self, program: &str) -> Option<u32> {
        self.0.get(program).copied()
    }

    /// Fails when a program walks more than it may, when it has no budget, and when a budget is of
    /// no program.
    pub(crate) fn check(&self, counts: &BTreeMap<String, u32>) -> Result<()> {
        let mut problems = Vec::new();
        for (program, count) in counts {
            match self.limit(program) {
                Some(limit) if *count <= limit => {}
                Some(limit) => problems.push(format!("{program} has {count} of {limit}")),
                None => problems.push(format!("{program} has {count}, and no budget")),
            }
        }
        let unknown = self
            .0
            .keys()
            .filter(|program| !counts.contains_key(*program));
        problems.extend(unknown.map(|program| format!("{program} was not counted")));
        if !problems.is_empty() {
            bail!("verified instructions, by {FILE}: {}", problems.join("; "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let counts = counts.iter();
        counts
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn each_program_has_its_own_limit() -> Result<()> {
        let budget = Budget::parse("[programs]\none = 100\ntwo = 200\n")?;
        budget.check(&counts(&[("one", 100), ("two", 7)]))?;
        let error = budget.check(&counts(&[("one", 101), ("three", 1)]));
        let text = format!("{:#}", error.expect_err("three things are wrong"));
        for part in [
            "one has 101 of 100",
            "three has 1, and no budget",
            "two was not counted",
        ] {
            assert!(text.contains(part), "{text}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_budget_is_named() {
        for (text, what) in [
            ("one = 1", "there is no table `programs`"),
            ("[programs]\none = \"x\"", "one = \"x\" is no number"),
            ("[programs]\none = -1", "one = -1 is no number"),
        ] {
            let error = Budget::parse(text).expect_err(text);
            assert_eq!(format!("{error:#}"), what);
        }
    }

    #[test]
    fn the_budget_of_this_workspace_is_within_what_is_promised() -> Result<()> {
        let Budget(limits) = Budget::read()?;
        assert!(limits.values().all(|limit| *limit <= 10_000), "{limits:?}");
        Ok(())
    }
}
