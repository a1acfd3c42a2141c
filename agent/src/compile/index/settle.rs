//! What a change makes out of date elsewhere.

use std::net::IpAddr;

use super::{Index, Pod};
use crate::compile::dirty::Dirty;
use crate::compile::place::Place;
use crate::model::{GatewayDestination, NamespacedName, NetworkAddress, Uid};

impl Index {
    /// Brings to the present what is kept of others' entries.
    pub(super) fn settle(&mut self, dirty: &mut Dirty) {
        self.bind_pods(dirty);
        if !dirty.policies.is_empty() {
            let locals = self.locals.iter();
            let locals = locals.filter_map(|uid| self.workload(uid));
            dirty.addresses.extend(locals.flat_map(|w| &w.addresses));
            dirty.addresses.extend(self.pod_addresses.keys());
        }
        let ids: Vec<u64> = dirty.waypoints.iter().copied().collect();
        for id in ids {
            self.regroup(id, dirty);
        }
    }

    /// Finds the workloads of pods, and with them the places of sources.
    fn bind_pods(&mut self, dirty: &mut Dirty) {
        if dirty.pods.is_empty() {
            return;
        }
        for netns in dirty.pods.clone() {
            let Some(Pod { pod, workload: old }) = self.pods.get(&netns) else {
                continue;
            };
            let name = NamespacedName::new(pod.namespace.as_str(), pod.name.as_str());
            let named = self.by_name.get(&name);
            let mut candidates = named.filter_map(|uid| self.workload(uid));
            let new = candidates
                .find(|w| *w.service_account == *pod.service_account)
                .map(|w| w.uid.clone());
            let old = old.clone();
            dirty.addresses.extend(&pod.addresses);
            self.mark_waypoints_of(old.as_ref(), dirty);
            self.mark_waypoints_of(new.as_ref(), dirty);
            if let Some(pod) = self.pods.get_mut(&netns) {
                pod.workload = new;
            }
        }
        let workloads = self.pods.values().filter_map(|pod| self.workload_of(pod));
        let places = workloads.map(Place::of);
        let places = places.map(|place| (place.group(), place)).collect();
        if places != self.places {
            self.places = places;
            dirty.ports.extend(self.grouped.iter().cloned());
            dirty.waypoints.extend(self.waypoints.grouped());
        }
    }

    /// Whether a waypoint's endpoints depend on the source stands in the entries of its users.
    fn regroup(&mut self, id: u64, dirty: &mut Dirty) {
        let Some(registered) = self.waypoints.get(id) else {
            return;
        };
        let grouped = self.is_waypoint_grouped(&registered.waypoint);
        if grouped == registered.grouped {
            return;
        }
        for service in &registered.services {
            let Some(service) = self.mesh.services.get(service) else {
                continue;
            };
            dirty
                .vips
                .extend(service.vips.iter().map(|vip| vip.address));
            let blocks = service.cidr_vips.iter().map(|block| block.cidr.trunc());
            dirty.blocks.extend(blocks);
        }
        let workloads = registered.workloads.iter();
        let workloads = workloads.filter_map(|uid| self.workload(uid));
        dirty.addresses.extend(workloads.flat_map(|w| &w.addresses));
        if let Some(registered) = self.waypoints.get_mut(id) {
            registered.grouped = grouped;
        }
    }

    pub(super) fn mark_address(&self, address: IpAddr, dirty: &mut Dirty) {
        dirty.vips.insert(address);
        dirty.addresses.insert(address);
    }

    pub(super) fn mark_waypoints_at(&self, target: &GatewayDestination, dirty: &mut Dirty) {
        dirty.waypoints.extend(self.waypoints.found_by(target));
    }

    pub(super) fn mark_waypoints_at_service(&self, name: &NamespacedName, dirty: &mut Dirty) {
        self.mark_waypoints_at(&GatewayDestination::Hostname(name.clone()), dirty);
        if let Some(service) = self.mesh.services.get(name) {
            for vip in &service.vips {
                self.mark_waypoints_at(&GatewayDestination::Address(vip.clone()), dirty);
            }
        }
    }

    /// The waypoints that a pod may be an endpoint of.
    pub(super) fn mark_waypoints_of(&self, workload: Option<&Uid>, dirty: &mut Dirty) {
        let Some(workload) = workload.and_then(|uid| self.workload(uid)) else {
            return;
        };
        for service in workload.services.keys() {
            self.mark_waypoints_at_service(service, dirty);
        }
        let hostname = NamespacedName::new(workload.namespace.clone(), workload.hostname.clone());
        self.mark_waypoints_at(&GatewayDestination::Hostname(hostname), dirty);
        for address in &workload.addresses {
            self.mark_waypoints_at(&self.gateway_at(*address), dirty);
        }
    }

    pub(super) fn gateway_at(&self, address: IpAddr) -> GatewayDestination {
        GatewayDestination::Address(NetworkAddress {
            network: self.node.network.clone(),
            address,
        })
    }
}
