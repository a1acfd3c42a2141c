//! The case table, from the mesh file to the verdict, on the host.

use std::cell::Cell;
use std::net::SocketAddr;

use proptest::prelude::*;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::{Class, Reason, Verdict};

use super::{Changes, Compiled, EnrolledPod, Node, TableLookup, Tables, compile};
use crate::address::{socket_from_wire, to_wire};
use crate::model::{Mesh, PolicyAction, PolicyScope};
use crate::source::file::{FileState, parse_mesh};

#[path = "../../../tests/src/cases.rs"]
#[expect(unreachable_pub, reason = "the file is a module of another crate too")]
mod cases;

mod blocks;
mod history;
mod policies;
mod rejected;
mod waypoints;
mod work;

use cases::{CASES, Case, MESH, MESH_CIDRS, NODE, PODS};

fn mesh() -> Mesh {
    let parsed = parse_mesh(MESH, "mesh.yaml").expect("the fixture parses");
    assert!(parsed.rejected.is_empty(), "{:?}", parsed.diagnostics);
    let mut mesh = Mesh::default();
    let mut delta = FileState::default().next(parsed);
    delta.complete = true;
    mesh.apply(delta);
    mesh
}

fn node() -> Node {
    Node {
        name: NODE.into(),
        direct_local_bypass: true,
        mesh_cidrs: MESH_CIDRS
            .iter()
            .map(|cidr| cidr.parse().expect("a CIDR"))
            .collect(),
        ..Node::default()
    }
}

fn pods() -> Vec<EnrolledPod> {
    let pod =
        |(index, (name, namespace, addresses)): (usize, &(&str, &str, &[&str]))| EnrolledPod {
            netns: index as u64 + 1000,
            name: (*name).into(),
            namespace: (*namespace).into(),
            service_account: (*name).into(),
            addresses: addresses
                .iter()
                .map(|a| a.parse().expect("an address"))
                .collect(),
        };
    PODS.iter().enumerate().map(pod).collect()
}

/// The verdict on a flow, with endpoints drawn from a fixed sequence.
fn decide(tables: &Tables, from: &str, to: SocketAddr, seed: u32) -> Verdict {
    let netns = pods()
        .into_iter()
        .find(|pod| pod.name == from)
        .expect("a pod")
        .netns;
    let pod = tables.pods[&PodKey {
        netns: netns.into(),
    }];
    let state = Cell::new(seed);
    let random = || {
        state.set(
            state
                .get()
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223),
        );
        state.get()
    };
    let flow = Flow {
        pod: &pod,
        netns,
        destination: to_wire(to.ip()),
        port: to.port(),
        is_dialling: true,
    };
    classify(&flow, &TableLookup { tables, random })
}

fn socket_address(address: Address, port: u16) -> String {
    socket_from_wire(address, port)
        .map(|address| address.to_string())
        .unwrap_or_default()
}

#[test]
fn every_row_of_the_table() {
    let Compiled { tables, .. } = compile(&mesh(), &node(), &pods());
    for case in CASES {
        let Case {
            from,
            to,
            class,
            reason,
            ..
        } = *case;
        for seed in 0..50 {
            let verdict = decide(&tables, from, to.parse().expect("an address"), seed);
            let what = format!("{from} to {to}, seed {seed}");
            assert_eq!((verdict.class, verdict.reason), (class, reason), "{what}");
            assert_eq!(verdict.steer, case.steered(), "{what}");
            let hop = verdict.next_hop;
            assert_eq!(
                socket_address(hop.address, hop.port),
                case.expected_next_hop(),
                "{what}"
            );
            let authority = socket_address(hop.authority, hop.authority_port);
            assert_eq!(authority, case.expected_authority(), "{what}");
        }
    }
}

#[test]
fn every_reason_has_a_case() {
    let elsewhere = [
        Reason::NotSynced,
        Reason::Invalid,
        Reason::LocalTunnel,
        Reason::UnknownIncomplete,
    ];
    for reason in Reason::ALL {
        assert!(
            elsewhere.contains(reason) || CASES.iter().any(|case| case.reason == *reason),
            "no case for {reason:?}"
        );
    }
}

#[test]
fn nothing_is_bypassed_before_the_first_complete_snapshot() {
    let mesh = Mesh {
        complete: false,
        ..mesh()
    };
    let Compiled { tables, .. } = compile(&mesh, &node(), &pods());
    for case in CASES
        .iter()
        .filter(|case| case.reason != Reason::OwnAddress)
    {
        let verdict = decide(&tables, case.from, case.to.parse().expect("an address"), 1);
        assert_eq!(
            (verdict.reason, verdict.steer),
            (Reason::NotSynced, true),
            "{case:?}"
        );
    }
}

