//! Policies, evaluated word by word as they are documented, and drawn at random.
//!
//! Deliberately naive, and nothing of it is the agent's: its policies are written as YAML and go
//! through all of the agent before the two are compared.

use std::fmt::Write as _;
use std::net::IpAddr;

#[derive(Debug, Clone)]
pub struct NaivePolicy {
    pub namespace: String,
    pub name: String,
    /// As in the mesh file.
    pub scope: &'static str,
    pub deny: bool,
    pub dry_run: bool,
    /// Rules, of clauses, of matches.
    pub rules: Vec<Vec<Vec<NaiveMatch>>>,
}

#[derive(Debug, Clone, Default)]
pub struct NaiveMatch {
    pub namespaces: Vec<NaiveText>,
    pub not_namespaces: Vec<NaiveText>,
    pub principals: Vec<NaiveText>,
    pub not_principals: Vec<NaiveText>,
    /// Namespace and name.
    pub service_accounts: Vec<(String, String)>,
    pub not_service_accounts: Vec<(String, String)>,
    pub source_ips: Vec<Block>,
    pub not_source_ips: Vec<Block>,
    pub destination_ips: Vec<Block>,
    pub not_destination_ips: Vec<Block>,
    pub destination_ports: Vec<u16>,
    pub not_destination_ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NaiveText {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Presence,
}

/// First address and length.
pub type Block = (IpAddr, u8);

/// One connection of a source with an identity.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub trust_domain: String,
    pub namespace: String,
    pub service_account: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
}

/// What policies that apply say. "Any enforced DENY that matches denies; with no enforced ALLOW
/// policy it is allowed; else one ALLOW must match."
pub fn allows(policies: &[&NaivePolicy], attempt: &Attempt) -> bool {
    let enforced = || policies.iter().filter(|policy| !policy.dry_run);
    for policy in enforced() {
        if policy.deny && policy_matches(policy, attempt) {
            return false;
        }
    }
    if enforced().all(|policy| policy.deny) {
        return true;
    }
    for policy in enforced() {
        if !policy.deny && policy_matches(policy, attempt) {
            return true;
        }
    }
    false
}

/// "Any rule; within it all clauses; a policy without rules matches nothing."
fn policy_matches(policy: &NaivePolicy, attempt: &Attempt) -> bool {
    for rule in &policy.rules {
        let mut all = true;
        for clause in rule {
            if !clause_matches(clause, attempt) {
                all = false;
            }
        }
        if all {
            return true;
        }
    }
    false
}

/// "Within a clause any match; an empty clause matches."
fn clause_matches(clause: &[NaiveMatch], attempt: &Attempt) -> bool {
    if clause.is_empty() {
        return true;
    }
    for one in clause {
        if match_matches(one, attempt) {
            return true;
        }
    }
    false
}

/// "An empty match does not; within a match all fields; within a field any value, and none of its
/// `not_` values."
fn match_matches(one: &NaiveMatch, attempt: &Attempt) -> bool {
    let Attempt {
        trust_domain,
        namespace,
        service_account,
        source,
        destination,
        port,
    } = attempt;
    let principal = format!("{trust_domain}/ns/{namespace}/sa/{service_account}");
    let is_account = |(of, name): &(String, String)| of == namespace && name == service_account;
    let fields = [
        field(&one.namespaces, |v| v.is(namespace)),
        none_of(&one.not_namespaces, |v| v.is(namespace)),
        field(&one.principals, |v| v.is(&principal)),
        none_of(&one.not_principals, |v| v.is(&principal)),
        field(&one.service_accounts, is_account),
        none_of(&one.not_service_accounts, is_account),
        field(&one.source_ips, |block| is_in(*source, *block)),
        none_of(&one.not_source_ips, |block| is_in(*source, *block)),
        field(&one.destination_ips, |block| is_in(*destination, *block)),
        none_of(&one.not_destination_ips, |block| {
            is_in(*destination, *block)
        }),
        field(&one.destination_ports, |v| v == port),
        none_of(&one.not_destination_ports, |v| v == port),
    ];
    // `None` for a field that is not there.
    let mut present = fields.into_iter().flatten().peekable();
    present.peek().is_some() && present.all(|met| met)
}

