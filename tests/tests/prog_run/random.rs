//! Meshes drawn at random, one after the other in the same maps: kernel and host must agree.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer::model::{HealthStatus, Mesh, SortedMap, TunnelProtocol};
use waysteer_common::verdict::Verdict;
use waysteer_tests::cases::{CASES, PODS};

use super::agreement::{Kernel, mesh, node};

const MESHES: u64 = 24;
/// Enough to see every endpoint that can be drawn.
const DRAWS: u32 = 400;

/// Numbers from a seed (xorshift), so that a failure comes again.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

/// The fixture with entries left out and changed.
pub(super) fn changed(numbers: &mut Numbers) -> Result<Mesh> {
    let mut mesh = mesh()?;
    mesh.complete = !numbers.one_in(12);
    mesh.workloads.retain(|_, _| !numbers.one_in(6));
    mesh.services.retain(|_, _| !numbers.one_in(6));
    if numbers.one_in(3) {
        mesh.policies.clear();
    }
    for workload in mesh.workloads.values_mut() {
        if numbers.one_in(4) {
            workload.capacity = (numbers.next() % 4) as u32;
        }
        if numbers.one_in(6) {
            workload.protocol = match numbers.one_in(2) {
                true => TunnelProtocol::Hbone,
                false => TunnelProtocol::Tcp,
            };
        }
        if numbers.one_in(8) {
            workload.status = HealthStatus::Unhealthy;
        }
        if numbers.one_in(8) {
            workload.waypoint = None;
        }
        if numbers.one_in(8) {
            workload.node = "node1".into();
        }
    }
    let services: Vec<_> = mesh.services.keys().cloned().collect();
    for workload in mesh.workloads.values_mut() {
        if numbers.one_in(3) && !services.is_empty() {
            let chosen = numbers.next() as usize % services.len();
            workload
                .services
                .insert(services[chosen].clone(), SortedMap::default());
        }
    }
    Ok(mesh)
}

#[test]
fn kernel_and_host_agree_on_any_mesh() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15);
    let (mut flows, mut reasons) = (0, BTreeSet::new());
    for number in 0..MESHES {
        let mesh = changed(&mut numbers)?;
        let mut node = node()?;
        node.direct_local_bypass = !numbers.one_in(4);
        kernel.apply(&mesh, &node)?;
        for case in CASES {
            let mut to: SocketAddr = case.to.parse()?;
            if numbers.one_in(4) {
                to.set_port(numbers.next() as u16);
            }
            let (from, ..) = PODS[numbers.next() as usize % PODS.len()];
            for from in [case.from, from] {
                let found = kernel.explain(from, to)?;
                let possible: Vec<Verdict> = (0..DRAWS)
                    .map(|seed| kernel.decide(from, to, seed.wrapping_mul(2_654_435_761)))
                    .collect::<Result<_>>()?;
                ensure!(
                    possible.contains(&found),
                    "mesh {number}: {from} to {to}: {found:?}, on the host {:?}",
                    possible.first()
                );
                reasons.insert(found.reason.label());
                flows += 1;
            }
        }
    }
    ensure!(
        flows > 1000 && reasons.len() > 15,
        "{flows} flows, {reasons:?}"
    );
    Ok(())
}