#[test]
fn tunnel_mode_steers_neighbours() {
    let node = Node {
        direct_local_bypass: false,
        ..node()
    };
    let Compiled { tables, .. } = compile(&mesh(), &node, &pods());
    let verdict = decide(
        &tables,
        "client",
        "10.1.0.2:80".parse().expect("an address"),
        1,
    );
    assert_eq!(
        (verdict.class, verdict.reason),
        (Class::DirectLocal, Reason::LocalTunnel)
    );
    assert!(verdict.steer && verdict.next_hop.hbone);
}

#[test]
fn a_policy_forbids_the_bypass_where_it_applies() {
    let reason = |mesh: &Mesh| {
        let Compiled { tables, .. } = compile(mesh, &node(), &pods());
        decide(
            &tables,
            "client",
            "10.1.0.2:80".parse().expect("an address"),
            1,
        )
        .reason
    };
    assert_eq!(reason(&mesh()), Reason::LocalBypass);
    for (namespace, scope, expected) in [
        ("istio-system", PolicyScope::Global, Reason::LocalPolicy),
        ("", PolicyScope::Namespace, Reason::LocalPolicy),
        ("default", PolicyScope::Namespace, Reason::LocalPolicy),
        ("elsewhere", PolicyScope::Namespace, Reason::LocalBypass),
        (
            "default",
            PolicyScope::WorkloadSelector,
            Reason::LocalBypass,
        ),
    ] {
        let mut mesh = mesh();
        let policy = mesh.policies.values_mut().next().expect("a policy");
        policy.name.namespace = namespace.into();
        policy.scope = scope;
        policy.action = PolicyAction::Deny;
        assert_eq!(reason(&mesh), expected, "{namespace} {scope:?}");
    }
}

#[test]
fn rejected_entries_are_steered_and_nothing_else_changes() {
    let mut mesh = mesh();
    let rejection = crate::model::Rejection {
        entry: "service default/broken".into(),
        error: "broken".into(),
        // One address of its own, and one that a good entry has.
        addresses: vec![
            "198.51.100.7".parse().expect("v4"),
            "10.3.0.10".parse().expect("v4"),
        ],
        addresses_unknown: false,
    };
    mesh.rejected.insert(rejection.entry.clone(), rejection);
    let tables = compile(&mesh, &node(), &pods()).tables;
    let reason = |tables: &Tables, to: &str| {
        let verdict = decide(tables, "client", to.parse().expect("an address"), 1);
        (verdict.reason, verdict.steer)
    };
    assert_eq!(reason(&tables, "198.51.100.7:80"), (Reason::Invalid, true));
    assert_eq!(
        reason(&tables, "10.3.0.10:80"),
        (Reason::ServiceHbone, true)
    );
    assert_eq!(reason(&tables, "192.0.2.1:80"), (Reason::Unknown, false));
    // What two claim, one of them rejected, is not dialled in plaintext.
    for rejection in mesh.rejected.values_mut() {
        rejection.addresses.push("10.2.0.9".parse().expect("v4"));
        rejection.addresses.push("10.1.0.2".parse().expect("v4"));
        rejection.addresses.push("10.3.0.30".parse().expect("v4"));
    }
    let tables = compile(&mesh, &node(), &pods()).tables;
    assert_eq!(reason(&tables, "10.2.0.9:80"), (Reason::Invalid, true));
    let not_evaluated = (Reason::LocalNotEvaluated, true);
    assert_eq!(reason(&tables, "10.1.0.2:80"), not_evaluated);
    assert_eq!(reason(&tables, "10.3.0.30:80"), (Reason::Invalid, true));
    // The rejected entry may have been an endpoint of a service that looks plain.
    assert_eq!(
        reason(&tables, "10.3.0.50:80"),
        (Reason::ServiceMixed, true)
    );

    for rejection in mesh.rejected.values_mut() {
        rejection.addresses_unknown = true;
    }
    let tables = compile(&mesh, &node(), &pods()).tables;
    assert_eq!(
        reason(&tables, "192.0.2.1:80"),
        (Reason::UnknownIncomplete, true)
    );
    assert_eq!(reason(&tables, "10.1.0.2:80"), not_evaluated);
}

