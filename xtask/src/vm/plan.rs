//! What is run in a machine. The form is described in `tests/src/bin/init/main.rs`.

use super::payload::PROGRAMS;
use super::release::Release;

/// What the bed of the tests is made of, and what some of the tests put beside it.
pub(super) const MODULES: [&str; 8] = [
    "veth",
    "bridge",
    "dummy",
    "vrf",
    "sch_ingress",
    "cls_bpf",
    "tcp_diag",
    "af_packet_diag",
];

/// `waysteer check`.
pub(super) const CHECK: &str = "check";
/// `waysteer run`, where it must refuse.
pub(super) const RUN: &str = "run";

/// Tests that a kernel can make a difference to, and that an emulated machine does in minutes.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// What they show, for the page.
    pub(super) what: &'static str,
    binary: &'static str,
    /// Of their names; those behind a `-` are left out.
    prefixes: &'static [&'static str],
}

pub(super) const GROUPS: [Group; 9] = [
    Group {
        name: "load",
        what: "every program is loaded and attached; flows are steered, passed, held and explained",
        binary: "kernel_side",
        prefixes: &["a_", "every_", "flows"],
    },
    Group {
        name: "capture",
        what: "rules, routes and parameters of a pod, and what breaks them",
        binary: "kernel_side",
        prefixes: &["capture", "inspect", "watch"],
    },
    Group {
        name: "links",
        what: "links and pins: order, exchange in place, what outlives the process",
        binary: "kernel_side",
        prefixes: &["links", "order", "pins"],
    },
    Group {
        name: "maps",
        what: "every table written, full, and put right",
        binary: "kernel_side",
        prefixes: &["maps", "map_drift::a_pod", "map_drift::every"],
    },
    Group {
        name: "prog_run",
        what: "the packet programs and the classifier by test run, the latter against the host's",
        binary: "kernel",
        prefixes: &[
            "prog_run",
            "-prog_run::many",
            "-prog_run::policies",
            "-prog_run::random",
        ],
    },
    Group {
        name: "redirect",
        what: "connections of every class between pods, v4 and v6, and what is on the wires",
        binary: "kernel",
        prefixes: &["redirect"],
    },
    Group {
        name: "sockets",
        what: "io_uring, MPTCP, Fast Open, SYN cookies, sockets used again, and without their mark",
        binary: "kernel",
        prefixes: &[
            "senders::io_uring",
            "senders::kinds::fast_open",
            "senders::kinds::a_socket_that",
            "senders::kinds::multipath",
            "senders::socket_options::a_socket_that",
            "senders::socket_options::answers",
            "streams::cookies::outbound",
        ],
    },
    Group {
        name: "others",
        what: "packet programs and filters of others at the same hooks",
        binary: "kernel",
        prefixes: &["sharing::packets", "-sharing::packets::who_insists"],
    },
    Group {
        name: "life-cycle",
        what: "crashes, upgrades and drift",
        binary: "kernel",
        prefixes: &[
            "adoption::crash::every_step",
            "adoption::generations::other_code",
            "drift::rules::rules",
        ],
    },
];

/// By how much the deadlines of tests are longer than on a machine of one's own.
const PATIENCE: u32 = 6;
const COMMAND_SECONDS: u32 = 120;
const TEST_SECONDS: u32 = 400;

/// The lines of the plan for a kernel; `only` begins the name of a group or of the tests that are
/// wanted.
pub(super) fn steps(release: &Release, only: Option<&str>) -> String {
    let mut lines = vec![
        set("PATH", PROGRAMS),
        set("WAYSTEER_BIN_DIR", PROGRAMS),
        set("WAYSTEER_PATIENCE", &PATIENCE.to_string()),
        set("RUST_BACKTRACE", "0"),
        set("HOME", "/tmp"),
        command(CHECK, "waysteer check"),
    ];
    if release.is_too_old() {
        lines.push(command(
            RUN,
            "waysteer run --node here --source-mesh /tmp/mesh.yaml --source-pods /tmp/pods.yaml",
        ));
    } else {
        lines.extend(GROUPS.iter().filter_map(|group| group.step(only)));
    }
    lines.join("\n") + "\n"
}

impl Group {
    /// Whether a test of that name is one of it: a report may be older than the plan.
    pub(super) fn has(&self, test: &str) -> bool {
        let begins = |prefix: &str| test.starts_with(prefix);
        let mut unwanted = self
            .prefixes
            .iter()
            .filter_map(|prefix| prefix.strip_prefix('-'));
        let is_unwanted = unwanted.any(begins);
        !is_unwanted && self.prefixes.iter().any(|prefix| begins(prefix))
    }

    fn step(&self, only: Option<&str>) -> Option<String> {
        let prefixes = match only {
            Some(only) if !self.name.starts_with(only) => {
                // Prefixes of what is wanted choose it, and so does what begins with one.
                let chosen = self.prefixes.iter().copied();
                let mut chosen = chosen.filter(|prefix| only.starts_with(prefix));
                chosen.next().map(|_| only.to_owned())?
            }
            Some(_) | None => self.prefixes.join("\t"),
        };
        let Self { name, binary, .. } = self;
        Some(format!(
            "tests\t{name}\t{TEST_SECONDS}\t{PROGRAMS}/{binary}\t{prefixes}"
        ))
    }
}

fn set(name: &str, value: &str) -> String {
    format!("set\t{name}\t{value}")
}

fn command(name: &str, line: &str) -> String {
    let words = line.split(' ').collect::<Vec<_>>().join("\t");
    format!("command\t{name}\t{COMMAND_SECONDS}\t{PROGRAMS}/{words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests_in(plan: &str) -> Vec<&str> {
        plan.lines()
            .filter(|line| line.starts_with("tests\t"))
            .collect()
    }

    #[test]
    fn an_old_kernel_gets_no_tests_but_a_start() {
        let plan = steps(&Release::new("6.1.0-50-cloud-amd64"), None);
        assert!(tests_in(&plan).is_empty());
        assert!(plan.contains("command\trun\t120\t/bin/waysteer\trun\t--node"));
    }

    #[test]
    fn a_group_knows_its_tests() {
        let [.., prog_run, _, _, _, _] = &GROUPS;
        assert_eq!(prog_run.name, "prog_run");
        assert!(prog_run.has("prog_run::agreement::every_row_of_the_table"));
        assert!(!prog_run.has("prog_run::random::kernel_and_host_agree_on_any_mesh"));
        assert!(!prog_run.has("redirect::classes::v4"));
    }

    #[test]
    fn a_group_or_a_test_may_be_chosen() {
        let release = Release::new("6.12.1-cloud-amd64");
        assert_eq!(tests_in(&steps(&release, None)).len(), GROUPS.len());
        let plan = steps(&release, Some("redirect"));
        assert_eq!(
            tests_in(&plan),
            ["tests\tredirect\t400\t/bin/kernel\tredirect"]
        );
        let plan = steps(&release, Some("sharing::packets"));
        assert_eq!(
            tests_in(&plan),
            ["tests\tothers\t400\t/bin/kernel\tsharing::packets"]
        );
    }
}
