//! What was applied last, and what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::entry::Key;
use super::mesh::ParsedMesh;
use super::owners::{Owners, Taken};
use super::pods::ParsedPods;
use super::rejected::Rejected;
use super::workload;
use crate::model::{Delta, Mesh, NamespacedName, PodSpec, Policy, Rejection, Service, Uid};

/// The last good state of a mesh file.
#[derive(Debug, Default)]
pub struct FileState {
    applied: Mesh,
    /// Policies in `applied` that are assumed; they are nobody's last good version.
    stand_ins: BTreeSet<NamespacedName>,
}

/// The last good state of a pods file.
#[derive(Debug, Default)]
pub struct PodsState {
    applied: BTreeMap<String, PodSpec>,
}

impl FileState {
    /// The way from what was applied last to a file that has been read.
    ///
    /// A rejected entry keeps its last good version, unless a valid entry claims one of its
    /// addresses: what the file says now is newer than what it said once.
    pub fn next(&mut self, parsed: ParsedMesh) -> Delta {
        let ParsedMesh {
            workloads,
            services,
            policies,
            rejected,
            diagnostics: _,
        } = parsed;
        let workloads = workloads.into_iter().map(|w| (w.uid.clone(), Box::new(w)));
        let services = services.into_iter().map(|s| (s.hostname.clone(), s));
        let policies = policies.into_iter().map(|p| (p.name.clone(), p));
        let mut next = Mesh {
            workloads: workloads.collect(),
            services: services.collect(),
            policies: policies.collect(),
            complete: true,
            ..Mesh::default()
        };
        let mut owners = match rejected.is_empty() {
            true => Owners::default(),
            false => owners_of(&next),
        };
        let mut stand_ins = BTreeSet::new();
        for rejected in rejected {
            let Rejected {
                key,
                mut rejection,
                vips,
                stand_in,
            } = rejected;
            match self.keep(key.as_ref(), &mut next, &mut owners, &mut rejection) {
                // What the entry has now and had not then is as unknown as without it.
                Kept::Yes => {
                    rejection.addresses_unknown = false;
                    if !rejection.addresses.is_empty() {
                        merge(&mut next.rejected, rejection);
                    }
                }
                Kept::No => {
                    rejection.addresses.extend(vips);
                    if let Some(policy) = stand_in {
                        stand_ins.insert(policy.name.clone());
                        next.policies.insert(policy.name.clone(), policy);
                    }
                    merge(&mut next.rejected, rejection);
                }
            }
        }
        let delta = diff(&self.applied, &next);
        self.applied = next;
        self.stand_ins = stand_ins;
        delta
    }

    /// Takes over the last good version of a rejected entry, if there is one; then only those
    /// addresses are left in the rejection that the last good version does not have.
    fn keep(
        &self,
        key: Option<&Key>,
        next: &mut Mesh,
        owners: &mut Owners,
        rejection: &mut Rejection,
    ) -> Kept {
        let (claimed, addresses): (_, Vec<IpAddr>) = match key {
            None => return Kept::No,
            Some(Key::Workload(uid)) => {
                let Some(last) = self.applied.workloads.get(uid) else {
                    return Kept::No;
                };
                let label = workload::label(&last.namespace, &last.name, &uid.0);
                let claimed = owners.claim_workload(&label, last);
                if claimed.is_ok() {
                    next.workloads.insert(uid.clone(), last.clone());
                }
                (claimed, last.addresses.clone())
            }
            Some(Key::Service(name)) => {
                let Some(last) = self.applied.services.get(name) else {
                    return Kept::No;
                };
                let claimed = owners.claim_service(&format!("service {name}"), last);
                if claimed.is_ok() {
                    next.services.insert(name.clone(), last.clone());
                }
                let addresses = last.vips.iter().map(|vip| vip.address);
                // A block has too many addresses to name.
                rejection.addresses_unknown |= !last.cidr_vips.is_empty();
                (claimed.map(|_| ()), addresses.collect())
            }
            Some(Key::Policy(name)) => {
                let Some(last) = self.applied.policies.get(name) else {
                    return Kept::No;
                };
                if self.stand_ins.contains(name) {
                    return Kept::No;
                }
                next.policies.insert(name.clone(), last.clone());
                (Ok(()), Vec::new())
            }
        };
        let Err(Taken { address, owner, .. }) = claimed else {
            rejection.addresses.retain(|now| !addresses.contains(now));
            return Kept::Yes;
        };
        rejection.error = format!(
            "{}; its last good version is dropped: {address} belongs to {owner} now",
            rejection.error
        );
        rejection.addresses.extend(addresses);
        Kept::No
    }
}

