//! The plan, line by line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Module(PathBuf),
    /// A variable of the environment.
    Set(String, String),
    Command(Task),
    Tests(Task),
}

/// A program to be run, for so long at most.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) within: Duration,
    pub(crate) program: String,
    /// Of a command; of a test binary which tests.
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn read(text: &str) -> Result<Vec<Step>> {
    let step =
        |(index, line)| step(line).with_context(|| format!("line {} of the plan", index + 1));
    text.lines().enumerate().map(step).collect()
}

/// Whether a test is one of those wanted: it begins with one of the prefixes and with none of those
/// behind a `-`.
pub(crate) fn chooses(prefixes: &[String], name: &str) -> bool {
    let begins = |prefix: &&str| name.starts_with(prefix);
    let unwanted = prefixes
        .iter()
        .filter_map(|prefix| prefix.strip_prefix('-'));
    let wanted = prefixes.iter().map(String::as_str);
    let mut wanted = wanted.filter(|prefix| !prefix.starts_with('-'));
    wanted.any(|prefix| begins(&prefix)) && !unwanted.into_iter().any(|prefix| begins(&prefix))
}

fn step(line: &str) -> Result<Step> {
    let mut fields = line.split('\t');
    let kind = fields.next().unwrap_or_default();
    Ok(match kind {
        "module" => Step::Module(fields.next().context("a module without a path")?.into()),
        "set" => Step::Set(
            fields.next().context("no name")?.to_owned(),
            fields.next().context("no value")?.to_owned(),
        ),
        "command" => Step::Command(task(fields)?),
        "tests" => Step::Tests(task(fields)?),
        _ => bail!("there is no {kind:?}"),
    })
}

fn task<'a>(mut fields: impl Iterator<Item = &'a str>) -> Result<Task> {
    let name = fields.next().context("no name")?.to_owned();
    let seconds = fields.next().context("no time")?;
    let seconds = seconds
        .parse()
        .with_context(|| format!("{seconds:?} is no number of seconds"))?;
    Ok(Task {
        name,
        within: Duration::from_secs(seconds),
        program: fields.next().context("no program")?.to_owned(),
        arguments: fields.map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read() -> Result<()> {
        let steps =
            read("module\t/m/veth.ko\ntests\tkernel\t90\t/bin/kernel\tredirect\t-redirect::slow")?;
        let [Step::Module(module), Step::Tests(task)] = steps.as_slice() else {
            bail!("{steps:?}");
        };
        assert_eq!(module, &PathBuf::from("/m/veth.ko"));
        assert_eq!(task.within, Duration::from_secs(90));
        assert_eq!(task.arguments, ["redirect", "-redirect::slow"]);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what) in [
            (
                "module\t/m\nlaunch\tit",
                "line 2 of the plan: there is no \"launch\"",
            ),
            (
                "command\tcheck\tsoon\t/bin/it",
                "line 1 of the plan: \"soon\" is no number of seconds",
            ),
            ("tests\tkernel", "line 1 of the plan: no time"),
        ] {
            let error = read(text).expect_err(text);
            assert!(format!("{error:#}").starts_with(what), "{error:#}");
        }
    }

    #[test]
    fn tests_are_chosen_by_prefix() {
        let prefixes = ["redirect", "-redirect::slow", "-reuse"].map(str::to_owned);
        assert!(chooses(&prefixes, "redirect::classes::v4"));
        assert!(!chooses(&prefixes, "redirect::slow::one"));
        assert!(!chooses(&prefixes, "reuse::it"));
        assert!(!chooses(&[], "redirect"));
    }
}
