//! The kernel's programs, a row each.

use super::table::{BAD, Cell, fitted};
use super::wrap::hanging;
use crate::kernel::programs::ProgramReport;

pub(super) fn programs(programs: &[ProgramReport], width: Option<usize>) -> String {
    let headers = [
        "PROGRAM",
        "ABI",
        "ID",
        "AT",
        "LINKS",
        "INSTRUCTIONS",
        "RUNS",
        "EACH",
    ];
    let mut text = fitted(width, &headers, programs.iter().map(row).collect());
    if programs.iter().all(|program| program.runs == 0) {
        let when = "runs are counted while the sysctl kernel.bpf_stats_enabled is 1";
        text.push_str(&hanging(when, width, 0));
    }
    text
}

fn row(program: &ProgramReport) -> Vec<Cell> {
    let links = match program.detached {
        0 => program.links.to_string().into(),
        detached => Cell::from(format!("{}, {detached} detached", program.links)).styled(BAD),
    };
    let instructions = program.instructions.map(|count| count.to_string());
    let (runs, each) = match program.nanoseconds.checked_div(program.runs) {
        Some(each) => (program.runs.to_string(), format!("{each} ns")),
        None => (String::new(), String::new()),
    };
    vec![
        program.name.as_str().into(),
        program.abi.to_string().into(),
        program.id.to_string().into(),
        program.at.as_str().into(),
        links,
        instructions.unwrap_or_default().into(),
        runs.into(),
        each.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(runs: u64, detached: usize) -> ProgramReport {
        ProgramReport {
            name: "connect4".to_owned(),
            id: 12,
            abi: 1,
            at: "cgroup".to_owned(),
            links: 1,
            detached,
            instructions: Some(5150),
            runs,
            nanoseconds: runs * 250,
            ..ProgramReport::default()
        }
    }

    #[test]
    fn what_was_not_counted_is_not_told_as_nothing() {
        let plain =
            |all: &[ProgramReport]| anstream::adapter::strip_str(&programs(all, None)).to_string();
        assert_eq!(
            plain(&[program(4, 0)]),
            "PROGRAM   ABI  ID  AT      LINKS  INSTRUCTIONS  RUNS  EACH\n\
             connect4  1    12  cgroup  1      5150          4     250 ns\n"
        );
        let text = plain(&[program(0, 2)]);
        assert!(
            text.contains("1, 2 detached  5150          -     -\n"),
            "{text}"
        );
        assert!(text.contains("bpf_stats_enabled"), "{text}");
    }
}
