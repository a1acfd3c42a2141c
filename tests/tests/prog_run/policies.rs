//! Policies drawn at random, one mesh after the other in the same maps: the kernel says what the
//! host says, which host tests compare with what is documented.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer::model::{Mesh, NamespacedName};
use waysteer::source::file::parse_mesh;
use waysteer_common::verdict::Reason;
use waysteer_tests::cases::PODS;
use waysteer_tests::drawn::{Draw, Pool};

use super::agreement::{Kernel, mesh, node};

const MESHES: u64 = 40;
const PORTS: [u16; 5] = [80, 81, 443, 8080, 9000];

/// The fixture with other policies.
fn changed(draw: &mut Draw) -> Result<Mesh> {
    let mut mesh = mesh()?;
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let addresses = PODS.iter().flat_map(|(_, _, addresses)| *addresses);
    let pool = Pool {
        trust_domains: texts(&["cluster.local"]),
        namespaces: texts(&["default", "other", "strict"]),
        service_accounts: PODS.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        addresses: addresses.map(|ip| ip.parse()).collect::<Result<_, _>>()?,
        ports: PORTS.into(),
    };
    let drawn: Vec<_> = (0..draw.below(5))
        .map(|number| draw.policy(&format!("p{number}"), &pool))
        .collect();
    let yaml: String = drawn.iter().map(|policy| policy.yaml()).collect();
    let parsed = parse_mesh(&format!("policies:\n{yaml}"), "mesh.yaml");
    let parsed = parsed.map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(parsed.rejected.is_empty(), "{yaml}");
    let named = parsed.policies.into_iter();
    mesh.policies = named.map(|p| (p.name.clone(), p)).collect();
    let mut names: Vec<NamespacedName> = mesh.policies.keys().cloned().collect();
    names.push(NamespacedName::new("default", "yet to arrive"));
    for workload in mesh.workloads.values_mut() {
        let some = (0..draw.below(3)).filter_map(|_| names.get(draw.below(12)).cloned());
        workload.authorization_policies = some.collect();
    }
    Ok(mesh)
}

#[test]
fn kernel_and_host_agree_on_any_policies() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let draw = &mut Draw::new(0x9e37_79b9_7f4a_7c15);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..MESHES {
        kernel.apply(&changed(draw)?, &node()?)?;
        for from in ["client", "neighbour", "ruled", "waypoint"] {
            for to in [
                "10.1.0.2",
                "fd00:1::2",
                "10.1.0.4",
                "10.1.0.6",
                "10.1.0.7",
                "fd00:1::7",
            ] {
                for port in PORTS.into_iter().chain([1, 65535]) {
                    let to = SocketAddr::new(to.parse()?, port);
                    let found = kernel.explain(from, to)?;
                    let host = kernel.decide(from, to, 1)?;
                    ensure!(
                        found == host,
                        "mesh {number}: {from} to {to}: {found:?}, {host:?}"
                    );
                    ensure!(
                        found.steer
                            == !matches!(found.reason, Reason::LocalBypass | Reason::OwnAddress)
                    );
                    *seen.entry(found.reason.label()).or_default() += 1;
                }
            }
        }
    }
    for reason in [
        Reason::LocalBypass,
        Reason::LocalPolicy,
        Reason::LocalNotEvaluated,
    ] {
        let count = seen.get(reason.label()).copied().unwrap_or_default();
        ensure!(count > 100, "{reason:?} {count} times: {seen:?}");
    }
    Ok(())
}
