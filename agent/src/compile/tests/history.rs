//! Whatever the way to a mesh, the tables are those of the mesh, and the changes told on the way
//! lead to them.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{mesh, node, pods, policies};
use crate::authorize::naive::drawn::Draw;
use crate::compile::{Changes, Compiler, EnrolledPod, Tables, compile};
use crate::model::{
    Delta, GatewayAddress, GatewayDestination, HealthStatus, IpFamilies, LoadBalancerMode, Mesh,
    NamespacedName, NetworkAddress, NetworkMode, Policy, Rejection, RoutingPreference, Service,
    TunnelProtocol, Uid, Visibility, WeightedWaypoint, Workload,
};
use crate::source::file::parse_mesh;

/// Numbers from a seed (xorshift), so that a failure comes again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, many: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % many
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// Everything that there may be at some time.
struct World {
    whole: Mesh,
    addresses: Vec<IpAddr>,
    gateways: Vec<GatewayAddress>,
    names: Vec<NamespacedName>,
}

impl World {
    fn new() -> Self {
        let whole = mesh();
        let workloads = whole.workloads.values();
        let addresses: Vec<IpAddr> = workloads.flat_map(|w| w.addresses.clone()).collect();
        let mut names: Vec<NamespacedName> = whole.services.keys().cloned().collect();
        // The host name of a workload, below.
        names.push(NamespacedName::new("default", "host"));
        let by_name = names.iter().cloned().map(GatewayDestination::Hostname);
        let at = |address| {
            GatewayDestination::Address(NetworkAddress {
                network: "".into(),
                address,
            })
        };
        let vips = whole.services.values().flat_map(|s| s.vips.clone());
        let gateways = by_name
            .chain(addresses.iter().copied().map(at))
            .chain(vips.map(GatewayDestination::Address))
            .map(|destination| GatewayAddress {
                destination,
                hbone_mtls_port: 15008,
            })
            .collect();
        Self {
            whole,
            addresses,
            gateways,
            names,
        }
    }

    fn change_workload(&self, numbers: &mut Numbers, workload: &mut Workload) {
        match numbers.below(14) {
            0 => workload.capacity = numbers.below(3) as u32,
            1 => workload.protocol = numbers.of(&[TunnelProtocol::Tcp, TunnelProtocol::Hbone]),
            2 => workload.status = numbers.of(&[HealthStatus::Healthy, HealthStatus::Unhealthy]),
            3 => {
                let some = numbers.of(&self.gateways);
                workload.waypoint = (!numbers.one_in(3)).then_some(some);
            }
            4 => workload.hostname = numbers.of(&["".into(), "host".into()]),
            5 => workload.addresses = vec![numbers.of(&self.addresses)],
            6 => workload.addresses.push(numbers.of(&self.addresses)),
            7 => workload.network = numbers.of(&["".into(), "other".into()]),
            8 => {
                workload.network_mode =
                    numbers.of(&[NetworkMode::Standard, NetworkMode::HostNetwork]);
            }
            9 => workload.node = numbers.of(&["node1".into(), "node2".into()]),
            10 => workload.locality.zone = numbers.of(&["a".into(), "b".into()]),
            11 => {
                let name = numbers.of(&self.names);
                if workload.services.remove(&name).is_none() {
                    workload.services.insert(name, [(80, 8080)].into());
                }
            }
            12 => {
                let name = NamespacedName::new("default", numbers.of(&["one", "two"]));
                if !workload.authorization_policies.remove(&name) {
                    workload.authorization_policies.insert(name);
                }
            }
            _ => workload.service_account = numbers.of(&["client".into(), "default".into()]),
        }
    }

    fn change_service(&self, numbers: &mut Numbers, service: &mut Service) {
        match numbers.below(9) {
            0 => {
                service.load_balancer.mode = numbers.of(&[
                    LoadBalancerMode::Standard,
                    LoadBalancerMode::Strict,
                    LoadBalancerMode::Failover,
                    LoadBalancerMode::Passthrough,
                ]);
                service.load_balancer.routing_preferences =
                    vec![numbers.of(&[RoutingPreference::Zone, RoutingPreference::Node])];
            }
            1 => {
                let vips = |s: &Service| s.vips.clone();
                let all: Vec<_> = self.whole.services.values().flat_map(vips).collect();
                service.vips = vec![numbers.of(&all), numbers.of(&all)];
            }
            2 => {
                let some = numbers.of(&self.gateways);
                service.waypoint = (!numbers.one_in(3)).then_some(some);
            }
            3 => {
                let waypoint = |weight| WeightedWaypoint {
                    destination: numbers.of(&self.gateways),
                    weight,
                };
                service.weighted_waypoints = [2, 1].map(waypoint).into();
            }
            4 => service.weighted_waypoints.clear(),
            5 => service.visibility = numbers.of(&[Visibility::Public, Visibility::Namespace]),
            6 => service.canonical = !service.canonical,
            7 => service.ip_families = numbers.of(&[IpFamilies::Automatic, IpFamilies::V4Only]),
            _ => {
                service.ports.insert(numbers.of(&[80, 81, 82]), 8080);
            }
        }
    }

    fn policy(&self, numbers: &mut Numbers) -> Policy {
        let mut draw = Draw::new(numbers.below(usize::MAX) as u64);
        let drawn = draw.policy(
            numbers.of(&["one", "two"]),
            &policies::pool(self.addresses.clone()),
        );
        let parsed = parse_mesh(&format!("policies:\n{}", drawn.yaml()), "mesh.yaml");
        let mut policy = parsed
            .expect("it parses")
            .policies
            .pop()
            .expect("it is one");
        policy.name.namespace = numbers.of(&["", "default", "other"]).into();
        policy
    }

