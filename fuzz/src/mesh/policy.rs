//! Policies.

use prost::Message as _;
use waysteer::source::xds::AUTHORIZATION;
use waysteer::source::xds::proto::authorization::{
    Address, Authorization, Clause, Extension, Match, Presence, Rule, ServiceAccountMatch,
    StringMatch, string_match,
};
use waysteer::source::xds::proto::discovery::Resource;

use super::{Choices, resource};

const NAMESPACES: [&str; 4] = ["default", "other", "", "istio-system"];

pub(super) fn name(choices: &mut Choices<'_>) -> String {
    let namespace = choices.one_of(&NAMESPACES);
    format!("{namespace}/p{}", choices.byte() % 3)
}

pub(super) fn policy(choices: &mut Choices<'_>) -> Resource {
    let policy = Authorization {
        name: format!("p{}", choices.byte() % 3),
        namespace: choices.one_of(&NAMESPACES).to_owned(),
        scope: choices.one_of(&[0, 1, 2, 9]),
        action: choices.one_of(&[0, 1, 9]),
        rules: choices.some(2, |choices| Rule {
            clauses: choices.some(2, |choices| Clause {
                matches: choices.some(2, one_match),
            }),
        }),
        dry_run: choices.one_in(8),
        extensions: match choices.one_in(16) {
            true => vec![Extension {}],
            false => Vec::new(),
        },
    };
    let name = format!("{}/{}", policy.namespace, policy.name);
    resource(choices, AUTHORIZATION, name, policy.encode_to_vec())
}

fn one_match(choices: &mut Choices<'_>) -> Match {
    let mut made = Match::default();
    for _ in 0..choices.byte() % 3 {
        match choices.byte() % 12 {
            0 => made.namespaces.push(string(choices)),
            1 => made.not_namespaces.push(string(choices)),
            2 => made.principals.push(string(choices)),
            3 => made.not_principals.push(string(choices)),
            4 => made.source_ips.push(block(choices)),
            5 => made.not_source_ips.push(block(choices)),
            6 => made.destination_ips.push(block(choices)),
            7 => made.not_destination_ips.push(block(choices)),
            8 => made.destination_ports.push(port(choices)),
            9 => made.not_destination_ports.push(port(choices)),
            10 => made.service_accounts.push(account(choices)),
            _ => made.not_service_accounts.push(account(choices)),
        }
    }
    made
}

fn string(choices: &mut Choices<'_>) -> StringMatch {
    use string_match::MatchType;
    let words = [
        "default",
        "other",
        "",
        "cluster.local/ns/default/sa/default",
        "spiffe://cluster.local/ns/default/sa/sa",
        "sa/default",
        "cluster.local/ns/",
    ];
    let word = choices.one_of(&words).to_owned();
    StringMatch {
        match_type: match choices.byte() % 16 {
            0..6 => Some(MatchType::Exact(word)),
            6..9 => Some(MatchType::Prefix(word)),
            9..12 => Some(MatchType::Suffix(word)),
            12..15 => Some(MatchType::Presence(Presence {})),
            _ => None,
        },
    }
}

fn block(choices: &mut Choices<'_>) -> Address {
    let addresses = [
        vec![10, 0, 0, 1],
        vec![10, 0, 0, 0],
        vec![0xfd; 16],
        vec![1],
    ];
    Address {
        address: choices.one_of(&addresses),
        length: choices.one_of(&[32, 24, 0, 128, 129, u32::MAX]),
    }
}

fn port(choices: &mut Choices<'_>) -> u32 {
    choices.one_of(&[80, 443, 0, 15008, 65535, 65536, u32::MAX])
}

fn account(choices: &mut Choices<'_>) -> ServiceAccountMatch {
    ServiceAccountMatch {
        namespace: choices.one_of(&["default", "other", ""]).to_owned(),
        service_account: choices.one_of(&["default", "sa", ""]).to_owned(),
    }
}
