//! Evaluation: rules, clauses and matches become sets of ports.

use std::fmt;
use std::net::IpAddr;

use super::Ports;
use crate::model::{
    Clause, Condition, Match, NamespacedName, Policy, PolicyAction, Rule, StringMatch, Text,
};

/// Who connects: a pod with an identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// `TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    pub principal: Text,
    pub namespace: Text,
    pub service_account: Text,
    /// Every address that it may connect from.
    pub addresses: Vec<IpAddr>,
}

/// To whom: the address of a workload, and the policies that apply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub address: IpAddr,
    /// Those that are enforced; `None` for one that is named and has not arrived.
    pub policies: Vec<(NamespacedName, Option<Policy>)>,
}

/// Why nobody can tell what policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Named by the workload, but not told by the source.
    NotArrived(NamespacedName),
    /// It says what this version does not know.
    Unknown(NamespacedName, Text),
    /// More values than are looked at.
    TooLarge(NamespacedName, usize),
    /// What is said depends on which of the source's addresses is used.
    SourceAddress,
    /// The source has no address of the destination's family.
    NoAddress,
    /// More ports with an answer of their own than an entry holds.
    TooManyPorts(usize),
}

/// What becomes of a connection, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// By a policy, or because none allows anything.
    Allowed(Option<NamespacedName>),
    /// By a policy, or because none of those that allow something allows this.
    Denied(Option<NamespacedName>),
    NotEvaluated(Obstacle),
}

/// A policy with more values is not evaluated.
const MAX_VALUES: usize = 4096;

/// The ports of `to` that policies let `from` connect to.
pub fn evaluate(from: &Source, to: &Destination) -> Result<Ports, Obstacle> {
    let policies = usable(to)?;
    let mut answers = each_source(from, to).map(|source| {
        let by = |action: PolicyAction| {
            let acting = policies
                .iter()
                .filter(move |policy| policy.action == action);
            let matched = acting.map(|policy| matched(policy, from, source, to.address));
            matched.reduce(Ports::or)
        };
        let allowed = by(PolicyAction::Allow).unwrap_or(Ports::ALL);
        let denied = by(PolicyAction::Deny).unwrap_or(Ports::NONE);
        allowed.and(denied.complement())
    });
    let first = answers.next().ok_or(Obstacle::NoAddress)?;
    if answers.all(|answer| answer == first) {
        Ok(first)
    } else {
        Err(Obstacle::SourceAddress)
    }
}

/// The same for one port, with the policy that decides.
pub fn decide(from: &Source, to: &Destination, port: u16) -> Decision {
    let ports = match evaluate(from, to) {
        Ok(ports) => ports,
        Err(obstacle) => return Decision::NotEvaluated(obstacle),
    };
    // All addresses have the same answer, if perhaps by other policies.
    let Some(source) = each_source(from, to).next() else {
        return Decision::NotEvaluated(Obstacle::NoAddress);
    };
    let policies = to.policies.iter().filter_map(|(_, policy)| policy.as_ref());
    let matching = |action: PolicyAction| {
        let mut acting = policies.clone().filter(move |p| p.action == action);
        let found = acting.find(|p| matched(p, from, source, to.address).contains(port));
        found.map(|policy| policy.name.clone())
    };
    if ports.contains(port) {
        Decision::Allowed(matching(PolicyAction::Allow))
    } else {
        Decision::Denied(matching(PolicyAction::Deny))
    }
}

fn usable(to: &Destination) -> Result<Vec<&Policy>, Obstacle> {
    let look = |(name, policy): &'_ (NamespacedName, Option<Policy>)| -> Result<(), Obstacle> {
        let Some(policy) = policy else {
            return Err(Obstacle::NotArrived(name.clone()));
        };
        if let Some(unknown) = &policy.unknown {
            return Err(Obstacle::Unknown(name.clone(), unknown.clone()));
        }
        let values = policy.matches().map(Match::len).sum();
        if values > MAX_VALUES {
            return Err(Obstacle::TooLarge(name.clone(), values));
        }
        Ok(())
    };
    to.policies.iter().try_for_each(look)?;
    Ok(to.policies.iter().filter_map(|(_, p)| p.as_ref()).collect())
}