    fn change(&self, numbers: &mut Numbers, mesh: &mut Mesh) {
        let uids: Vec<Uid> = self.whole.workloads.keys().cloned().collect();
        let uid = numbers.of(&uids);
        match numbers.below(12) {
            0 => {
                mesh.workloads.remove(&uid);
            }
            1 => {
                let known = self.whole.workloads[&uid].clone();
                mesh.workloads.insert(uid, known);
            }
            2..=5 => {
                if let Some(workload) = mesh.workloads.get_mut(&uid) {
                    self.change_workload(numbers, workload);
                }
            }
            6 => {
                mesh.services.remove(&numbers.of(&self.names));
            }
            7 => {
                if let Some(known) = self.whole.services.get(&numbers.of(&self.names)) {
                    mesh.services.insert(known.hostname.clone(), known.clone());
                }
            }
            8 | 9 => {
                if let Some(service) = mesh.services.get_mut(&numbers.of(&self.names)) {
                    self.change_service(numbers, service);
                }
            }
            10 => {
                let policy = self.policy(numbers);
                if mesh.policies.remove(&policy.name).is_none() {
                    mesh.policies.insert(policy.name.clone(), policy);
                }
            }
            _ => {
                let entry = numbers.of(&["workload one", "workload two"]).to_owned();
                if mesh.rejected.remove(&entry).is_none() {
                    let vips = self.whole.services.values().flat_map(|s| &s.vips);
                    let vips: Vec<IpAddr> = vips.map(|vip| vip.address).collect();
                    let rejection = Rejection {
                        entry: entry.clone(),
                        error: "broken".into(),
                        addresses: vec![numbers.of(&self.addresses), numbers.of(&vips)],
                        addresses_unknown: numbers.one_in(3),
                    };
                    mesh.rejected.insert(entry, rejection);
                }
            }
        }
        mesh.complete |= numbers.one_in(4);
    }
}

/// From one mesh to another; now and then with everything that has not changed too.
fn delta(numbers: &mut Numbers, old: &Mesh, new: &Mesh) -> Delta {
    let with_same = numbers.one_in(5);
    way(old, new, with_same)
}

/// From one mesh to another, and nothing else.
pub(super) fn between(old: &Mesh, new: &Mesh) -> Delta {
    way(old, new, false)
}

fn way(old: &Mesh, new: &Mesh, with_same: bool) -> Delta {
    let mut delta = Delta::whole(new.clone());
    if !with_same {
        delta
            .workloads
            .retain(|w| old.workloads.get(&w.uid) != Some(w));
        delta
            .services
            .retain(|s| old.services.get(&s.hostname) != Some(s));
        delta
            .policies
            .retain(|p| old.policies.get(&p.name) != Some(p));
    }
    let gone = old
        .workloads
        .keys()
        .filter(|k| !new.workloads.contains_key(k));
    delta.removed_workloads = gone.cloned().collect();
    let gone = old
        .services
        .keys()
        .filter(|k| !new.services.contains_key(k));
    delta.removed_services = gone.cloned().collect();
    let gone = old
        .policies
        .keys()
        .filter(|k| !new.policies.contains_key(k));
    delta.removed_policies = gone.cloned().collect();
    delta
}

/// A pod comes, goes, or gets another address.
fn change_pod(
    numbers: &mut Numbers,
    world: &World,
    enrolled: &mut Vec<EnrolledPod>,
) -> Option<u64> {
    let pod = numbers.of(&pods());
    let known = enrolled.iter().position(|known| known.netns == pod.netns);
    match (known, numbers.below(3)) {
        (Some(index), 0) => Some(enrolled.remove(index).netns),
        (Some(index), _) => {
            enrolled[index].addresses.push(numbers.of(&world.addresses));
            None
        }
        (None, _) => {
            enrolled.push(pod);
            None
        }
    }
}

fn follow(seed: u64, steps: usize) -> Result<(), TestCaseError> {
    let numbers = &mut Numbers(seed | 1);
    let world = World::new();
    let mut compiler = Compiler::new(node());
    let mut told = Tables::default();
    let (mut mesh, mut enrolled) = (Mesh::default(), Vec::new());
    for step in 0..steps {
        if numbers.one_in(4) {
            let removed = change_pod(numbers, &world, &mut enrolled);
            if let Some(netns) = removed {
                compiler.remove_pod(netns);
            }
            for pod in &enrolled {
                compiler.set_pod(pod.clone());
            }
        } else {
            let mut new = mesh.clone();
            if step == 0 || numbers.one_in(20) {
                new = world.whole.clone();
            }
            for _ in 0..=numbers.below(4) {
                world.change(numbers, &mut new);
            }
            compiler.apply(delta(numbers, &mesh, &new));
            mesh = new;
        }
        let changes = compiler.take_changes();
        changes.apply(&mut told);
        prop_assert_eq!(&told, compiler.tables(), "step {}", step);
        enrolled.sort_by_key(|pod| pod.netns);
        let fresh = compile(&mesh, &node(), &enrolled).tables;
        prop_assert_eq!(
            Changes::between(&fresh, &told),
            Changes::between(&told, &told),
            "step {}",
            step
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_history_leads_to_the_tables_of_its_mesh(seed in any::<u64>()) {
        follow(seed, 60)?;
    }
}
