//! What of a report is not as it should be.

use super::plan::{CHECK, RUN};
use super::release::Release;
use super::report::Report;
use crate::budget::Budget;

/// What an operator must be told on a kernel that is too old.
const REMEDY: &str = "Linux 6.6 or newer";

pub(super) fn problems(release: &Release, report: &Report, budget: &Budget) -> Vec<String> {
    let mut problems = report.trouble.clone();
    if !report.is_complete {
        problems.push("the machine did not come to its end".to_owned());
    }
    if report.kernel != release.name() {
        problems.push(format!("it says that it is {:?}", report.kernel));
    }
    problems.extend(of_command(release, report, CHECK));
    if release.is_too_old() {
        problems.extend(of_command(release, report, RUN));
    } else {
        let checked = budget.check(&report.instructions());
        problems.extend(checked.err().map(|error| error.to_string()));
        if report.tests.is_empty() {
            problems.push("no test was run".to_owned());
        }
    }
    let failed = report.tests.iter().filter(|test| test.result.is_failure());
    let told = failed.map(|test| format!("{}, {}: {}", test.of, test.name, test.result.label()));
    problems.extend(told);
    problems
}

/// A command must work, and on a kernel that is too old it must fail and say what is missing.
pub(super) fn of_command(release: &Release, report: &Report, name: &str) -> Option<String> {
    let Some(command) = report.command(name) else {
        return Some(format!("waysteer {name} was not run"));
    };
    let expected = if release.is_too_old() { "1" } else { "0" };
    if command.status != expected {
        let status = &command.status;
        return Some(format!(
            "waysteer {name} ended with {status}, not {expected}"
        ));
    }
    let says = command.printed.iter().any(|line| line.contains(REMEDY));
    (release.is_too_old() && !says).then(|| format!("waysteer {name} does not say {REMEDY:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(kernel: &str, lines: &[&str]) -> Vec<String> {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        let budget = Budget::parse("[programs]\nconnect4 = 6000\n").expect("a budget");
        problems(&Release::new(kernel), &report, &budget)
    }

    #[test]
    fn an_old_kernel_must_be_refused_in_words() {
        let refused = [
            "kernel\t6.1.0",
            "printed\tcheck\tto do: Linux 6.6 or newer",
            "ended\tcheck\t1\t1",
            "printed\trun\tto do: Linux 6.6 or newer",
            "ended\trun\t1\t1",
            "end",
        ];
        assert_eq!(problems_of("6.1.0", &refused), Vec::<String>::new());
        let accepted = [
            "kernel\t6.1.0",
            "ended\tcheck\t0\t1",
            "ended\trun\t1\t1",
            "end",
        ];
        assert_eq!(
            problems_of("6.1.0", &accepted),
            [
                "waysteer check ended with 0, not 1",
                "waysteer run does not say \"Linux 6.6 or newer\""
            ]
        );
    }

    #[test]
    fn a_failed_test_too_many_instructions_and_an_early_end_are_problems() {
        let lines = [
            "kernel\t6.12.1",
            "printed\tcheck\tok       program connect4: 6001 instructions verified",
            "ended\tcheck\t0\t1",
            "test\tredirect\tredirect::v4\tfailed\t1",
        ];
        assert_eq!(
            problems_of("6.12.1", &lines),
            [
                "the machine did not come to its end",
                "verified instructions, by tests/budget.toml: connect4 has 6001 of 6000",
                "redirect, redirect::v4: FAILED",
            ]
        );
    }
}
