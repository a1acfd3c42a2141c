//! `policies[]`: read in full, so that mistakes show, though redirection needs little of them.

use std::net::IpAddr;

use super::entry::{Draft, Key, Read, peek};
use super::fields::{Field, Fields};
use super::problems::{Problems, quoted};
use super::yaml::Node;
use crate::model::{NamespacedName, Policy, PolicyScope};

const SCOPES: [(&str, PolicyScope); 3] = [
    ("Global", PolicyScope::Global),
    ("Namespace", PolicyScope::Namespace),
    ("WorkloadSelector", PolicyScope::WorkloadSelector),
];
const ACTIONS: [(&str, ()); 2] = [("Allow", ()), ("Deny", ())];

/// The matches of a rule that compare strings, addresses and ports.
const STRINGS: [&str; 4] = ["namespaces", "notNamespaces", "principals", "notPrincipals"];
const ACCOUNTS: [&str; 2] = ["serviceAccounts", "notServiceAccounts"];
const CIDRS: [&str; 4] = [
    "sourceIps",
    "notSourceIps",
    "destinationIps",
    "notDestinationIps",
];
const PORTS: [&str; 2] = ["destinationPorts", "notDestinationPorts"];

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
        if let Some(action) = fields.required("action", problems) {
            action.one_of(&ACTIONS, problems);
        }
        fields.flag("dryRun", problems);
        for rule in fields.list("rules", problems) {
            for clause in rule.list(problems) {
                for one_match in clause.list(problems) {
                    read_match(&one_match, problems);
                }
            }
        }
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

fn read_match(field: &Field<'_, '_>, problems: &mut Problems) {
    let Some(mut fields) = field.fields(problems) else {
        return;
    };
    each(&mut fields, &STRINGS, problems, read_string_match);
    each(&mut fields, &ACCOUNTS, problems, read_account_match);
    each(&mut fields, &CIDRS, problems, |field, problems| {
        field.cidr(problems);
    });
    each(&mut fields, &PORTS, problems, |field, problems| {
        field.port_or_zero(problems);
    });
    fields.finish(problems);
}

fn each(
    fields: &mut Fields<'_, '_>,
    keys: &[&'static str],
    problems: &mut Problems,
    read: impl Fn(&Field<'_, '_>, &mut Problems),
) {
    for key in keys {
        for item in fields.list(key, problems) {
            read(&item, problems);
        }
    }
}

/// `!Exact foo`, `Exact: foo` or `Presence`.
fn read_string_match(field: &Field<'_, '_>, problems: &mut Problems) {
    let Some((variant, content)) = field.variant(problems) else {
        return;
    };
    match (variant, content) {
        ("Prefix" | "Suffix" | "Exact", Some(content)) => {
            content.text(problems);
        }
        ("Prefix" | "Suffix" | "Exact", None) => field.error(problems, "needs a value"),
        ("Presence", _) => {}
        (other, _) => {
            let message = format!(
                "{} is not one of Prefix, Suffix, Exact, Presence",
                quoted(other)
            );
            field.error(problems, message);
        }
    }
}

fn read_account_match(field: &Field<'_, '_>, problems: &mut Problems) {
    let Some(mut fields) = field.fields(problems) else {
        return;
    };
    fields.required_text("namespace", problems);
    fields.required_text("serviceAccount", problems);
    fields.finish(problems);
}
