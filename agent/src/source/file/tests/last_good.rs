//! What stays when a file gets worse.

use super::*;
use crate::model::{PolicyScope, Rejection};

const GOOD: &str = "
workloads:
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.1], services: {n/h: {}}}
- {uid: b, name: b, namespace: n, workloadIps: [10.0.0.2]}
services:
- {name: s, namespace: n, hostname: h, vips: [/10.1.0.1, /10.2.0.0/16]}
policies:
- {name: p, namespace: n, scope: WorkloadSelector, action: Allow, rules: []}
";

fn rejected(mesh: &Mesh) -> Vec<&Rejection> {
    mesh.rejected.values().collect()
}

fn addresses(rejection: &Rejection) -> Vec<String> {
    rejection
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_first_delta_is_complete_even_if_empty() {
    let mut state = FileState::default();
    assert!(state.next(parse("{}")).complete);
    assert!(state.next(parse("workloads: [1]")).complete);
}

#[test]
fn a_rejected_entry_keeps_its_last_good_version() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(&mut mesh, &mut state, GOOD);
    let before = mesh.clone();
    let bad = GOOD
        .replace("10.0.0.1]", "10.0.0.999]")
        .replace("/10.1.0.1,", "10.1.0.1,")
        .replace("scope: WorkloadSelector", "scope: All");
    assert_eq!(parse(&bad).rejected.len(), 3);
    let delta = apply(&mut mesh, &mut state, &bad);
    assert_eq!(mesh, before);
    assert_eq!(
        delta.workloads.len() + delta.services.len() + delta.policies.len(),
        0
    );
    // And it is still there the next time.
    apply(&mut mesh, &mut state, &bad);
    assert_eq!(mesh, before);
}

#[test]
fn an_entry_that_is_gone_is_removed() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(&mut mesh, &mut state, GOOD);
    let delta = apply(&mut mesh, &mut state, "{}");
    assert_eq!(delta.removed_workloads, [uid("a"), uid("b")]);
    assert_eq!(delta.removed_services, [name("n/h")]);
    assert_eq!(delta.removed_policies, [name("n/p")]);
    assert_eq!(
        mesh,
        Mesh {
            complete: true,
            ..Mesh::default()
        }
    );
}

#[test]
fn without_a_last_good_version_there_is_a_rejection() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(
        &mut mesh,
        &mut state,
        "
workloads:
- {uid: a, namespace: n, workloadIps: [10.0.0.1, x, 10.0.0.3], services: {n/h: {}}}
- {uid: b, namespace: n, workloadIps: [10.0.0.4], capacity: x, networkMode: HostNetwork}
- {uid: c, namespace: n, workloadIps: [10.0.0.5], capacity: x}
services:
- {name: s, namespace: n, hostname: h, vips: [/10.1.0.1]}
- {name: t, namespace: n, hostname: t, vips: [/10.1.0.2], colour: x}
- {name: u, namespace: n, hostname: u, vips: [/10.1.0.3, /10.2.0.0/16], colour: x}
",
    );
    let seen: Vec<_> = rejected(&mesh)
        .into_iter()
        .map(|r| {
            (
                r.entry.as_str(),
                addresses(r).join(" "),
                r.addresses_unknown,
            )
        })
        .collect();
    let expected = [
        ("service n/t", "10.1.0.2", false),
        // A block has too many addresses to name.
        ("service n/u", "10.1.0.3", true),
        // A client may reach it by the address of the service as well.
        ("workload a", "10.0.0.1 10.0.0.3 10.1.0.1", true),
        // The node's address is not the workload's.
        ("workload b", "", false),
        ("workload c", "10.0.0.5", false),
    ];
    assert_eq!(
        seen,
        expected.map(|(entry, list, unknown)| (entry, list.to_owned(), unknown))
    );
    // When it is repaired the rejection is gone.
    apply(&mut mesh, &mut state, GOOD);
    assert_eq!(rejected(&mesh).len(), 0);
}

