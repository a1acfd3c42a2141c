//! Services that are not to be reached without a waypoint.

use waysteer_common::verdict::{Class, Reason};

use super::{compile, decide, mesh, node, pods};
use crate::model::{Mesh, NamespacedName};

#[test]
fn weighted_waypoints_without_any_share_hold() {
    let mut mesh = mesh();
    let name = NamespacedName::new("default", "behind-canary.default.svc.cluster.local");
    let reason = |mesh: &Mesh| {
        let tables = compile(mesh, &node(), &pods()).tables;
        let to = "10.3.0.22:80".parse().expect("an address");
        let verdict = decide(&tables, "client", to, 1);
        assert!(verdict.steer && verdict.class == Class::ToServerWaypoint);
        verdict.reason
    };
    let service = mesh.services.get_mut(&name).expect("a service");
    for waypoint in &mut service.weighted_waypoints {
        waypoint.weight = 0;
    }
    // There is a single one besides.
    assert!(service.waypoint.is_some() && !service.weighted_waypoints.is_empty());
    assert_eq!(reason(&mesh), Reason::ServiceWaypoint);
    let service = mesh.services.get_mut(&name).expect("a service");
    service.waypoint = None;
    assert_eq!(reason(&mesh), Reason::WaypointUnresolved);
}
