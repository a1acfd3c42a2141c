//! `waysteer check`: a line each.

use super::table::{BAD, Cell, GOOD, NOTICE};
use crate::kernel::features::{Finding, Outcome};

/// What was found; what is wider than the terminal goes on below its line.
pub fn findings(findings: &[Finding], width: Option<usize>) -> String {
    findings
        .iter()
        .map(|finding| line(finding, width))
        .collect()
}

fn line(finding: &Finding, width: Option<usize>) -> String {
    let Finding {
        what,
        outcome,
        remedy,
    } = finding;
    let (verdict, style, why) = match outcome {
        Outcome::Works { detail } => ("ok     ", GOOD, detail),
        Outcome::Information { detail } if remedy.is_some() => ("info   ", NOTICE, detail),
        Outcome::Information { detail } => ("info   ", GOOD, detail),
        Outcome::Fails { reason } => ("missing", BAD, reason),
    };
    let remedy = remedy.map_or_else(String::new, |remedy| format!("; to do: {remedy}"));
    let text = Cell::from(format!("{what}: {why}{remedy}"));
    let text = text.wrapped(width, verdict.len() + 2);
    format!("{style}{verdict}{style:#}  {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: Option<usize>) -> String {
        let works = Outcome::Works {
            detail: "on a bpf file system".to_owned(),
        };
        let normal = Outcome::Information {
            detail:
                "/sys/kernel/rcu_normal is 1: the kernel expedites nothing: pods take longer to be \
                     enrolled"
                    .to_owned(),
        };
        let fails = Outcome::Fails {
            reason: "needed for entering pods' network namespaces, loading programs and maps"
                .to_owned(),
        };
        let mut normal = Finding::new("grace periods", normal);
        normal.remedy = Some("leave rcu_normal at 0; or set expedite_rcu = false");
        let all = [
            Finding::new("pins", works),
            normal,
            Finding::new("CAP_SYS_ADMIN", fails).or("run as root"),
        ];
        anstream::adapter::strip_str(&findings(&all, width)).to_string()
    }

    #[test]
    fn at_80_columns() {
        let expected = "\
ok       pins: on a bpf file system
info     grace periods: /sys/kernel/rcu_normal is 1: the kernel expedites
         nothing: pods take longer to be enrolled; to do: leave rcu_normal at 0;
         or set expedite_rcu = false
missing  CAP_SYS_ADMIN: needed for entering pods' network namespaces, loading
         programs and maps; to do: run as root
";
        assert_eq!(plain(Some(80)), expected);
    }

    #[test]
    fn at_200_columns_and_where_nobody_counts_them() {
        let expected = "\
ok       pins: on a bpf file system
info     grace periods: /sys/kernel/rcu_normal is 1: the kernel expedites nothing: pods take longer to be enrolled; to do: leave rcu_normal at 0; or set expedite_rcu = false
missing  CAP_SYS_ADMIN: needed for entering pods' network namespaces, loading programs and maps; to do: run as root
";
        assert_eq!(plain(Some(200)), expected);
        assert_eq!(plain(None), expected);
    }
}
