//! `apply(next(a → b)) == fresh(b)` for valid files, and no panic for any.

use std::fmt::Write;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// A workload by number: its address is its own, so that files are valid.
fn write_workload(text: &mut String, id: u8, [a, b, c]: [u8; 3]) {
    let protocol = ["HBONE", "TCP", "QUIC"][usize::from(a % 3)];
    let _written = writeln!(
        text,
        "- {{uid: w{id}, name: w{id}, namespace: n{}, workloadIps: [10.0.0.{id}, \"fd00::{id}\"], \
         protocol: {protocol}, capacity: {b}, services: {{n0/s{}: {{80: {}}}}}}}",
        a % 2,
        b % 8,
        u16::from(c) + 1,
    );
}

fn write_service(text: &mut String, id: u8, [a, b, c]: [u8; 3]) {
    let _written = writeln!(
        text,
        "- {{name: s{id}, namespace: n0, hostname: s{id}, vips: [/10.1.0.{id}], ports: {{80: {a}}}, \
         canonical: {}, waypoint: {{destination: n0/s{}, hboneMtlsPort: {}}}}}",
        b % 2 == 0,
        b % 8,
        u16::from(c) + 1,
    );
}

fn write_policy(text: &mut String, id: u8, [a, ..]: [u8; 3]) {
    let scope = ["Global", "Namespace", "WorkloadSelector"][usize::from(a % 3)];
    let _written = writeln!(
        text,
        "- {{name: p{id}, namespace: n0, scope: {scope}, action: Deny, rules: []}}"
    );
}

fn file() -> impl Strategy<Value = String> {
    let entries = || btree_map(1..9_u8, any::<[u8; 3]>(), 0..8);
    (entries(), entries(), entries()).prop_map(|(workloads, services, policies)| {
        let mut text = String::from("workloads:\n");
        for (id, seed) in workloads {
            write_workload(&mut text, id, seed);
        }
        text += "services:\n";
        for (id, seed) in services {
            write_service(&mut text, id, seed);
        }
        text += "policies:\n";
        for (id, seed) in policies {
            write_policy(&mut text, id, seed);
        }
        text
    })
}

fn fresh(text: &str) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.apply(FileState::default().next(parse(text)));
    mesh
}

proptest! {
    #[test]
    fn deltas_lead_to_what_the_file_says(files in vec(file(), 1..6)) {
        let (mut mesh, mut state) = (Mesh::default(), FileState::default());
        for text in files {
            prop_assert_eq!(errors(&parse(&text)), Vec::<String>::new());
            apply(&mut mesh, &mut state, &text);
            prop_assert_eq!(&mesh, &fresh(&text));
            let again = apply(&mut mesh, &mut state, &text);
            prop_assert!(again.workloads.is_empty() && again.removed_workloads.is_empty());
            prop_assert!(again.services.is_empty() && again.removed_services.is_empty());
            prop_assert!(again.policies.is_empty() && again.removed_policies.is_empty());
        }
    }

    /// A file with some bytes replaced: whatever it says then, nothing that stays in it as it was
    /// gets lost without a word, and nothing panics.
    #[test]
    fn damage_is_reported(
        text in file(),
        damage in vec((any::<prop::sample::Index>(), "[ -~\n]{0,3}"), 1..5),
    ) {
        let (mut mesh, mut state) = (Mesh::default(), FileState::default());
        apply(&mut mesh, &mut state, &text);
        let mut damaged = text.clone();
        for (at, with) in damage {
            let at = at.index(damaged.len());
            damaged.replace_range(at..=at, &with);
        }
        let Ok(parsed) = parse_mesh(&damaged, "mesh.yaml") else {
            return Ok(());
        };
        let is_clean = parsed.rejected.is_empty();
        let has_errors = parsed.diagnostics.iter().any(|found| found.severity == Severity::Error);
        prop_assert_eq!(is_clean, !has_errors);
        mesh.apply(state.next(parsed));
        if is_clean {
            prop_assert_eq!(&mesh, &fresh(&damaged));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9 :{}\\[\\],&*!?|>\"'\n#-]{0,200}") {
        let _parsed = parse_mesh(&text, "mesh.yaml");
        let _parsed = parse_mesh(&format!("workloads:\n- {text}"), "mesh.yaml");
        let _parsed = parse_pods(&text, "pods.yaml");
    }
}
