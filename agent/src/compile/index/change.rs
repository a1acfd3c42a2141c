//! Changes of the mesh and of the enrolled pods, and what is out of date by them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Index, Pod};
use crate::compile::dirty::Dirty;
use crate::compile::id::{service_id, workload_id};
use crate::compile::input::EnrolledPod;
use crate::compile::place::is_grouped;
use crate::compile::registry::{User, Waypoint};
use crate::model::{
    Delta, GatewayDestination, NamespacedName, NetworkMode, Policy, PolicyScope, Rejection,
    Service, Text, Uid, Workload,
};

impl Index {
    /// Applies a batch; what is in it and has not changed costs a comparison.
    pub(in crate::compile) fn apply(&mut self, delta: Delta, dirty: &mut Dirty) {
        let Delta {
            workloads,
            removed_workloads,
            services,
            removed_services,
            policies,
            removed_policies,
            rejected,
            doubted,
            complete,
        } = delta;
        for uid in removed_workloads {
            self.replace_workload(&uid, None, dirty);
        }
        for name in removed_services {
            self.replace_service(&name, None, dirty);
        }
        for name in removed_policies {
            self.replace_policy(&name, None, dirty);
        }
        for service in services {
            self.replace_service(&service.hostname.clone(), Some(service), dirty);
        }
        for workload in workloads {
            self.replace_workload(&workload.uid.clone(), Some(workload), dirty);
        }
        for policy in policies {
            self.replace_policy(&policy.name.clone(), Some(policy), dirty);
        }
        self.reject(rejected, dirty);
        self.doubt(doubted, dirty);
        self.mesh.complete |= complete;
        self.settle(dirty);
    }

    /// Adds or changes an enrolled pod, by its netns cookie.
    pub(in crate::compile) fn set_pod(&mut self, pod: EnrolledPod, dirty: &mut Dirty) {
        let netns = pod.netns;
        if self.pods.get(&netns).is_some_and(|known| known.pod == pod) {
            return;
        }
        self.take_pod(netns, dirty);
        for address in &pod.addresses {
            self.pod_addresses.set(address, netns, true);
            dirty.addresses.insert(*address);
        }
        self.pods_by_name.set(&name_of(&pod), netns, true);
        let workload = None;
        self.pods.insert(netns, Pod { pod, workload });
        self.settle(dirty);
    }

    pub(in crate::compile) fn remove_pod(&mut self, netns: u64, dirty: &mut Dirty) {
        self.take_pod(netns, dirty);
        self.settle(dirty);
    }

    fn take_pod(&mut self, netns: u64, dirty: &mut Dirty) {
        dirty.pods.insert(netns);
        let Some(Pod { pod, workload }) = self.pods.remove(&netns) else {
            return;
        };
        self.pods_by_name.set(&name_of(&pod), netns, false);
        for address in &pod.addresses {
            self.pod_addresses.set(address, netns, false);
            dirty.addresses.insert(*address);
        }
        self.mark_waypoints_of(workload.as_ref(), dirty);
    }

    fn replace_workload(&mut self, uid: &Uid, new: Option<Box<Workload>>, dirty: &mut Dirty) {
        let old = self.mesh.workloads.remove(uid);
        if old != new {
            if let Some(old) = &old {
                self.relate_workload(old, false, dirty);
            }
            if let Some(new) = &new {
                self.relate_workload(new, true, dirty);
            }
        }
        if let Some(new) = new {
            self.mesh.workloads.insert(uid.clone(), new);
        }
    }

    fn relate_workload(&mut self, workload: &Workload, present: bool, dirty: &mut Dirty) {
        let uid = &workload.uid;
        set(&mut self.workload_ids, workload_id(uid), uid, present);
        for service in workload.services.keys() {
            self.endpoints.set(service, uid.clone(), present);
            dirty.ports.insert(service.clone());
            self.mark_waypoints_at_service(service, dirty);
        }
        if present && self.is_local(workload) {
            self.locals.insert(uid.clone());
        } else {
            self.locals.remove(uid);
        }
        let name = |name: &Text| NamespacedName::new(workload.namespace.clone(), name.clone());
        let pod_name = name(&workload.name);
        dirty.pods.extend(self.pods_by_name.get(&pod_name));
        self.by_name.set(&pod_name, uid.clone(), present);
        if !workload.hostname.is_empty() {
            let hostname = name(&workload.hostname);
            self.by_hostname.set(&hostname, uid.clone(), present);
            self.mark_waypoints_at(&GatewayDestination::Hostname(hostname), dirty);
        }
        let found_by_address = workload.network_mode != NetworkMode::HostNetwork
            && workload.network == self.node.network;
        for address in workload.addresses.iter().filter(|_| found_by_address) {
            self.addresses.set(address, uid.clone(), present);
            dirty.addresses.insert(*address);
            self.mark_waypoints_at(&self.gateway_at(*address), dirty);
        }
        if let Some(address) = &workload.waypoint {
            let waypoint = Waypoint::One(address.clone());
            let user = User::Workload(uid);
            let changed = self.waypoints.set_user(waypoint, user, present);
            dirty.waypoints.extend(changed);
        }
    }

