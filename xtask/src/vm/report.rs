//! What a machine has told, line by line. The form is described in `tests/src/bin/init/main.rs`.

use std::collections::BTreeMap;

use super::plan::CHECK;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) kernel: String,
    pub(super) commands: Vec<Ended>,
    pub(super) tests: Vec<Test>,
    /// What went wrong with the machine itself.
    pub(super) trouble: Vec<String>,
    /// Whether it came to its end.
    pub(super) is_complete: bool,
    /// What was printed by whatever has not ended yet.
    printed: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) name: String,
    /// An exit status, `signal N` or `late`.
    pub(super) status: String,
    pub(super) printed: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Its group.
    pub(super) of: String,
    pub(super) name: String,
    pub(super) result: Outcome,
    pub(super) milliseconds: u64,
    pub(super) printed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
    Late,
}

impl Outcome {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
            Self::Late => "LATE",
        }
    }

    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Passed | Self::Skipped => false,
            Self::Failed | Self::Late => true,
        }
    }

    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "ok" => Self::Passed,
            "failed" => Self::Failed,
            "skipped" => Self::Skipped,
            "late" => Self::Late,
            _ => return None,
        })
    }
}

impl Report {
    /// Takes in a line. One that is not understood is trouble: something is lost.
    pub(super) fn take(&mut self, line: &str) {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["kernel", release] => self.kernel = (*release).to_owned(),
            ["begun", _] => {}
            ["printed", name, text] => {
                let printed = self.printed.entry((*name).to_owned()).or_default();
                printed.push((*text).to_owned());
            }
            ["ended", name, status, _] => self.commands.push(Ended {
                name: (*name).to_owned(),
                status: (*status).to_owned(),
                printed: self.printed.remove(*name).unwrap_or_default(),
            }),
            ["test", of, name, result, milliseconds] => match Outcome::read(result) {
                Some(result) => self.tests.push(Test {
                    of: (*of).to_owned(),
                    name: (*name).to_owned(),
                    result,
                    milliseconds: milliseconds.parse().unwrap_or_default(),
                    printed: self.printed.remove(*name).unwrap_or_default(),
                }),
                None => self.trouble.push(format!("not understood: {line}")),
            },
            ["trouble", text] => self.trouble.push((*text).to_owned()),
            ["end"] => self.is_complete = true,
            _ => self.trouble.push(format!("not understood: {line}")),
        }
    }

    /// What `waysteer check` says of each program: how many instructions the verifier walked.
    pub(super) fn instructions(&self) -> BTreeMap<String, u32> {
        let counted = |line: &String| {
            let (_, program) = line.split_once("  program ")?;
            let (name, rest) = program.split_once(": ")?;
            let count = rest.strip_suffix(" instructions verified")?.parse().ok()?;
            Some((name.to_owned(), count))
        };
        let check = self.command(CHECK).into_iter();
        let lines = check.flat_map(|check| &check.printed);
        lines.filter_map(counted).collect()
    }

    pub(super) fn command(&self, name: &str) -> Option<&Ended> {
        self.commands.iter().find(|command| command.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        report
    }

    #[test]
    fn a_whole_report_is_read() {
        let report = read(&[
            "kernel\t6.12.1-cloud",
            "begun\tcheck",
            "printed\tcheck\tinfo     kernel: 6.12.1-cloud",
            "printed\tcheck\tok       program connect4: 5735 instructions verified",
            "ended\tcheck\t0\t1200",
            "begun\tredirect::v4",
            "test\tkernel\tredirect::v4\tok\t3400",
            "begun\tredirect::v6",
            "printed\tredirect::v6\tnot within 30s",
            "test\tkernel\tredirect::v6\tlate\t30000",
            "end",
        ]);
        assert!(report.is_complete);
        assert_eq!(report.trouble, Vec::<String>::new());
        assert_eq!(report.kernel, "6.12.1-cloud");
        let check = report.command("check").expect("it was run");
        assert_eq!(check.status, "0");
        assert_eq!(
            report.instructions(),
            BTreeMap::from([("connect4".to_owned(), 5735)])
        );
        let results: Vec<Outcome> = report.tests.iter().map(|test| test.result).collect();
        assert_eq!(results, [Outcome::Passed, Outcome::Late]);
        assert_eq!(report.tests[1].printed, ["not within 30s"]);
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_trouble() {
        let report = read(&[
            "kernel\t6.12.1",
            "test\tkernel\tredirect",
            "test\tk\tt\tfine\t1",
        ]);
        assert!(!report.is_complete);
        assert_eq!(report.trouble.len(), 2, "{:?}", report.trouble);
        assert!(report.tests.is_empty());
    }
}
