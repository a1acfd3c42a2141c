//! Evaluation against the naive evaluator, and its corners one by one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::naive::drawn::{Draw, Pool};
use super::naive::policies::{Attempt, NaivePolicy, allows};
use super::{Decision, Destination, Obstacle, Ports, Source, decide, evaluate};
use crate::model::{NamespacedName, Policy};
use crate::source::file::parse_mesh;

fn read(yaml: &str) -> Vec<Policy> {
    let parsed = parse_mesh(&format!("policies:\n{yaml}"), "mesh.yaml").expect("it parses");
    assert!(
        parsed.rejected.is_empty(),
        "{:?}\n{yaml}",
        parsed.diagnostics
    );
    parsed.policies
}

fn source(addresses: &[&str]) -> Source {
    Source {
        principal: "cluster.local/ns/shop/sa/web".into(),
        namespace: "shop".into(),
        service_account: "web".into(),
        addresses: addresses
            .iter()
            .map(|a| a.parse().expect("v4 or v6"))
            .collect(),
    }
}

fn destination(policies: Vec<Policy>) -> Destination {
    let named = |policy: Policy| (policy.name.clone(), Some(policy));
    Destination {
        address: "10.0.0.9".parse().expect("v4"),
        policies: policies.into_iter().map(named).collect(),
    }
}

/// One policy, as far as its action and its rules go.
fn one(action: &str, rules: &str) -> Destination {
    destination(read(&format!(
        "- {{name: p, namespace: n, scope: Namespace, action: {action}, rules: {rules}}}\n"
    )))
}

fn ports(to: &Destination) -> Ports {
    evaluate(&source(&["10.0.0.1"]), to).expect("an answer")
}

#[test]
fn corners() {
    for (rules, expected) in [
        // Nothing matches a policy without rules, and everything a rule without clauses.
        ("[]", Ports::NONE),
        ("[[]]", Ports::ALL),
        ("[[[]]]", Ports::ALL),
        ("[[[{}]]]", Ports::NONE),
        ("[[[{}, {namespaces: [!Exact shop]}]]]", Ports::ALL),
        ("[[[], [{}]]]", Ports::NONE),
        // No identity begins with the scheme.
        ("[[[{principals: [!Prefix spiffe]}]]]", Ports::NONE),
        ("[[[{principals: [!Prefix \"\"]}]]]", Ports::ALL),
        ("[[[{principals: [!Suffix /sa/web]}]]]", Ports::ALL),
        ("[[[{principals: [Presence]}]]]", Ports::ALL),
        ("[[[{notPrincipals: [Presence]}]]]", Ports::NONE),
        ("[[[{namespaces: [!Exact \"\"]}]]]", Ports::NONE),
        // A value that is asked for and excluded.
        (
            "[[[{destinationPorts: [1, 2], notDestinationPorts: [2]}]]]",
            Ports::of(&[1]),
        ),
        (
            "[[[{notDestinationPorts: [2]}]]]",
            Ports::of(&[2]).complement(),
        ),
        ("[[[{sourceIps: [10.0.0.0/31]}]]]", Ports::ALL),
        ("[[[{sourceIps: [\"::/0\"]}]]]", Ports::NONE),
        ("[[[{destinationIps: [10.0.0.9]}]]]", Ports::ALL),
        (
            "[[[{serviceAccounts: [{namespace: shop, serviceAccount: web}]}]]]",
            Ports::ALL,
        ),
        (
            "[[[{serviceAccounts: [{namespace: web, serviceAccount: shop}]}]]]",
            Ports::NONE,
        ),
    ] {
        assert_eq!(ports(&one("Allow", rules)), expected, "{rules}");
        assert_eq!(ports(&one("Deny", rules)), expected.complement(), "{rules}");
    }
}

#[test]
fn without_policies_all_is_allowed() {
    assert_eq!(ports(&destination(Vec::new())), Ports::ALL);
}

#[test]
fn who_decides_is_told() {
    let policies = read(
        "- {name: open, namespace: n, scope: Namespace, action: Allow, rules: [[[{destinationPorts: [80]}]]]}\n\
         - {name: shut, namespace: n, scope: Namespace, action: Deny, rules: [[[{destinationPorts: [81]}]]]}\n",
    );
    let to = destination(policies);
    let said = |port| decide(&source(&["10.0.0.1"]), &to, port).to_string();
    assert_eq!(said(80), "allowed by n/open");
    assert_eq!(said(81), "denied by n/shut");
    assert_eq!(said(82), "denied: no policy allows it");
    let said = decide(&source(&[]), &destination(Vec::new()), 80);
    assert_eq!(said, Decision::Allowed(None));
}

