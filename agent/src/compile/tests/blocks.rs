//! Blocks of addresses, where one of IPv6 has all of IPv4 within.

use std::net::SocketAddr;

use ipnet::IpNet;
use waysteer_common::verdict::Reason;

use super::cases::PODS;
use super::{Compiled, Node, compile, decide, mesh, node, pods};
use crate::model::{
    LoadBalancer, LoadBalancerMode, NamespacedName, NetworkCidr, Service, Visibility,
};

/// The v4-mapped addresses lie within, but nobody means them.
#[test]
fn all_of_ipv6_is_nothing_of_ipv4() {
    let to = |address: &str| SocketAddr::new(address.parse().expect("an address"), 80);
    let (v4, v6) = (to("203.0.113.9"), to("2001:db8:9::9"));
    let everything: IpNet = "::/0".parse().expect("a block");
    let catch_all = Node {
        mesh_cidrs: vec![everything],
        ..node()
    };
    let Compiled { tables, .. } = compile(&mesh(), &catch_all, &pods());
    let reason = |tables, to| decide(tables, PODS[0].0, to, 0).reason;
    assert_eq!(reason(&tables, v4), Reason::Unknown);
    assert_eq!(reason(&tables, v6), Reason::UnknownInMesh);

    let mut mesh = mesh();
    let name = NamespacedName::new("default", "everything");
    let any = mesh.services.values().next().expect("a service");
    let service = Service {
        hostname: name.clone(),
        vips: Vec::new(),
        cidr_vips: vec![NetworkCidr {
            network: "".into(),
            cidr: everything,
        }],
        load_balancer: LoadBalancer {
            mode: LoadBalancerMode::Passthrough,
            ..LoadBalancer::default()
        },
        waypoint: None,
        weighted_waypoints: Vec::new(),
        visibility: Visibility::Public,
        ..Service::clone(any)
    };
    mesh.services.insert(name, service);
    let Compiled { tables, .. } = compile(&mesh, &node(), &pods());
    assert_eq!(reason(&tables, v4), Reason::Unknown);
    assert_eq!(reason(&tables, v6), Reason::ServicePassthrough);
}
