//! Pods of the node and policies, drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use waysteer_common::verdict::Reason;

use super::decide;
use crate::authorize::naive::drawn::{Draw, Pool};
use crate::authorize::naive::policies::{Attempt, NaivePolicy, allows};
use crate::compile::{Authorizations, EnrolledPod, Tables};
use crate::model::Mesh;
use crate::source::file::{FileState, parse_mesh};

const NAMESPACES: [&str; 3] = ["shop", "shed", "yard"];
const ACCOUNTS: [&str; 2] = ["web", "db"];
const TRUST_DOMAINS: [&str; 2] = ["cluster.local", "td"];
const PORTS: [u16; 5] = [80, 81, 443, 8080, 9000];

/// A pod of the node, and its workload.
#[derive(Debug, Clone)]
struct Neighbour {
    netns: u64,
    trust_domain: String,
    namespace: String,
    account: String,
    addresses: Vec<IpAddr>,
    /// Policies that it names.
    named: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Scene {
    pods: Vec<Neighbour>,
    policies: Vec<NaivePolicy>,
}

pub(in crate::compile::tests) fn pool(addresses: Vec<IpAddr>) -> Pool {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Pool {
        trust_domains: texts(&TRUST_DOMAINS),
        namespaces: texts(&NAMESPACES),
        service_accounts: texts(&ACCOUNTS),
        addresses,
        ports: PORTS.into(),
    }
}

impl Scene {
    pub(super) fn draw(draw: &mut Draw) -> Self {
        let pods: Vec<Neighbour> = (1..=3 + draw.below(3))
            .map(|number| {
                let v4 = |host: usize| format!("10.1.0.{host}").parse().expect("v4");
                let v6 = format!("fd00::{number}").parse().expect("v6");
                let mut addresses = vec![v4(number), v6];
                if draw.one_in(3) {
                    addresses.push(v4(number + 100));
                }
                Neighbour {
                    netns: 1000 + number as u64,
                    trust_domain: draw.of(&TRUST_DOMAINS).to_owned(),
                    namespace: draw.of(&NAMESPACES).to_owned(),
                    account: draw.of(&ACCOUNTS).to_owned(),
                    addresses,
                    named: Vec::new(),
                }
            })
            .collect();
        let mut scene = Self {
            pods,
            policies: Vec::new(),
        };
        scene.draw_policies(draw);
        scene
    }

    pub(super) fn draw_policies(&mut self, draw: &mut Draw) {
        let addresses = self.pods.iter().flat_map(|pod| pod.addresses.clone());
        let pool = pool(addresses.collect());
        self.policies = (0..draw.below(5))
            .map(|number| draw.policy(&format!("p{number}"), &pool))
            .collect();
        let mut names: Vec<String> = self
            .policies
            .iter()
            .map(|policy| format!("{}/{}", policy.namespace, policy.name))
            .collect();
        names.push("shop/not-arrived".to_owned());
        for pod in &mut self.pods {
            let rare = |draw: &mut Draw| draw.below(names.len() * 2 + 1);
            let named = (0..draw.below(3)).filter_map(|_| names.get(rare(draw)).cloned());
            pod.named = named.collect();
        }
    }

    pub(super) fn mesh(&self) -> Mesh {
        let mut yaml = String::from("workloads:\n");
        for pod in &self.pods {
            let Neighbour {
                netns,
                trust_domain,
                namespace,
                account,
                addresses,
                named,
            } = pod;
            let _written = writeln!(
                yaml,
                "- {{uid: u{netns}, name: pod{netns}, namespace: {namespace}, node: node1, \
                 trustDomain: {trust_domain}, serviceAccount: {account}, protocol: HBONE, \
                 workloadIps: {}, authorizationPolicies: {}}}",
                quoted(addresses),
                quoted(named),
            );
        }
        yaml += "policies:\n";
        yaml.extend(self.policies.iter().map(NaivePolicy::yaml));
        let parsed = parse_mesh(&yaml, "mesh.yaml").expect("it parses");
        assert!(
            parsed.rejected.is_empty(),
            "{:?}\n{yaml}",
            parsed.diagnostics
        );
        let mut mesh = Mesh::default();
        mesh.apply(FileState::default().next(parsed));
        mesh
    }

    pub(super) fn enrolled(&self) -> Vec<EnrolledPod> {
        let pod = |pod: &Neighbour| EnrolledPod {
            netns: pod.netns,
            name: format!("pod{}", pod.netns),
            namespace: pod.namespace.clone(),
            service_account: pod.account.clone(),
            addresses: pod.addresses.clone(),
        };
        self.pods.iter().map(pod).collect()
    }

    /// What is to become of a flow, and how many answers there were to choose from.
    fn expected(&self, from: &Neighbour, to: &Neighbour, address: SocketAddr) -> Reason {
        let applying = self.policies.iter();
        let applying: Vec<&NaivePolicy> = applying
            .filter(|policy| policy.applies(&to.namespace, &to.named))
            .collect();
        let is_known = |name: &String| {
            let mut known = self.policies.iter();
            known.any(|policy| *name == format!("{}/{}", policy.namespace, policy.name))
        };
        if !to.named.iter().all(is_known) {
            return Reason::LocalNotEvaluated;
        }
        let answer = |source: &IpAddr, port: u16| {
            allows(
                &applying,
                &Attempt {
                    trust_domain: from.trust_domain.clone(),
                    namespace: from.namespace.clone(),
                    service_account: from.account.clone(),
                    source: *source,
                    destination: address.ip(),
                    port,
                },
            )
        };
        // A pod that has several addresses may use any.
        let sources = || {
            let all = from.addresses.iter();
            all.filter(|ip| ip.is_ipv4() == address.is_ipv4())
        };
        let mut mentioned: BTreeSet<u16> = applying.iter().flat_map(|p| p.ports()).collect();
        mentioned.extend([1, address.port()]);
        for port in mentioned {
            let answers: BTreeSet<bool> = sources().map(|ip| answer(ip, port)).collect();
            if answers.len() != 1 {
                return Reason::LocalNotEvaluated;
            }
        }
        if sources().all(|ip| answer(ip, address.port())) {
            Reason::LocalBypass
        } else {
            Reason::LocalPolicy
        }
    }

    pub(super) fn check(
        &self,
        tables: &Tables,
        authorizations: &Authorizations,
        seen: &mut BTreeMap<&'static str, usize>,
    ) -> Result<(), TestCaseError> {
        for from in &self.pods {
            for to in self.pods.iter().filter(|to| to.netns != from.netns) {
                for address in &to.addresses {
                    for port in PORTS.into_iter().chain([1, 65535]) {
                        let address = SocketAddr::new(*address, port);
                        let expected = self.expected(from, to, address);
                        let (reason, steered) = decide(tables, from.netns, address);
                        prop_assert_eq!(
                            reason,
                            expected,
                            "{:?} to {:?} at {}\n{:#?}",
                            from,
                            to,
                            address,
                            &self.policies
                        );
                        prop_assert_eq!(steered, expected != Reason::LocalBypass);
                        let said = authorizations.decide(from.netns, address.ip(), port);
                        let said = said.map_or("allowed".to_owned(), |said| said.to_string());
                        let says = match expected {
                            Reason::LocalBypass => "allowed",
                            Reason::LocalPolicy => "denied",
                            _ => "not evaluated",
                        };
                        prop_assert!(said.starts_with(says), "{}, not {}", said, says);
                        *seen.entry(expected.label()).or_default() += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

fn quoted<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|v| format!("{:?}", v.to_string()))
        .collect();
    format!("[{}]", values.join(", "))
}