#[test]
fn what_the_file_says_now_wins_over_what_it_said() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(&mut mesh, &mut state, GOOD);
    // a is broken, and b has its address now.
    let text = "
workloads:
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.9], capacity: x}
- {uid: b, name: b, namespace: n, workloadIps: [10.0.0.1]}
";
    let delta = apply(&mut mesh, &mut state, text);
    assert_eq!(delta.removed_workloads, [uid("a")]);
    let b = mesh.workloads.get(&uid("b")).unwrap();
    assert_eq!(
        b.addresses,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    let [a] = rejected(&mesh).try_into().unwrap();
    let a: &Rejection = a;
    assert_eq!(addresses(a), ["10.0.0.1", "10.0.0.9"]);
    assert_eq!(
        a.error,
        "mesh.yaml:3: capacity: \"x\" is not a whole number from 0 to 4294967295; its last good \
         version is dropped: /10.0.0.1 belongs to workload n/b (b) now"
    );
}

#[test]
fn a_policy_that_cannot_be_read_applies_all_the_same() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    let with = |scope: &str| {
        format!("policies:\n- {{name: p, namespace: n, scope: {scope}, action: Audit}}\n")
    };
    let scope = |mesh: &Mesh| mesh.policies.get(&name("n/p")).map(|p| p.scope);
    apply(&mut mesh, &mut state, &with("Namespace"));
    assert_eq!(scope(&mesh), Some(PolicyScope::Namespace));
    // What was assumed is not a last good version.
    apply(&mut mesh, &mut state, &with("Galaxy"));
    assert_eq!(scope(&mesh), Some(PolicyScope::Global));
    assert_eq!(rejected(&mesh).len(), 1);
    // Without a name, workloads cannot select it.
    apply(
        &mut mesh,
        &mut state,
        "policies:\n- {scope: WorkloadSelector}\n",
    );
    let scopes: Vec<_> = mesh.policies.values().map(|p| p.scope).collect();
    assert_eq!(scopes, [PolicyScope::Global]);
    apply(&mut mesh, &mut state, "{}");
    assert_eq!(mesh.policies.len(), 0);
}

#[test]
fn a_second_policy_of_one_name_does_not_replace_the_first() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(
        &mut mesh,
        &mut state,
        "
policies:
- {name: p, namespace: n, scope: Namespace, action: Deny}
- {name: p, namespace: n, scope: WorkloadSelector, action: Deny}
",
    );
    let seen: Vec<_> = mesh
        .policies
        .values()
        .map(|p| (&*p.name.name, p.scope))
        .collect();
    let assumed = ("policy n/p at line 4", PolicyScope::Global);
    assert_eq!(seen, [("p", PolicyScope::Namespace), assumed]);
}

#[test]
fn addresses_that_the_last_good_version_had_not_are_remembered() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(&mut mesh, &mut state, GOOD);
    let bad = GOOD.replace("[10.0.0.1]", "[10.0.0.1, 10.0.0.7], capacity: x");
    apply(&mut mesh, &mut state, &bad);
    let [a] = <[&Rejection; 1]>::try_from(rejected(&mesh)).unwrap();
    assert_eq!(addresses(a), ["10.0.0.7"]);
    assert!(!a.addresses_unknown);
    let a = mesh.workloads.get(&uid("a")).unwrap();
    assert_eq!(
        a.addresses,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn rejections_of_one_name_are_one() {
    let (mut mesh, mut state) = (Mesh::default(), FileState::default());
    apply(
        &mut mesh,
        &mut state,
        "
workloads:
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.1]}
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.2]}
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.3]}
",
    );
    let [rejection] = <[&Rejection; 1]>::try_from(rejected(&mesh)).unwrap();
    assert_eq!(addresses(rejection), ["10.0.0.2", "10.0.0.3"]);
}
