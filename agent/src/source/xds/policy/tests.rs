//! What istiod tells is what a file says; and what is not understood is kept as that.

use proptest::prelude::*;
use prost::Message as _;

use super::policy;
use crate::authorize::naive::drawn::{Draw, Pool};
use crate::authorize::naive::policies::{Block, NaiveMatch, NaivePolicy, NaiveText};
use crate::model::{Policy, PolicyAction, PolicyScope};
use crate::source::file::parse_mesh;
use crate::source::xds::proto::authorization as proto;

fn told(policy: &NaivePolicy) -> proto::Authorization {
    let clause = |clause: &Vec<NaiveMatch>| proto::Clause {
        matches: clause.iter().map(one_match).collect(),
    };
    let rule = |rule: &Vec<Vec<NaiveMatch>>| proto::Rule {
        clauses: rule.iter().map(clause).collect(),
    };
    let scope = match policy.scope {
        "Global" => proto::Scope::Global,
        "Namespace" => proto::Scope::Namespace,
        _ => proto::Scope::WorkloadSelector,
    };
    let action = if policy.deny {
        proto::Action::Deny
    } else {
        proto::Action::Allow
    };
    proto::Authorization {
        name: policy.name.clone(),
        namespace: policy.namespace.clone(),
        scope: scope.into(),
        action: action.into(),
        rules: policy.rules.iter().map(rule).collect(),
        dry_run: policy.dry_run,
        extensions: Vec::new(),
    }
}

fn one_match(from: &NaiveMatch) -> proto::Match {
    use proto::string_match::MatchType;
    let text = |text: &NaiveText| proto::StringMatch {
        match_type: Some(match text.clone() {
            NaiveText::Exact(text) => MatchType::Exact(text),
            NaiveText::Prefix(text) => MatchType::Prefix(text),
            NaiveText::Suffix(text) => MatchType::Suffix(text),
            NaiveText::Presence => MatchType::Presence(proto::Presence {}),
        }),
    };
    let texts = |all: &[NaiveText]| all.iter().map(text).collect();
    let account = |(namespace, name): &(String, String)| proto::ServiceAccountMatch {
        namespace: namespace.clone(),
        service_account: name.clone(),
    };
    let accounts = |all: &[(String, String)]| all.iter().map(account).collect();
    let block = |(ip, length): &Block| proto::Address {
        address: match ip {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        },
        length: u32::from(*length),
    };
    let blocks = |all: &[Block]| all.iter().map(block).collect();
    let ports = |all: &[u16]| all.iter().copied().map(u32::from).collect();
    proto::Match {
        namespaces: texts(&from.namespaces),
        not_namespaces: texts(&from.not_namespaces),
        principals: texts(&from.principals),
        not_principals: texts(&from.not_principals),
        source_ips: blocks(&from.source_ips),
        not_source_ips: blocks(&from.not_source_ips),
        destination_ips: blocks(&from.destination_ips),
        not_destination_ips: blocks(&from.not_destination_ips),
        destination_ports: ports(&from.destination_ports),
        not_destination_ports: ports(&from.not_destination_ports),
        service_accounts: accounts(&from.service_accounts),
        not_service_accounts: accounts(&from.not_service_accounts),
        extensions: Vec::new(),
    }
}

fn pool() -> Pool {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Pool {
        trust_domains: texts(&["cluster.local"]),
        namespaces: texts(&["shop", "shed"]),
        service_accounts: texts(&["web", "db"]),
        addresses: ["10.0.0.1", "fd00::1"].map(|a| a.parse().unwrap()).into(),
        ports: vec![80, 443],
    }
}

/// As it comes: encoded, and decoded again.
fn read(from: &proto::Authorization) -> Policy {
    let bytes = from.encode_to_vec();
    let decoded = proto::Authorization::decode(bytes.as_slice()).expect("it can be decoded");
    policy(decoded, bytes.len())
}

proptest! {
    #[test]
    fn both_sources_read_the_same(seed in any::<u64>()) {
        let drawn = Draw::new(seed).policy("p", &pool());
        let text = format!("policies:\n{}", drawn.yaml());
        let parsed = parse_mesh(&text, "mesh.yaml").expect("it parses");
        prop_assert_eq!(parsed.policies, vec![read(&told(&drawn))], "{}", text);
    }
}

/// A policy with one value in each field.
fn plain() -> proto::Authorization {
    let mut one = NaiveMatch::default();
    one.namespaces.push(NaiveText::Presence);
    one.source_ips.push(("10.0.0.0".parse().unwrap(), 8));
    one.destination_ports.push(80);
    told(&NaivePolicy {
        namespace: "shop".into(),
        name: "p".into(),
        scope: "Namespace",
        deny: false,
        dry_run: false,
        rules: vec![vec![vec![one]]],
    })
}

type Change = fn(&mut proto::Authorization);

fn the_match(policy: &mut proto::Authorization) -> &mut proto::Match {
    &mut policy.rules[0].clauses[0].matches[0]
}

#[test]
fn what_is_not_understood_is_kept() {
    assert_eq!(read(&plain()).unknown, None);
    let change: [(&str, Change); 9] = [
        ("scope 9 is not known", |p| p.scope = 9),
        ("action 2 is not known", |p| p.action = 2),
        ("it has extensions", |p| {
            p.extensions.push(proto::Extension {})
        }),
        ("a match has extensions", |p| {
            the_match(p).extensions.push(proto::Extension {});
        }),
        ("a kind of string match is not known", |p| {
            the_match(p).namespaces[0].match_type = None;
        }),
        ("65616 is no port", |p| {
            the_match(p).destination_ports[0] = 65616
        }),
        ("a block of addresses cannot be read", |p| {
            the_match(p).source_ips[0].length = 33;
        }),
        ("a block of addresses cannot be read", |p| {
            the_match(p).source_ips[0].address.pop();
        }),
        ("a block of addresses cannot be read", |p| {
            let mapped = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
            the_match(p).source_ips[0].address = mapped.octets().to_vec();
        }),
    ];
    for (expected, change) in change {
        let mut policy = plain();
        change(&mut policy);
        assert_eq!(read(&policy).unknown.as_deref(), Some(expected));
    }
    let mut policy = plain();
    policy.scope = 9;
    policy.action = 9;
    let read = read(&policy);
    assert_eq!(
        (read.scope, read.action),
        (PolicyScope::Global, PolicyAction::Deny)
    );
}

/// A field of a later version, wherever it is.
#[test]
fn fields_that_are_not_known_are_noticed() {
    let unknown = [0xf8, 0x07, 1];
    let mut outside = plain().encode_to_vec();
    outside.extend(unknown);
    let mut inner = plain().rules[0].clauses[0].matches[0].encode_to_vec();
    inner.extend(unknown);
    let wrap = |field: u8, inner: &[u8]| {
        let length = u8::try_from(inner.len()).expect("it is short");
        [&[field << 3 | 2, length], inner].concat()
    };
    let inside = wrap(5, &wrap(1, &wrap(2, &inner)));
    for bytes in [outside, inside] {
        let decoded = proto::Authorization::decode(bytes.as_slice()).expect("it can be decoded");
        let read = policy(decoded, bytes.len());
        let expected = "it has fields that this version does not know";
        assert_eq!(read.unknown.as_deref(), Some(expected));
    }
}