#[test]
fn endpoints_are_drawn_by_capacity_and_waypoints_by_weight() {
    let mut mesh = mesh();
    let service = |name: &str| {
        crate::model::NamespacedName::new("default", format!("{name}.default.svc.cluster.local"))
    };
    // Three to one between two endpoints, two to one between two waypoints.
    for (uid, capacity, target) in [
        ("cluster1//Pod/default/server-remote", 3, "sick-allowed"),
        ("cluster1//Pod/default/sick", 1, "sick-allowed"),
    ] {
        let workload = mesh
            .workloads
            .get_mut(&crate::model::Uid(uid.into()))
            .expect("a workload");
        workload.capacity = capacity;
        workload.services.insert(service(target), [].into());
    }
    let canary = mesh
        .services
        .get_mut(&service("behind-canary"))
        .expect("a service");
    canary.weighted_waypoints[0].weight = 14;
    let tables = compile(&mesh, &node(), &pods()).tables;
    let share = |to: &str, hop: &str| {
        let to = to.parse().expect("an address");
        let drawn = (0..20_000u32).filter(|seed| {
            let verdict = decide(&tables, "client", to, seed.wrapping_mul(2_654_435_761));
            socket_address(verdict.next_hop.address, verdict.next_hop.port) == hop
        });
        drawn.count() as f64 / 20_000.0
    };
    assert!((share("10.3.0.53:80", "10.2.0.1:15008") - 0.75).abs() < 0.02);
    assert!((share("10.3.0.22:80", "10.2.0.20:15008") - 0.667).abs() < 0.02);
}

#[test]
fn an_unresolved_share_of_weighted_waypoints_stays_unresolved() {
    let mut mesh = mesh();
    let name =
        crate::model::NamespacedName::new("default", "behind-canary.default.svc.cluster.local");
    let service = mesh.services.get_mut(&name).expect("a service");
    service.weighted_waypoints[0].weight = 7;
    service.weighted_waypoints[0].destination.destination =
        crate::model::GatewayDestination::Hostname(crate::model::NamespacedName::new("x", "y"));
    let tables = compile(&mesh, &node(), &pods()).tables;
    let to = "10.3.0.22:80".parse().expect("an address");
    let unresolved = (0..1000)
        .map(|seed| decide(&tables, "client", to, seed * 2_654_435))
        .inspect(|verdict| assert!(verdict.steer && verdict.class == Class::ToServerWaypoint))
        .filter(|verdict| verdict.reason == Reason::WaypointUnresolved)
        .count();
    assert!((350..650).contains(&unresolved), "{unresolved}");
}

#[test]
fn dangling_references_steer() {
    let mut tables = compile(&mesh(), &node(), &pods()).tables;
    tables.endpoints.clear();
    for case in CASES.iter().filter(|case| case.steered()) {
        let verdict = decide(&tables, case.from, case.to.parse().expect("an address"), 1);
        assert!(verdict.steer, "{case:?} became {verdict:?}");
    }
}

/// A mesh with some of the fixture's entries left out and some changed.
fn any_mesh() -> impl Strategy<Value = Mesh> {
    let whole = mesh();
    let workloads = whole.workloads.len();
    let services = whole.services.len();
    (
        proptest::collection::vec(any::<bool>(), workloads),
        proptest::collection::vec(any::<bool>(), services),
        any::<u16>(),
        any::<bool>(),
    )
        .prop_map(move |(keep_workloads, keep_services, port, complete)| {
            let mut mesh = Mesh {
                complete,
                ..whole.clone()
            };
            let mut keep = keep_workloads.into_iter();
            mesh.workloads.retain(|_, _| keep.next().unwrap_or(true));
            let mut keep = keep_services.into_iter();
            mesh.services.retain(|_, _| keep.next().unwrap_or(true));
            if let Some(service) = mesh.services.values_mut().next() {
                service.ports.insert(port, 80);
            }
            mesh
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applying_the_changes_gives_the_new_tables(old in any_mesh(), new in any_mesh()) {
        let old = compile(&old, &node(), &pods()).tables;
        let new = compile(&new, &node(), &pods()).tables;
        let mut tables = old.clone();
        Changes::between(&old, &new).apply(&mut tables);
        prop_assert_eq!(&tables, &new);
        prop_assert!(Changes::between(&new, &new).is_empty());
    }

    #[test]
    fn compilation_is_deterministic_and_verdicts_hold_together(
        mesh in any_mesh(), seed in any::<u32>()
    ) {
        let tables = compile(&mesh, &node(), &pods()).tables;
        prop_assert_eq!(&tables, &compile(&mesh, &node(), &pods()).tables);
        for case in CASES {
            let to = case.to.parse().expect("an address");
            let verdict = decide(&tables, case.from, to, seed);
            prop_assert_eq!(verdict, decide(&tables, case.from, to, seed));
            prop_assert_eq!(Verdict::from_wire(&verdict.to_wire()), Some(verdict));
            // HBONE is never skipped, and a waypoint never turned into anything else.
            if !verdict.steer {
                prop_assert!(!verdict.next_hop.hbone);
            }
            if verdict.class == Class::ToServerWaypoint {
                prop_assert!(verdict.steer);
            }
        }
    }
}
