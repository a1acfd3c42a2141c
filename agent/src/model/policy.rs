//! Authorization policies: who may connect to which workloads.

use ipnet::IpNet;

use super::{NamespacedName, Text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: NamespacedName,
    pub scope: PolicyScope,
    pub action: PolicyAction,
    /// Any must match; without rules the policy matches nothing.
    pub rules: Vec<Rule>,
    /// Never enforced.
    pub dry_run: bool,
    /// What this version does not understand of it: then nobody can tell what it says.
    pub unknown: Option<Text>,
}

/// Which workloads a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyScope {
    Global,
    /// Every workload of the policy's namespace; the empty namespace is the whole mesh.
    Namespace,
    /// Workloads that name the policy.
    WorkloadSelector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyAction {
    Allow,
    Deny,
}

/// All clauses must match; without any it matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub clauses: Vec<Clause>,
}

/// Any must match; without any it matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clause {
    pub matches: Vec<Match>,
}

/// All fields must match; without any it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Of the source's identity.
    pub namespaces: Condition<StringMatch>,
    /// The source's identity, without `spiffe://`.
    pub principals: Condition<StringMatch>,
    /// Of the source's identity.
    pub service_accounts: Condition<ServiceAccount>,
    pub source_ips: Condition<IpNet>,
    pub destination_ips: Condition<IpNet>,
    pub destination_ports: Condition<u16>,
}

/// A field of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition<T> {
    /// Any of these, where there are any.
    pub any_of: Vec<T>,
    pub none_of: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    Exact(Text),
    Prefix(Text),
    Suffix(Text),
    /// Whatever is not empty.
    Presence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: Text,
    pub name: Text,
}

impl<T> Default for Condition<T> {
    fn default() -> Self {
        Self {
            any_of: Vec::new(),
            none_of: Vec::new(),
        }
    }
}

impl<T> Condition<T> {
    /// Nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.any_of.len() + self.none_of.len()
    }
}

impl Match {
    /// Number of values.
    pub fn len(&self) -> usize {
        let Self {
            namespaces,
            principals,
            service_accounts,
            source_ips,
            destination_ips,
            destination_ports,
        } = self;
        namespaces.len()
            + principals.len()
            + service_accounts.len()
            + source_ips.len()
            + destination_ips.len()
            + destination_ports.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Policy {
    /// In place of one that could not be read: it applies to `scope`, and what it says is not
    /// known.
    pub fn unreadable(name: NamespacedName, scope: PolicyScope) -> Self {
        Self {
            name,
            scope,
            action: PolicyAction::Deny,
            rules: Vec::new(),
            dry_run: false,
            unknown: Some("it was rejected".into()),
        }
    }

    pub fn matches(&self) -> impl Iterator<Item = &Match> {
        let clauses = self.rules.iter().flat_map(|rule| &rule.clauses);
        clauses.flat_map(|clause| &clause.matches)
    }
}
