//! From istiod's policies to the model.
//!
//! What is not understood of a policy is no error: the policy is kept as one that nobody can
//! evaluate.

use std::net::IpAddr;

use ipnet::IpNet;
use prost::Message as _;

use super::address;
use super::proto::authorization as proto;
use crate::model::{
    Clause, Condition, Match, NamespacedName, Policy, PolicyAction, PolicyScope, Rule,
    ServiceAccount, StringMatch,
};

/// What was not understood first.
#[derive(Debug, Default)]
struct Unknown(Option<String>);

impl Unknown {
    fn note(&mut self, what: impl Into<String>) {
        self.0.get_or_insert(what.into());
    }
}

/// `length` is how many bytes it was in. A scope that is not known counts for the whole mesh.
pub(super) fn policy(from: proto::Authorization, length: usize) -> Policy {
    let mut unknown = Unknown::default();
    if from.encoded_len() != length {
        unknown.note("it has fields that this version does not know");
    }
    let proto::Authorization {
        name,
        namespace,
        scope,
        action,
        rules,
        dry_run,
        extensions,
    } = from;
    if !extensions.is_empty() {
        unknown.note("it has extensions");
    }
    let scope = match proto::Scope::try_from(scope) {
        Ok(proto::Scope::Namespace) => PolicyScope::Namespace,
        Ok(proto::Scope::WorkloadSelector) => PolicyScope::WorkloadSelector,
        Ok(proto::Scope::Global) => PolicyScope::Global,
        Err(_) => {
            unknown.note(format!("scope {scope} is not known"));
            PolicyScope::Global
        }
    };
    let action = match proto::Action::try_from(action) {
        Ok(proto::Action::Allow) => PolicyAction::Allow,
        Ok(proto::Action::Deny) => PolicyAction::Deny,
        Err(_) => {
            unknown.note(format!("action {action} is not known"));
            PolicyAction::Deny
        }
    };
    let rules = rules.into_iter().map(|from| rule(from, &mut unknown));
    Policy {
        name: NamespacedName::new(namespace, name),
        scope,
        action,
        rules: rules.collect(),
        dry_run,
        unknown: unknown.0.map(Into::into),
    }
}

fn rule(from: proto::Rule, unknown: &mut Unknown) -> Rule {
    let clauses = from.clauses.into_iter().map(|from| {
        let matches = from.matches.into_iter();
        let matches = matches.map(|from| one_match(from, unknown)).collect();
        Clause { matches }
    });
    Rule {
        clauses: clauses.collect(),
    }
}

fn one_match(from: proto::Match, unknown: &mut Unknown) -> Match {
    let proto::Match {
        namespaces,
        not_namespaces,
        principals,
        not_principals,
        source_ips,
        not_source_ips,
        destination_ips,
        not_destination_ips,
        destination_ports,
        not_destination_ports,
        service_accounts,
        not_service_accounts,
        extensions,
    } = from;
    if !extensions.is_empty() {
        unknown.note("a match has extensions");
    }
    let mut strings = |any_of, none_of| condition(any_of, none_of, |from| text(from, unknown));
    let namespaces = strings(namespaces, not_namespaces);
    let principals = strings(principals, not_principals);
    let mut blocks = |any_of, none_of| condition(any_of, none_of, |from| block(&from, unknown));
    let source_ips = blocks(source_ips, not_source_ips);
    let destination_ips = blocks(destination_ips, not_destination_ips);
    Match {
        namespaces,
        principals,
        service_accounts: condition(service_accounts, not_service_accounts, |from| {
            Some(ServiceAccount {
                namespace: from.namespace.into(),
                name: from.service_account.into(),
            })
        }),
        source_ips,
        destination_ips,
        destination_ports: condition(destination_ports, not_destination_ports, |port| {
            let known = u16::try_from(port).ok();
            if known.is_none() {
                unknown.note(format!("{port} is no port"));
            }
            known
        }),
    }
}

fn condition<T, U>(
    any_of: Vec<T>,
    none_of: Vec<T>,
    mut convert: impl FnMut(T) -> Option<U>,
) -> Condition<U> {
    let mut all = |values: Vec<T>| values.into_iter().filter_map(&mut convert).collect();
    Condition {
        any_of: all(any_of),
        none_of: all(none_of),
    }
}

fn text(from: proto::StringMatch, unknown: &mut Unknown) -> Option<StringMatch> {
    use proto::string_match::MatchType;
    let Some(kind) = from.match_type else {
        unknown.note("a kind of string match is not known");
        return None;
    };
    Some(match kind {
        MatchType::Exact(text) => StringMatch::Exact(text.into()),
        MatchType::Prefix(text) => StringMatch::Prefix(text.into()),
        MatchType::Suffix(text) => StringMatch::Suffix(text.into()),
        MatchType::Presence(proto::Presence {}) => StringMatch::Presence,
    })
}

fn block(from: &proto::Address, unknown: &mut Unknown) -> Option<IpNet> {
    // IPv4 in the form of IPv6 is not taken for IPv4 by everybody.
    let is_mapped = |ip: &IpAddr| ip.is_ipv4() && from.address.len() != 4;
    let read = address::ip("", &from.address)
        .ok()
        .filter(|ip| !is_mapped(ip));
    let block = read.and_then(|ip| address::block("", ip, from.length).ok());
    if block.is_none() {
        unknown.note("a block of addresses cannot be read");
    }
    block
}

#[cfg(test)]
mod tests;
