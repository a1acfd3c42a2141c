//! `docs/kernels.md`: what was seen on which kernel, from the reports of one run.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::plan::{CHECK, GROUPS, Group, RUN};
use super::release::Release;
use super::report::{Outcome, Report, Test};
use super::verdict;
use crate::budget::Budget;

const HEAD: &str = "\
# Kernels

<!-- Written by `cargo xtask vm --write`. -->

Kernels of Debian as they are, each booted in an emulated machine (QEMU without KVM, one processor, no
network) by `cargo xtask vm`, with the tests that a kernel can make a difference to: so many of them
passed. All other tests run on the kernel of whoever develops. On arm64 these are the agent and the tests
built for it, and the object of the programs that x86_64 loads.

";

const TAIL: &str = "
## What is not shown here

- Linux 6.6, the oldest that is promised, is not among Debian's kernels. What decides is not the
  number: `waysteer check` and `waysteer run` ask for tcx links before anything else.
- arm64 that is not emulated: several processors with their weaker order of memory, pages of more than
  4 KiB, and all tests but these.
- Programs of others at the cgroup's hooks: before 6.17 a kernel does not put ours before theirs. The agent
  warns of it, `waysteer_hooks_shadowed` counts it, and `waysteer check` names them.
- Speed, and what depends on it: an emulated machine is an order of magnitude slower.
";

/// The page for these kernels, each with its report.
pub(super) fn write(runs: &[(Release, Report)], budget: &Budget) -> String {
    let mut page = HEAD.to_owned();
    let names = runs.iter().map(|(release, _)| release.name().to_owned());
    row(&mut page, &["".to_owned(), "shows".to_owned()], names);
    rule(&mut page, runs.len() + 2);
    for (command, what) in [
        (CHECK, "all that is needed is there, or is named"),
        (RUN, "the agent refuses to start, and says what it needs"),
    ] {
        let title = [format!("`waysteer {command}`"), what.to_owned()];
        let cells = runs
            .iter()
            .map(|(release, report)| told(release, report, command));
        row(&mut page, &title, cells);
    }
    for group in &GROUPS {
        let title = [group.name.to_owned(), group.what.to_owned()];
        row(
            &mut page,
            &title,
            runs.iter().map(|(_, report)| passed(report, group)),
        );
    }
    page += &failures(runs);
    page += "\n## Verified instructions\n\nWhat the verifier walked for each program, and the most that \
             `tests/budget.toml` allows.\n\n";
    let supported: Vec<&(Release, Report)> = runs
        .iter()
        .filter(|(release, _)| !release.is_too_old())
        .collect();
    let names = supported
        .iter()
        .map(|(release, _)| release.name().to_owned());
    row(&mut page, &["program".to_owned(), "most".to_owned()], names);
    rule(&mut page, supported.len() + 2);
    let counts: Vec<_> = supported
        .iter()
        .map(|(_, report)| report.instructions())
        .collect();
    let programs: BTreeSet<&String> = counts.iter().flat_map(|counts| counts.keys()).collect();
    let number =
        |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for program in programs {
        let title = [format!("`{program}`"), number(budget.limit(program))];
        row(
            &mut page,
            &title,
            counts
                .iter()
                .map(|counts| number(counts.get(program).copied())),
        );
    }
    page + TAIL
}

fn row(page: &mut String, title: &[String], cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = title.iter().cloned().chain(cells).collect();
    writeln!(page, "| {} |", cells.join(" | ")).expect("a String takes every write");
}

fn rule(page: &mut String, columns: usize) {
    writeln!(page, "|{}", "---|".repeat(columns)).expect("a String takes every write");
}

fn told(release: &Release, report: &Report, command: &str) -> String {
    if report.command(command).is_none() {
        return "-".to_owned();
    }
    let expected = if release.is_too_old() {
        "refuses"
    } else {
        "ok"
    };
    match verdict::of_command(release, report, command) {
        None => expected.to_owned(),
        Some(problem) => format!("**{problem}**"),
    }
}

fn passed(report: &Report, group: &Group) -> String {
    let of_group = report.tests.iter().filter(|test| is_of(group, test));
    let results: Vec<Outcome> = of_group.map(|test| test.result).collect();
    let count = |outcome| results.iter().filter(|result| **result == outcome).count();
    match (count(Outcome::Passed), results.len()) {
        (_, 0) => "-".to_owned(),
        (passed, all) if passed == all => passed.to_string(),
        (passed, all) => format!("{passed} of {all}"),
    }
}

fn is_of(group: &Group, test: &Test) -> bool {
    test.of == group.name && group.has(&test.name)
}

fn failures(runs: &[(Release, Report)]) -> String {
    let mut text = String::new();
    for (release, report) in runs {
        if !report.is_complete {
            writeln!(
                text,
                "- {}: broken off, what it did not come to is missing",
                release.name()
            )
            .expect("a String takes every write");
        }
        let not_passed = report
            .tests
            .iter()
            .filter(|test| test.result != Outcome::Passed)
            .filter(|test| GROUPS.iter().any(|group| is_of(group, test)));
        for test in not_passed {
            let (of, name, result) = (&test.of, &test.name, test.result.label());
            writeln!(text, "- {}: {of}, `{name}`: {result}", release.name())
                .expect("a String takes every write");
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\nNot passed:\n\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        report
    }

    #[test]
    fn a_page_has_a_column_for_each_kernel() -> anyhow::Result<()> {
        let old = report(&[
            "kernel\t6.1.0-50-cloud-amd64",
            "printed\tcheck\tmissing  tcx links (Linux 6.6): no; to do: Linux 6.6 or newer",
            "ended\tcheck\t1\t1",
            "printed\trun\terror: use Linux 6.6 or newer",
            "ended\trun\t1\t1",
            "end",
        ]);
        let new = report(&[
            "kernel\t6.12.1-cloud-amd64",
            "printed\tcheck\tok       program connect4: 5735 instructions verified",
            "ended\tcheck\t0\t1",
            "test\tredirect\tredirect::v4\tok\t1",
            "test\tredirect\tredirect::v6\tskipped\t1",
            "test\tlinks\tlinks::first\tok\t1",
        ]);
        let runs = [
            (Release::new("6.1.0-50-cloud-amd64"), old),
            (Release::new("6.12.1-cloud-amd64"), new),
        ];
        let page = write(&runs, &Budget::parse("[programs]\nconnect4 = 6500\n")?);
        for line in [
            "|  | shows | 6.1.0-50-cloud-amd64 | 6.12.1-cloud-amd64 |",
            "| `waysteer check` | all that is needed is there, or is named | refuses | ok |",
            "| `waysteer run` | the agent refuses to start, and says what it needs | refuses | - |",
            "- 6.12.1-cloud-amd64: broken off, what it did not come to is missing",
            "- 6.12.1-cloud-amd64: redirect, `redirect::v6`: skipped",
            "| program | most | 6.12.1-cloud-amd64 |",
            "| `connect4` | 6500 | 5735 |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let cells = |name: &str| {
            let row = page.lines().find(|line| line.starts_with(name));
            row.unwrap_or_default()
                .rsplit(" | ")
                .take(2)
                .collect::<Vec<_>>()
        };
        assert_eq!(cells("| redirect |"), ["1 of 2 |", "-"]);
        assert_eq!(cells("| links |"), ["1 |", "-"]);
        Ok(())
    }
}
