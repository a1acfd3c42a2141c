//! `policies[]`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::{Draft, Key, Read, peek};
use super::fields::{Field, Fields};
use super::problems::{Problems, quoted};
use super::yaml::Node;
use crate::model::{
    Clause, Condition, Match, NamespacedName, Policy, PolicyAction, PolicyScope, Rule,
    ServiceAccount, StringMatch, Text,
};

const SCOPES: [(&str, PolicyScope); 3] = [
    ("Global", PolicyScope::Global),
    ("Namespace", PolicyScope::Namespace),
    ("WorkloadSelector", PolicyScope::WorkloadSelector),
];
const ACTIONS: [(&str, PolicyAction); 2] =
    [("Allow", PolicyAction::Allow), ("Deny", PolicyAction::Deny)];

impl Read for Policy {
    fn label(node: &Node<'_>) -> Option<String> {
        let name = peek(node, "name")?;
        let namespace = peek(node, "namespace").unwrap_or_default();
        Some(format!("policy {namespace}/{name}"))
    }

    /// Where the scope cannot be read it is the whole mesh: a policy that is not understood must
    /// not be taken for one that does not apply.
    fn read(root: &Field<'_, '_>, problems: &mut Problems) -> Draft<Self> {
        let mut policy = Self {
            name: NamespacedName::new("", ""),
            scope: PolicyScope::Global,
            action: PolicyAction::Deny,
            rules: Vec::new(),
            dry_run: false,
            unknown: None,
        };
        let Some(mut fields) = root.fields(problems) else {
            return draft(policy);
        };
        policy.name.name = fields.required_text("name", problems);
        let namespace = fields.get("namespace");
        let has_namespace = namespace.is_some();
        let namespace = namespace.and_then(|field| field.text(problems));
        policy.name.namespace = namespace.unwrap_or_default().into();
        let scope = fields.required("scope", problems);
        let scope = scope.and_then(|scope| scope.one_of(&SCOPES, problems));
        policy.scope = scope.unwrap_or(PolicyScope::Global);
        if !has_namespace && policy.scope != PolicyScope::Global {
            fields.required("namespace", problems);
        }
        let action = fields.required("action", problems);
        let action = action.and_then(|action| action.one_of(&ACTIONS, problems));
        policy.action = action.unwrap_or(PolicyAction::Deny);
        policy.dry_run = fields.flag("dryRun", problems);
        let rules = fields.list("rules", problems);
        policy.rules = all(&rules, |field| read_rule(field, problems));
        fields.finish(problems);
        draft(policy)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

fn draft(policy: Policy) -> Draft<Policy> {
    Draft {
        key: (!policy.name.name.is_empty()).then(|| Key::Policy(policy.name.clone())),
        value: policy,
        lacks_addresses: false,
    }
}

fn all<'n, 'a, T>(fields: &[Field<'n, 'a>], read: impl FnMut(&Field<'n, 'a>) -> T) -> Vec<T> {
    fields.iter().map(read).collect()
}

/// What cannot be read is left out, and the policy rejected for it.
fn read_rule(field: &Field<'_, '_>, problems: &mut Problems) -> Rule {
    let clauses = field.list(problems);
    let clauses = all(&clauses, |clause| {
        let matches = clause.list(problems);
        let matches = all(&matches, |field| read_match(field, problems));
        Clause { matches }
    });
    Rule { clauses }
}

fn read_match(field: &Field<'_, '_>, problems: &mut Problems) -> Match {
    let Some(mut fields) = field.fields(problems) else {
        return Match::default();
    };
    let condition = Match {
        namespaces: read(
            &mut fields,
            ["namespaces", "notNamespaces"],
            problems,
            read_string_match,
        ),
        principals: read(
            &mut fields,
            ["principals", "notPrincipals"],
            problems,
            read_string_match,
        ),
        service_accounts: read(
            &mut fields,
            ["serviceAccounts", "notServiceAccounts"],
            problems,
            read_service_account,
        ),
        source_ips: read(
            &mut fields,
            ["sourceIps", "notSourceIps"],
            problems,
            read_block,
        ),
        destination_ips: read(
            &mut fields,
            ["destinationIps", "notDestinationIps"],
            problems,
            read_block,
        ),
        destination_ports: read(
            &mut fields,
            ["destinationPorts", "notDestinationPorts"],
            problems,
            |field, problems| field.port_or_zero(problems),
        ),
    };
    fields.finish(problems);
    condition
}

fn read<T>(
    fields: &mut Fields<'_, '_>,
    [any_of, none_of]: [&'static str; 2],
    problems: &mut Problems,
    read: impl Fn(&Field<'_, '_>, &mut Problems) -> Option<T>,
) -> Condition<T> {
    let mut values = |key| {
        let items = fields.list(key, problems);
        let values = items.iter().filter_map(|item| read(item, problems));
        values.collect()
    };
    Condition {
        any_of: values(any_of),
        none_of: values(none_of),
    }
}

fn read_block(field: &Field<'_, '_>, problems: &mut Problems) -> Option<IpNet> {
    field.cidr(problems)
}

/// `!Exact foo`, `Exact: foo` or `Presence`.
fn read_string_match(field: &Field<'_, '_>, problems: &mut Problems) -> Option<StringMatch> {
    let (variant, content) = field.variant(problems)?;
    let make: fn(Text) -> StringMatch = match variant {
        "Exact" => StringMatch::Exact,
        "Prefix" => StringMatch::Prefix,
        "Suffix" => StringMatch::Suffix,
        "Presence" => return Some(StringMatch::Presence),
        other => {
            let message = format!(
                "{} is not one of Prefix, Suffix, Exact, Presence",
                quoted(other)
            );
            field.error(problems, message);
            return None;
        }
    };
    let Some(content) = content else {
        field.error(problems, "needs a value");
        return None;
    };
    content.text(problems).map(|text| make(text.into()))
}

fn read_service_account(field: &Field<'_, '_>, problems: &mut Problems) -> Option<ServiceAccount> {
    let mut fields = field.fields(problems)?;
    let account = ServiceAccount {
        namespace: fields.required_text("namespace", problems),
        name: fields.required_text("serviceAccount", problems),
    };
    fields.finish(problems);
    Some(account)
}