/// The source addresses that may make a difference; where none does, one that nobody looks at.
fn each_source<'a>(from: &'a Source, to: &'a Destination) -> impl Iterator<Item = IpAddr> + 'a {
    let by_source = to.looks_at_source_ips();
    let all = from.addresses.iter().copied();
    let of_family = all.filter(move |ip| by_source && ip.is_ipv4() == to.address.is_ipv4());
    let any = (!by_source).then_some(IpAddr::from([0; 4]));
    of_family.chain(any)
}

fn matched(policy: &Policy, from: &Source, source: IpAddr, to: IpAddr) -> Ports {
    let rules = policy.rules.iter();
    let rule = |rule: &Rule| {
        let clauses = rule.clauses.iter();
        let clause = |clause: &Clause| {
            let matches = clause.matches.iter();
            let ports = matches.map(|m| match_ports(m, from, source, to));
            ports.reduce(Ports::or).unwrap_or(Ports::ALL)
        };
        clauses.map(clause).reduce(Ports::and).unwrap_or(Ports::ALL)
    };
    rules.map(rule).reduce(Ports::or).unwrap_or(Ports::NONE)
}

fn match_ports(condition: &Match, from: &Source, source: IpAddr, to: IpAddr) -> Ports {
    let Match {
        namespaces,
        principals,
        service_accounts,
        source_ips,
        destination_ips,
        destination_ports,
    } = condition;
    let is_met = !condition.is_empty()
        && namespaces.is_met(|value| value.accepts(&from.namespace))
        && principals.is_met(|value| value.accepts(&from.principal))
        && service_accounts.is_met(|account| {
            account.namespace == from.namespace && account.name == from.service_account
        })
        && source_ips.is_met(|block| block.contains(&source))
        && destination_ips.is_met(|block| block.contains(&to));
    if !is_met {
        return Ports::NONE;
    }
    let Condition { any_of, none_of } = destination_ports;
    let named = match any_of.as_slice() {
        [] => Ports::ALL,
        some => Ports::of(some),
    };
    named.and(Ports::of(none_of).complement())
}

impl<T> Condition<T> {
    fn is_met(&self, is: impl Fn(&T) -> bool) -> bool {
        (self.any_of.is_empty() || self.any_of.iter().any(&is)) && !self.none_of.iter().any(&is)
    }
}

impl StringMatch {
    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Presence => !text.is_empty(),
        }
    }
}

impl Destination {
    pub fn looks_at_source_ips(&self) -> bool {
        let policies = self
            .policies
            .iter()
            .filter_map(|(_, policy)| policy.as_ref());
        policies.into_iter().any(Policy::looks_at_source_ips)
    }
}

impl Policy {
    /// Whether the answer may depend on the source's address.
    pub fn looks_at_source_ips(&self) -> bool {
        self.matches().any(|m| !m.source_ips.is_empty())
    }

    /// Whether the answer may depend on the destination's address.
    pub fn looks_at_destination_ips(&self) -> bool {
        self.matches().any(|m| !m.destination_ips.is_empty())
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotArrived(name) => write!(f, "policy {name} has not arrived"),
            Self::Unknown(name, what) => write!(f, "policy {name}: {what}"),
            Self::TooLarge(name, values) => {
                write!(
                    f,
                    "policy {name} has {values} values, more than {MAX_VALUES}"
                )
            }
            Self::SourceAddress => {
                f.write_str("what policies say depends on which of its addresses the pod uses")
            }
            Self::NoAddress => f.write_str("the pod has no address of the destination's family"),
            Self::TooManyPorts(ports) => {
                write!(
                    f,
                    "{ports} ports have an answer of their own, too many for an entry"
                )
            }
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(Some(name)) => write!(f, "allowed by {name}"),
            Self::Allowed(None) => {
                f.write_str("allowed: no policy denies it, none has to allow it")
            }
            Self::Denied(Some(name)) => write!(f, "denied by {name}"),
            Self::Denied(None) => f.write_str("denied: no policy allows it"),
            Self::NotEvaluated(obstacle) => write!(f, "not evaluated: {obstacle}"),
        }
    }
}
