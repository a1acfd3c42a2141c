//! Policies, from the mesh file to the verdict: what the tables say of each flow between pods of the
//! node is what the naive evaluator says.

mod scene;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::Reason;

use self::scene::Scene;
pub(super) use self::scene::pool;
use crate::address::to_wire;
use crate::authorize::naive::drawn::Draw;
use crate::compile::{Compiler, EnrolledPod, Node, TableLookup, Tables, compile};
use crate::model::{Mesh, NamespacedName, Policy, Rejection};
use crate::source::file::{FileState, parse_mesh};

fn node() -> Node {
    Node {
        name: "node1".into(),
        direct_local_bypass: true,
        ..Node::default()
    }
}

fn decide(tables: &Tables, netns: u64, to: SocketAddr) -> (Reason, bool) {
    let pod = &tables.pods[&PodKey {
        netns: netns.into(),
    }];
    let flow = Flow {
        pod,
        netns,
        destination: to_wire(to.ip()),
        port: to.port(),
        is_dialling: true,
    };
    let random = || 0;
    let verdict = classify(&flow, &TableLookup { tables, random });
    (verdict.reason, verdict.steer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn flows_get_what_policies_say(seed in any::<u64>()) {
        let draw = &mut Draw::new(seed);
        let scene = Scene::draw(draw);
        let compiled = compile(&scene.mesh(), &node(), &scene.enrolled());
        scene.check(&compiled.tables, &compiled.authorizations, &mut BTreeMap::new())?;
    }

    #[test]
    fn policies_that_change_take_effect(seed in any::<u64>()) {
        let draw = &mut Draw::new(seed);
        let mut scene = Scene::draw(draw);
        let mut compiler = Compiler::new(node());
        for pod in scene.enrolled() {
            compiler.set_pod(pod);
        }
        let mut state = Mesh::default();
        for _ in 0..6 {
            let mesh = scene.mesh();
            compiler.apply(super::history::between(&state, &mesh));
            state = mesh;
            scene.check(compiler.tables(), compiler.authorizations(), &mut BTreeMap::new())?;
            let fresh = compile(&state, &node(), &scene.enrolled());
            prop_assert_eq!(compiler.tables(), &fresh.tables);
            prop_assert_eq!(compiler.authorizations(), &fresh.authorizations);
            scene.draw_policies(draw);
        }
    }
}

/// The tests above would say nothing if all flows were alike.
#[test]
fn all_answers_are_given() {
    let mut seen = BTreeMap::new();
    for seed in 1..60_u64 {
        let scene = Scene::draw(&mut Draw::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let compiled = compile(&scene.mesh(), &node(), &scene.enrolled());
        let checked = scene.check(&compiled.tables, &compiled.authorizations, &mut seen);
        checked.expect("the answers are right");
    }
    let counts: Vec<usize> = seen.values().copied().collect();
    assert!(
        counts.len() == 3 && counts.iter().all(|count| *count > 500),
        "{seen:?}"
    );
}

fn two_pods(policies: &str) -> (Mesh, Vec<EnrolledPod>) {
    let yaml = format!(
        "workloads:\n\
         - {{uid: a, name: a, namespace: shop, node: node1, serviceAccount: web, protocol: HBONE, workloadIps: [10.1.0.1]}}\n\
         - {{uid: b, name: b, namespace: shop, node: node1, serviceAccount: web, protocol: HBONE, workloadIps: [10.1.0.2]}}\n\
         policies:\n{policies}"
    );
    let parsed = parse_mesh(&yaml, "mesh.yaml").expect("it parses");
    let mut mesh = Mesh::default();
    mesh.apply(FileState::default().next(parsed));
    let pods = ["a", "b"]
        .into_iter()
        .zip(1..)
        .map(|(name, number)| EnrolledPod {
            netns: number,
            name: name.into(),
            namespace: "shop".into(),
            service_account: "web".into(),
            addresses: vec![format!("10.1.0.{number}").parse().expect("v4")],
        });
    (mesh, pods.collect())
}

fn reason(mesh: &Mesh, pods: &[EnrolledPod], port: u16) -> Reason {
    let tables = compile(mesh, &node(), pods).tables;
    let to = SocketAddr::new("10.1.0.2".parse().expect("v4"), port);
    decide(&tables, 1, to).0
}

#[test]
fn more_ports_than_an_entry_holds_are_not_evaluated() {
    let allow = |ports: u16| {
        let ports: Vec<String> = (1..=ports).map(|port| port.to_string()).collect();
        let ports = ports.join(", ");
        let (mesh, pods) = two_pods(&format!(
            "- {{name: p, namespace: shop, scope: Namespace, action: Allow, \
             rules: [[[{{destinationPorts: [{ports}]}}]]]}}\n"
        ));
        [1, 26, 27, 80].map(|port| reason(&mesh, &pods, port))
    };
    let (yes, no) = (Reason::LocalBypass, Reason::LocalPolicy);
    assert_eq!(allow(26), [yes, yes, no, no]);
    assert_eq!(allow(27), [Reason::LocalNotEvaluated; 4]);
}

#[test]
fn what_is_not_understood_is_not_evaluated() {
    let deny_nobody = "- {name: p, namespace: shop, scope: Namespace, action: Deny, rules: []}\n";
    let (mut mesh, pods) = two_pods(deny_nobody);
    assert_eq!(reason(&mesh, &pods, 80), Reason::LocalBypass);
    // A port that one cannot connect to has no answer.
    assert_eq!(reason(&mesh, &pods, 0), Reason::LocalPolicy);
    let name = NamespacedName::new("shop", "p");
    let policy = mesh.policies.get_mut(&name).expect("the policy");
    policy.unknown = Some("odd".into());
    assert_eq!(reason(&mesh, &pods, 80), Reason::LocalNotEvaluated);
    // One that is never enforced says nothing, whatever it is.
    let dry = |policy: &mut Policy| policy.dry_run = true;
    mesh.policies.get_mut(&name).map(dry).expect("the policy");
    assert_eq!(reason(&mesh, &pods, 80), Reason::LocalBypass);
    // One that was rejected is one that nobody knows.
    let (mesh, pods) = two_pods("- {name: p, namespace: shop, scope: Namespace, action: Audit}\n");
    assert_eq!(reason(&mesh, &pods, 80), Reason::LocalNotEvaluated);
}

/// It may be another identity of the source, or other policies of the destination.
#[test]
fn what_was_refused_of_either_is_not_evaluated() {
    let deny_nobody = "- {name: p, namespace: shop, scope: Namespace, action: Deny, rules: []}\n";
    let (mesh, pods) = two_pods(deny_nobody);
    let mut compiler = Compiler::new(node());
    for pod in &pods {
        compiler.set_pod(pod.clone());
    }
    let mut state = Mesh::default();
    for (rejected, doubted, expected) in [
        (None, None, Reason::LocalBypass),
        (Some("10.1.0.1"), None, Reason::LocalNotEvaluated),
        (None, Some("10.1.0.1"), Reason::LocalNotEvaluated),
        (None, None, Reason::LocalBypass),
        (Some("10.1.0.2"), None, Reason::LocalNotEvaluated),
        (None, Some("10.1.0.2"), Reason::LocalNotEvaluated),
        (Some("10.1.0.3"), Some("10.1.0.4"), Reason::LocalBypass),
    ] {
        let mut mesh = mesh.clone();
        let address = |text: &str| text.parse().expect("v4");
        let rejection = rejected.map(|text| Rejection {
            entry: "another".into(),
            error: "it is broken".into(),
            addresses: vec![address(text)],
            addresses_unknown: false,
        });
        mesh.rejected = rejection
            .map(|r| (r.entry.clone(), r))
            .into_iter()
            .collect();
        mesh.doubted = doubted.map(address).into_iter().collect();
        assert_eq!(
            reason(&mesh, &pods, 80),
            expected,
            "{rejected:?} {doubted:?}"
        );
        compiler.apply(super::history::between(&state, &mesh));
        assert_eq!(compiler.tables(), &compile(&mesh, &node(), &pods).tables);
        state = mesh;
    }
}

/// Nothing of other nodes is looked at, and nothing that cannot be bypassed to.
#[test]
fn only_neighbours_cost_anything() {
    let policy = "- {name: p, namespace: shop, scope: Global, action: Deny, rules: []}\n";
    let (mesh, pods) = two_pods(policy);
    let entries = |mesh: &Mesh, node: &Node| compile(mesh, node, &pods).tables.policies.len();
    // Two pods, one set.
    assert_eq!(entries(&mesh, &node()), 2);
    let tunnel = Node {
        direct_local_bypass: false,
        ..node()
    };
    assert_eq!(entries(&mesh, &tunnel), 0);
    let mut elsewhere = mesh;
    for workload in elsewhere.workloads.values_mut() {
        workload.node = "node2".into();
    }
    assert_eq!(entries(&elsewhere, &node()), 0);
}

#[test]
fn what_newly_forbids_is_told_apart() {
    let allow = "- {name: p, namespace: shop, scope: Namespace, action: Allow, rules: [[]]}\n";
    let (open, pods) = two_pods(allow);
    let (shut, _) = two_pods(&allow.replace("[[]]", "[]"));
    let (none, _) = two_pods("");
    let mut compiler = Compiler::new(node());
    for pod in &pods {
        compiler.set_pod(pod.clone());
    }
    let mut step = |mesh: &Mesh, old: &Mesh| {
        compiler.apply(super::history::between(old, mesh));
        let changes = compiler.take_changes();
        assert!(!changes.is_empty());
        changes.policies_change
    };
    assert!(!step(&none, &Mesh::default()), "new pods");
    assert!(step(&open, &none), "a policy where there was none");
    assert!(step(&shut, &open), "it forbids");
    assert!(!step(&none, &shut), "it is gone");
}