fn field<T>(values: &[T], is: impl Fn(&T) -> bool) -> Option<bool> {
    (!values.is_empty()).then(|| values.iter().any(is))
}

fn none_of<T>(values: &[T], is: impl Fn(&T) -> bool) -> Option<bool> {
    field(values, is).map(|any| !any)
}

fn is_in(address: IpAddr, (block, length): Block) -> bool {
    let (address, block): (Vec<u8>, Vec<u8>) = match (address, block) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.octets().to_vec(), b.octets().to_vec()),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.octets().to_vec(), b.octets().to_vec()),
        _ => return false,
    };
    let bit = |bytes: &[u8], at: u8| bytes[usize::from(at / 8)] >> (7 - at % 8) & 1;
    (0..length).all(|at| bit(&address, at) == bit(&block, at))
}

impl NaiveText {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Presence => !text.is_empty(),
        }
    }

    /// As ztunnel and the agent read it.
    fn yaml(&self) -> String {
        match self {
            Self::Exact(text) => format!("!Exact \"{text}\""),
            Self::Prefix(text) => format!("!Prefix \"{text}\""),
            Self::Suffix(text) => format!("!Suffix \"{text}\""),
            Self::Presence => "!Presence []".to_owned(),
        }
    }
}

impl NaivePolicy {
    /// Whether it applies to a workload of a namespace that names these.
    pub fn applies(&self, namespace: &str, named: &[String]) -> bool {
        let is_of = match self.scope {
            "Global" => true,
            "Namespace" => self.namespace == namespace,
            _ => false,
        };
        is_of || named.contains(&format!("{}/{}", self.namespace, self.name))
    }

    /// An entry of `policies:` in a mesh file.
    pub fn yaml(&self) -> String {
        let rules = list(&self.rules, |rule| {
            list(rule, |clause| list(clause, NaiveMatch::yaml))
        });
        let Self {
            namespace,
            name,
            scope,
            deny,
            dry_run,
            ..
        } = self;
        let action = if *deny { "Deny" } else { "Allow" };
        format!(
            "- {{name: {name}, namespace: {namespace}, scope: {scope}, action: {action}, \
             rules: {rules}, dryRun: {dry_run}}}\n"
        )
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let matches = self.rules.iter().flatten().flatten();
        matches.flat_map(|m| {
            m.destination_ports
                .iter()
                .chain(&m.not_destination_ports)
                .copied()
        })
    }
}

fn list<T>(values: &[T], yaml: impl Fn(&T) -> String) -> String {
    let values: Vec<String> = values.iter().map(yaml).collect();
    format!("[{}]", values.join(", "))
}

impl NaiveMatch {
    fn yaml(&self) -> String {
        let mut text = String::new();
        let mut field = |key: &str, values: String| {
            if values != "[]" {
                let comma = if text.is_empty() { "" } else { ", " };
                let _written = write!(text, "{comma}{key}: {values}");
            }
        };
        let texts = |values: &[NaiveText]| list(values, NaiveText::yaml);
        field("namespaces", texts(&self.namespaces));
        field("notNamespaces", texts(&self.not_namespaces));
        field("principals", texts(&self.principals));
        field("notPrincipals", texts(&self.not_principals));
        let accounts = |values: &[(String, String)]| {
            list(values, |(namespace, name)| {
                format!("{{namespace: {namespace}, serviceAccount: {name}}}")
            })
        };
        field("serviceAccounts", accounts(&self.service_accounts));
        field("notServiceAccounts", accounts(&self.not_service_accounts));
        let blocks = |values: &[Block]| list(values, |(ip, length)| format!("\"{ip}/{length}\""));
        field("sourceIps", blocks(&self.source_ips));
        field("notSourceIps", blocks(&self.not_source_ips));
        field("destinationIps", blocks(&self.destination_ips));
        field("notDestinationIps", blocks(&self.not_destination_ips));
        let ports = |values: &[u16]| list(values, u16::to_string);
        field("destinationPorts", ports(&self.destination_ports));
        field("notDestinationPorts", ports(&self.not_destination_ports));
        format!("{{{text}}}")
    }
}