    fn replace_service(&mut self, name: &NamespacedName, new: Option<Service>, dirty: &mut Dirty) {
        let old = self.mesh.services.remove(name);
        if old != new {
            if let Some(old) = &old {
                self.relate_service(old, false, dirty);
            }
            if let Some(new) = &new {
                self.relate_service(new, true, dirty);
            }
        }
        if let Some(new) = new {
            self.mesh.services.insert(name.clone(), new);
        }
    }

    fn relate_service(&mut self, service: &Service, present: bool, dirty: &mut Dirty) {
        let name = &service.hostname;
        set(&mut self.service_ids, service_id(name), name, present);
        dirty.ports.insert(name.clone());
        self.mark_waypoints_at(&GatewayDestination::Hostname(name.clone()), dirty);
        for vip in &service.vips {
            self.vips.set(vip, name.clone(), present);
            self.mark_waypoints_at(&GatewayDestination::Address(vip.clone()), dirty);
            if vip.network == self.node.network {
                self.mark_address(vip.address, dirty);
            }
        }
        let network = &self.node.network;
        for block in service.cidr_vips.iter().filter(|b| b.network == *network) {
            let block = block.cidr.trunc();
            self.blocks.set(&block, name.clone(), present);
            dirty.blocks.insert(block);
        }
        if present && is_grouped(service) {
            self.grouped.insert(name.clone());
        } else {
            self.grouped.remove(name);
        }
        if let Some(waypoint) = Waypoint::of_service(service) {
            let user = User::Service(name);
            let changed = self.waypoints.set_user(waypoint, user, present);
            dirty.waypoints.extend(changed);
        }
    }

    fn replace_policy(&mut self, name: &NamespacedName, new: Option<Policy>, dirty: &mut Dirty) {
        let old = self.mesh.policies.remove(name);
        if old != new {
            if let Some(old) = &old {
                self.relate_policy(old, false, dirty);
            }
            if let Some(new) = &new {
                self.relate_policy(new, true, dirty);
            }
        }
        if let Some(new) = new {
            self.mesh.policies.insert(name.clone(), new);
        }
    }

    fn relate_policy(&mut self, policy: &Policy, present: bool, dirty: &mut Dirty) {
        let name = &policy.name;
        dirty.policies.insert(name.clone());
        match policy.scope {
            PolicyScope::Namespace if !name.namespace.is_empty() => {
                let policies = &mut self.namespace_policies;
                policies.set(&name.namespace, name.clone(), present);
            }
            PolicyScope::Global | PolicyScope::Namespace if present => {
                self.global_policies.insert(name.clone());
            }
            PolicyScope::Global | PolicyScope::Namespace => {
                self.global_policies.remove(name);
            }
            // Who names it is known by the name.
            PolicyScope::WorkloadSelector => {}
        }
    }

    fn reject(&mut self, rejected: Vec<Rejection>, dirty: &mut Dirty) {
        let rejected: BTreeMap<String, Rejection> =
            rejected.into_iter().map(|r| (r.entry.clone(), r)).collect();
        if rejected == self.mesh.rejected {
            return;
        }
        if rejected.is_empty() != self.mesh.rejected.is_empty() {
            dirty.ports.extend(self.mesh.services.keys().cloned());
        }
        let all = rejected.values().flat_map(|r| r.addresses.iter().copied());
        let disputed = all.collect();
        for address in self.disputed.symmetric_difference(&disputed) {
            self.mark_address(*address, dirty);
            dirty.pods.extend(self.pod_addresses.get(address));
        }
        self.disputed = disputed;
        self.mesh.rejected = rejected;
    }

    fn doubt(&mut self, doubted: BTreeSet<IpAddr>, dirty: &mut Dirty) {
        for address in self.mesh.doubted.symmetric_difference(&doubted) {
            dirty.addresses.insert(*address);
            dirty.pods.extend(self.pod_addresses.get(address));
        }
        self.mesh.doubted = doubted;
    }
}

fn name_of(pod: &EnrolledPod) -> NamespacedName {
    NamespacedName::new(pod.namespace.as_str(), pod.name.as_str())
}

fn set<T: Clone>(ids: &mut HashMap<u64, T>, id: u64, name: &T, present: bool) {
    if present {
        ids.insert(id, name.clone());
    } else {
        ids.remove(&id);
    }
}
