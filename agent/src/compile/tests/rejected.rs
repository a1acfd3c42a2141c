//! What a rejected entry claims is steered, whoever else is there.

use waysteer_common::verdict::Reason;

use super::{compile, decide, mesh, node, pods};
use crate::model::{Mesh, NamespacedName, Rejection, Service, Visibility};

/// Of a service in load balancing mode PASSTHROUGH.
const VIP: &str = "10.3.0.30";

fn passthrough(mesh: &mut Mesh) -> Service {
    let vip: std::net::IpAddr = VIP.parse().expect("v4");
    let all = mesh.services.values();
    let mut there = all.filter(|service| service.vips.iter().any(|at| at.address == vip));
    let name = there.next().expect("a service").hostname.clone();
    mesh.services.remove(&name).expect("the same")
}

fn insert(mesh: &mut Mesh, service: Service) {
    mesh.services.insert(service.hostname.clone(), service);
}

/// Of a pod of namespace `default`, before and after something at the address is rejected.
fn reasons(mut mesh: Mesh) -> [(Reason, bool); 2] {
    let reason = |mesh: &Mesh| {
        let tables = compile(mesh, &node(), &pods()).tables;
        let to = format!("{VIP}:80").parse().expect("an address");
        let verdict = decide(&tables, "client", to, 1);
        (verdict.reason, verdict.steer)
    };
    let before = reason(&mesh);
    let rejection = Rejection {
        entry: "resource broken".into(),
        error: "broken".into(),
        addresses: vec![VIP.parse().expect("v4")],
        addresses_unknown: false,
    };
    mesh.rejected.insert(rejection.entry.clone(), rejection);
    [before, reason(&mesh)]
}

#[test]
fn behind_a_service_that_the_pod_does_not_see() {
    let mut mesh = mesh();
    let service = passthrough(&mut mesh);
    let hidden = Service {
        hostname: NamespacedName::new("elsewhere", "hidden"),
        visibility: Visibility::Namespace,
        ..service
    };
    insert(&mut mesh, hidden);
    let [before, after] = reasons(mesh);
    assert_eq!(before, (Reason::Unknown, false));
    assert_eq!(after, (Reason::Invalid, true));
}

#[test]
fn behind_a_service_that_only_some_get() {
    let mut mesh = mesh();
    let service = passthrough(&mut mesh);
    let first = Service {
        hostname: NamespacedName::new("another", "public"),
        canonical: true,
        ..service.clone()
    };
    insert(&mut mesh, first);
    let own = Service {
        hostname: NamespacedName::new("default", "own"),
        canonical: false,
        ..service
    };
    insert(&mut mesh, own);
    let [before, after] = reasons(mesh);
    assert_eq!(before, (Reason::ServicePassthrough, false));
    assert_eq!(after, (Reason::Invalid, true));
}