#[test]
fn obstacles() {
    let to = one("Deny", "[[[{sourceIps: [10.0.0.1]}]]]");
    let two = source(&["10.0.0.1", "fd00::1", "10.0.0.2"]);
    assert_eq!(evaluate(&two, &to), Err(Obstacle::SourceAddress));
    assert_eq!(
        evaluate(&source(&["fd00::1"]), &to),
        Err(Obstacle::NoAddress)
    );
    let same = source(&["10.0.0.2", "fd00::1", "10.0.0.3"]);
    assert_eq!(evaluate(&same, &to), Ok(Ports::ALL));

    let name = NamespacedName::new("n", "p");
    let missing = Destination {
        policies: vec![(name.clone(), None)],
        ..to.clone()
    };
    let expected = Err(Obstacle::NotArrived(name.clone()));
    assert_eq!(evaluate(&same, &missing), expected);

    let mut unknown = to.clone();
    if let Some((_, Some(policy))) = unknown.policies.first_mut() {
        policy.unknown = Some("odd".into());
    }
    let expected = Err(Obstacle::Unknown(name.clone(), "odd".into()));
    assert_eq!(evaluate(&same, &unknown), expected);

    let many: Vec<String> = (1..=4097).map(|port| port.to_string()).collect();
    let rules = format!("[[[{{destinationPorts: [{}]}}]]]", many.join(", "));
    let expected = Err(Obstacle::TooLarge(name, 4097));
    assert_eq!(evaluate(&same, &one("Deny", &rules)), expected);
}

fn pool() -> Pool {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Pool {
        trust_domains: texts(&["cluster.local", "td"]),
        namespaces: texts(&["shop", "shed", "n"]),
        service_accounts: texts(&["web", "db"]),
        addresses: ["10.0.0.1", "10.0.0.2", "10.0.0.9", "fd00::1", "fd00::9"]
            .map(|a| a.parse().expect("an address"))
            .into(),
        ports: vec![80, 81, 443, 8080],
    }
}

fn agree(seed: u64) -> Result<(), TestCaseError> {
    let draw = &mut Draw::new(seed);
    let pool = pool();
    let naive: Vec<NaivePolicy> = (0..=draw.below(3))
        .map(|number| draw.policy(&format!("p{number}"), &pool))
        .collect();
    let yaml: String = naive.iter().map(NaivePolicy::yaml).collect();
    let enforced = read(&yaml).into_iter().filter(|policy| !policy.dry_run);
    let mut to = destination(enforced.collect());
    to.address = draw.of(&pool.addresses);
    let addresses: BTreeSet<IpAddr> = (0..=draw.below(2))
        .map(|_| draw.of(&pool.addresses))
        .collect();
    let (trust_domain, namespace) = (draw.of(&pool.trust_domains), draw.of(&pool.namespaces));
    let service_account = draw.of(&pool.service_accounts);
    let from = Source {
        principal: format!("{trust_domain}/ns/{namespace}/sa/{service_account}").into(),
        namespace: namespace.as_str().into(),
        service_account: service_account.as_str().into(),
        addresses: addresses.iter().copied().collect(),
    };
    let all: Vec<&NaivePolicy> = naive.iter().collect();
    let answer = |source: IpAddr, port: u16| {
        let (trust_domain, namespace) = (trust_domain.clone(), namespace.clone());
        let service_account = service_account.clone();
        let destination = to.address;
        allows(
            &all,
            &Attempt {
                trust_domain,
                namespace,
                service_account,
                source,
                destination,
                port,
            },
        )
    };
    let usable = || {
        addresses
            .iter()
            .filter(|a| a.is_ipv4() == to.address.is_ipv4())
    };
    let others = [1, 8079, 65535];
    match evaluate(&from, &to) {
        Ok(found) => {
            for port in pool.ports.iter().copied().chain(others) {
                for source in usable() {
                    let expected = answer(*source, port);
                    prop_assert_eq!(
                        found.contains(port),
                        expected,
                        "{} {}\n{}",
                        source,
                        port,
                        &yaml
                    );
                    let decision = decide(&from, &to, port);
                    prop_assert_eq!(matches!(decision, Decision::Allowed(_)), expected);
                }
            }
        }
        Err(Obstacle::NoAddress) => prop_assert_eq!(usable().count(), 0),
        Err(Obstacle::SourceAddress) => {
            let mut ports = pool.ports.iter().copied().chain(others);
            let differ = |port| {
                usable()
                    .map(|ip| answer(*ip, port))
                    .collect::<BTreeSet<_>>()
                    .len()
                    > 1
            };
            prop_assert!(ports.any(differ), "{}", yaml);
        }
        Err(obstacle) => prop_assert!(false, "{obstacle}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn evaluation_is_what_is_documented(seed in any::<u64>()) {
        agree(seed)?;
    }

    #[test]
    fn ports_are_sets(
        a in proptest::collection::btree_set(0..6_u16, 0..6), x in any::<bool>(),
        b in proptest::collection::btree_set(0..6_u16, 0..6), y in any::<bool>(),
    ) {
        let (a, b) = (Ports { others: x, exceptions: a }, Ports { others: y, exceptions: b });
        for port in 0..8 {
            let (in_a, in_b) = (a.contains(port), b.contains(port));
            prop_assert_eq!(a.clone().and(b.clone()).contains(port), in_a && in_b);
            prop_assert_eq!(a.clone().or(b.clone()).contains(port), in_a || in_b);
            prop_assert_eq!(a.clone().complement().contains(port), !in_a);
        }
    }
}
