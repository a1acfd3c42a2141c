//! A change costs what hangs on it, whatever the size of the mesh: counted, not timed.

use std::sync::OnceLock;

use super::{mesh, node, pods};
use crate::compile::Compiler;
use crate::model::{
    Delta, GatewayAddress, GatewayDestination, HealthStatus, IpFamilies, LoadBalancer, Mesh,
    NamespacedName, NetworkAddress, NetworkMode, Service, SortedMap, TunnelProtocol, Uid,
    Visibility, Workload,
};

/// What a change has cost: parts that were looked at again, and map writes.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    recompiled: u64,
    writes: usize,
}

fn cost(compiler: &mut Compiler, change: impl FnOnce(&mut Compiler)) -> Cost {
    let before = compiler.recompiled();
    change(compiler);
    Cost {
        recompiled: compiler.recompiled() - before,
        writes: compiler.take_changes().len(),
    }
}

/// The fixture, and so many workloads more: ten of them a service, a third behind a waypoint.
fn large(workloads: u32) -> Compiler {
    let mut all = Delta::whole(known().clone());
    all.workloads
        .extend((0..workloads).map(|number| Box::new(workload(number))));
    all.services.extend((0..workloads / 10).map(service));
    all.services.push(waypoint());
    let mut compiler = Compiler::new(node());
    for pod in pods() {
        compiler.set_pod(pod);
    }
    compiler.apply(all);
    compiler.take_changes();
    compiler
}

/// What the fields are filled from that do not matter here.
fn known() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    MESH.get_or_init(mesh)
}

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("large", format!("s{number}.large"))
}

fn workload(number: u32) -> Workload {
    let gate = GatewayAddress {
        destination: GatewayDestination::Hostname(waypoint().hostname),
        hbone_mtls_port: 15008,
    };
    let known = known().workloads.values().next().expect("a workload");
    Workload {
        uid: Uid(format!("large/w{number}").into()),
        name: format!("w{number}").into(),
        namespace: "large".into(),
        addresses: vec![address(10 << 24 | 64 << 16, number)],
        protocol: TunnelProtocol::Hbone,
        status: HealthStatus::Healthy,
        waypoint: number.is_multiple_of(3).then_some(gate),
        services: SortedMap::from([(name(number / 10), SortedMap::default())]),
        network: "".into(),
        network_mode: NetworkMode::Standard,
        authorization_policies: [].into(),
        ..Workload::clone(known)
    }
}

fn service(number: u32) -> Service {
    let known = known().services.values().next().expect("a service");
    Service {
        hostname: name(number),
        vips: vec![NetworkAddress {
            network: "".into(),
            address: address(10 << 24 | 16 << 16, number),
        }],
        ports: [(80, 8080)].into(),
        waypoint: None,
        weighted_waypoints: Vec::new(),
        cidr_vips: Vec::new(),
        load_balancer: LoadBalancer::default(),
        ip_families: IpFamilies::Automatic,
        visibility: Visibility::Public,
        ..known.clone()
    }
}

fn waypoint() -> Service {
    Service {
        hostname: NamespacedName::new("large", "waypoint.large"),
        ports: [(15008, 15008)].into(),
        ..service(0xffff)
    }
}

fn address(base: u32, number: u32) -> std::net::IpAddr {
    std::net::Ipv4Addr::from(base + number).into()
}

/// What each of these costs in a mesh of that size.
fn costs(workloads: u32) -> Vec<(&'static str, Cost)> {
    let compiler = &mut large(workloads);
    let told = |workload: Workload| Delta {
        workloads: vec![Box::new(workload)],
        complete: true,
        ..Delta::default()
    };
    let mut costs = Vec::new();
    let mut note = |what, change: &mut dyn FnMut(&mut Compiler)| {
        costs.push((what, cost(compiler, change)));
    };
    note("nothing new", &mut |c| c.apply(told(workload(7))));
    note("another address", &mut |c| {
        let addresses = vec![address(10 << 24 | 200 << 16, 1)];
        c.apply(told(Workload {
            addresses,
            ..workload(7)
        }));
    });
    note("another state", &mut |c| {
        let status = HealthStatus::Unhealthy;
        c.apply(told(Workload {
            status,
            ..workload(10)
        }));
    });
    note("without a waypoint", &mut |c| {
        let waypoint = None;
        c.apply(told(Workload {
            waypoint,
            ..workload(30)
        }));
    });
    note("one less", &mut |c| {
        c.apply(Delta {
            removed_workloads: vec![workload(12).uid],
            complete: true,
            ..Delta::default()
        });
    });
    note("one more", &mut |c| c.apply(told(workload(12))));
    note("an endpoint of the waypoint", &mut |c| {
        let services = SortedMap::from([(waypoint().hostname, SortedMap::default())]);
        c.apply(told(Workload {
            services,
            ..workload(90)
        }));
    });
    note("a service", &mut |c| {
        let mut changed = service(20);
        changed.ports.insert(81, 8081);
        c.apply(Delta {
            services: vec![changed],
            complete: true,
            ..Delta::default()
        });
    });
    note("a pod", &mut |c| {
        let mut pod = pods().remove(0);
        pod.addresses.push(address(10 << 24 | 201 << 16, 1));
        c.set_pod(pod);
    });
    costs
}

#[test]
fn a_change_costs_the_same_in_a_mesh_ten_times_as_large() {
    let (small, large) = (costs(1_000), costs(10_000));
    assert_eq!(small, large);
    for (what, cost) in &small {
        assert!(cost.recompiled < 20 && cost.writes < 64, "{what}: {cost:?}");
        assert_eq!(cost.writes == 0, *what == "nothing new", "{what}: {cost:?}");
    }
}

#[test]
fn a_snapshot_costs_as_much_as_it_is_large() {
    let recompiled = |workloads| large(workloads).recompiled();
    let (none, small, large) = (recompiled(0), recompiled(1_000), recompiled(10_000));
    let linear = (small - none) * 10;
    assert!(large - none <= linear, "{none} {small} {large}");
    // What is told again is not looked at again.
    let mut compiler = self::large(1_000);
    let told = Delta::whole(compiler.mesh().clone());
    let again = cost(&mut compiler, |c| c.apply(told));
    let nothing = Cost {
        recompiled: 0,
        writes: 0,
    };
    assert_eq!(again, nothing);
}