impl PodsState {
    /// The pods to capture; a rejected entry keeps its last good version.
    pub fn next(&mut self, parsed: ParsedPods) -> Vec<PodSpec> {
        let ParsedPods {
            pods,
            rejected,
            diagnostics: _,
            lines: _,
        } = parsed;
        let mut next: BTreeMap<_, _> = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        for uid in rejected {
            let Some(last) = self.applied.get(&uid) else {
                continue;
            };
            if !next.values().any(|pod| pod.netns == last.netns) {
                next.insert(uid, last.clone());
            }
        }
        self.applied = next;
        self.applied.values().cloned().collect()
    }
}

/// Whether a rejected entry has a last good version that stays.
enum Kept {
    Yes,
    No,
}

fn owners_of(mesh: &Mesh) -> Owners {
    let mut owners = Owners::default();
    // Conflicts among these were found when they were read; the first claim holds here too.
    for (uid, workload) in &mesh.workloads {
        let label = workload::label(&workload.namespace, &workload.name, &uid.0);
        let _claimed = owners.claim_workload(&label, workload);
    }
    for (name, service) in &mesh.services {
        let _claimed = owners.claim_service(&format!("service {name}"), service);
    }
    owners
}

/// Two rejected entries may have one name; no address may get lost by that.
fn merge(rejected: &mut BTreeMap<String, Rejection>, rejection: Rejection) {
    let Some(first) = rejected.get_mut(&rejection.entry) else {
        rejected.insert(rejection.entry.clone(), rejection);
        return;
    };
    first.error = format!("{}; {}", first.error, rejection.error);
    first.addresses.extend(rejection.addresses);
    first.addresses_unknown |= rejection.addresses_unknown;
}

fn diff(old: &Mesh, new: &Mesh) -> Delta {
    let mut rejected: Vec<Rejection> = new.rejected.values().cloned().collect();
    for rejection in &mut rejected {
        rejection.addresses.sort_unstable();
        rejection.addresses.dedup();
    }
    let (workloads, removed_workloads): (Vec<_>, Vec<Uid>) =
        changes(&old.workloads, &new.workloads);
    let (services, removed_services): (Vec<Service>, Vec<NamespacedName>) =
        changes(&old.services, &new.services);
    let (policies, removed_policies): (Vec<Policy>, Vec<NamespacedName>) =
        changes(&old.policies, &new.policies);
    Delta {
        workloads,
        removed_workloads,
        services,
        removed_services,
        policies,
        removed_policies,
        rejected,
        complete: new.complete,
        ..Delta::default()
    }
}

/// What is new or changed, and what is gone. Both sides are walked once, in order: looking every
/// name up would compare far more, and long, strings.
fn changes<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> (Vec<V>, Vec<K>) {
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    let mut old = old.iter().peekable();
    for (key, value) in new {
        while let Some((before, _)) = old.next_if(|(before, _)| *before < key) {
            gone.push(before.clone());
        }
        match old.next_if(|(before, _)| *before == key) {
            Some((_, before)) if before == value => {}
            Some(_) | None => changed.push(value.clone()),
        }
    }
    gone.extend(old.map(|(before, _)| before.clone()));
    (changed, gone)
}
