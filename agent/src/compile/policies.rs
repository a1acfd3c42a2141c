//! What policies say of pods that connect to their neighbours: `POLICIES`.
//!
//! There is an entry for each enrolled pod and each set of policies that applies to some workload
//! of this node that could be bypassed to: the mesh may have as many of both as it likes.

mod sets;

pub(super) use sets::{Set, Sets};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use waysteer_common::abi::key::PolicyKey;
use waysteer_common::abi::value::PolicyValue;

use super::dirty::Dirty;
use super::index::Index;
use super::output::{Output, put};
use crate::authorize::{Decision, Destination, Obstacle, Ports, Source, evaluate};
use crate::model::{Policy, Workload};

/// Who asks and what applies, to say why a pod is let in or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorizations {
    /// By netns cookie.
    sources: BTreeMap<u64, Arc<Source>>,
    /// By the number that entries of `WORKLOADS` have.
    destinations: BTreeMap<u32, Arc<Destination>>,
    addresses: BTreeMap<IpAddr, u32>,
}

impl Authorizations {
    /// What policies say of a connection; `None` where nobody has to ask them, or nobody can.
    pub fn decide(&self, netns: u64, to: IpAddr, port: u16) -> Option<Decision> {
        let from = self.sources.get(&netns)?;
        let to = self.destinations.get(self.addresses.get(&to)?)?;
        Some(match answer(from, to) {
            Ok(_) => crate::authorize::decide(from, to, port),
            Err(obstacle) => Decision::NotEvaluated(obstacle),
        })
    }

    pub(super) fn set_address(&mut self, address: IpAddr, policies: Option<u32>) {
        match policies {
            Some(policies) => self.addresses.insert(address, policies),
            None => self.addresses.remove(&address),
        };
    }
}

/// The policies that apply to a workload at one of its addresses; `None` where none is enforced.
pub(super) fn applying(index: &Index, address: IpAddr, workload: &Workload) -> Option<Set> {
    let mut names = BTreeSet::new();
    let (mut by_source, mut by_destination) = (false, false);
    for name in index.policies_of(workload) {
        match index.mesh.policies.get(name) {
            Some(policy) if policy.dry_run => continue,
            Some(policy) => {
                by_source |= policy.looks_at_source_ips();
                by_destination |= policy.looks_at_destination_ips();
            }
            // It has yet to arrive.
            None => {}
        }
        names.insert(name.clone());
    }
    (!names.is_empty()).then(|| Set {
        names: names.into_iter().collect(),
        v4: by_source.then_some(address.is_ipv4()),
        destination: by_destination.then_some(address),
    })
}

/// All entries that are out of date. After the entries of workloads and of pods.
pub(super) fn compile(index: &Index, output: &mut Output, dirty: &Dirty) {
    let mut changed = output.sets.take_changed();
    changed.extend(output.sets.naming(&dirty.policies));
    if changed.is_empty() && dirty.pods.is_empty() {
        return;
    }
    let authorizations = Arc::make_mut(&mut output.authorizations);
    for netns in &dirty.pods {
        match source(index, *netns) {
            Some(source) => authorizations.sources.insert(*netns, Arc::new(source)),
            None => authorizations.sources.remove(netns),
        };
    }
    for id in &changed {
        match output.sets.get(*id) {
            Some(set) => {
                let destination = Arc::new(destination(index, set));
                authorizations.destinations.insert(*id, destination)
            }
            None => authorizations.destinations.remove(id),
        };
    }
    let authorizations = Arc::clone(&output.authorizations);
    let pods: BTreeSet<u64> = index.pods.keys().chain(&dirty.pods).copied().collect();
    for id in &changed {
        compile_set(output, &authorizations, *id, &pods);
    }
    for id in authorizations.destinations.keys() {
        if !changed.contains(id) {
            compile_set(output, &authorizations, *id, &dirty.pods);
        }
    }
}

/// The entries of some pods for one set.
fn compile_set(output: &mut Output, with: &Authorizations, id: u32, pods: &BTreeSet<u64>) {
    let destination = with.destinations.get(&id);
    let by_source = destination.is_some_and(|to| to.looks_at_source_ips());
    // Most pods that differ in nothing but their addresses get the same answer.
    let mut known: BTreeMap<Source, Option<PolicyValue>> = BTreeMap::new();
    for netns in pods {
        let source = with.sources.get(netns);
        let value = source.zip(destination).and_then(|(from, to)| {
            let mut key = Source::clone(from);
            if !by_source {
                key.addresses.clear();
            }
            let evaluated = known.entry(key);
            *evaluated.or_insert_with(|| answer(from, to).ok())
        });
        let key = PolicyKey {
            netns: (*netns).into(),
            policies: id.into(),
            padding: [0; 4],
        };
        let (table, changes) = (&mut output.tables.policies, &mut output.changes);
        let is_asked_for = source.is_some() && destination.is_some();
        let differs = table.get(&key).is_some_and(|old| Some(*old) != value);
        changes.policies_change |= is_asked_for && differs;
        put(table, &mut changes.policies, key, value);
    }
}

fn answer(from: &Source, to: &Destination) -> Result<PolicyValue, Obstacle> {
    let Ports { others, exceptions } = evaluate(from, to)?;
    let mut value = PolicyValue {
        flags: if others { PolicyValue::ALLOWED } else { 0 }.into(),
        ..PolicyValue::default()
    };
    // 0 is no port that one can connect to.
    let ports: Vec<u16> = exceptions.into_iter().filter(|port| *port != 0).collect();
    if ports.len() > PolicyValue::EXCEPTIONS {
        return Err(Obstacle::TooManyPorts(ports.len()));
    }
    for (slot, port) in value.exceptions.iter_mut().zip(ports) {
        *slot = port.into();
    }
    Ok(value)
}

/// A pod with the identity that its tunnel has; not where a rejected entry may give it another.
fn source(index: &Index, netns: u64) -> Option<Source> {
    let pod = index.pods.get(&netns)?;
    let workload = index.workload_of(pod)?;
    let mut addresses = pod.pod.addresses.iter();
    if addresses.any(|address| index.is_doubted(*address)) {
        return None;
    }
    let Workload {
        trust_domain,
        namespace,
        service_account,
        ..
    } = workload;
    Some(Source {
        principal: format!("{trust_domain}/ns/{namespace}/sa/{service_account}").into(),
        namespace: namespace.clone(),
        service_account: service_account.clone(),
        addresses: pod.pod.addresses.clone(),
    })
}

/// Where nothing depends on the address, it is any.
fn destination(index: &Index, set: &Set) -> Destination {
    let policies = set.names.iter().map(|name| {
        let policy: Option<Policy> = index.mesh.policies.get(name).cloned();
        (name.clone(), policy)
    });
    let of_family = match set.v4 {
        Some(false) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(true) | None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Destination {
        address: set.destination.unwrap_or(of_family),
        policies: policies.collect(),
    }
}
