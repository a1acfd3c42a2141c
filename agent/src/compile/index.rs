//! The mesh by the questions that compilation asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64;

use super::input::{EnrolledPod, Node};
use crate::model::{
    LoadBalancerMode, Locality, Mesh, NamespacedName, NetworkMode, PolicyScope, Service,
    Visibility, Workload,
};

/// Where a source is, as far as routing preferences ask. Sources of the same place share one group
/// of endpoint sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) locality: Locality,
    pub(super) node: String,
    pub(super) cluster_id: String,
    pub(super) network: String,
}

impl Place {
    fn of(workload: &Workload) -> Self {
        Self {
            locality: workload.locality.clone(),
            node: workload.node.clone(),
            cluster_id: workload.cluster_id.clone(),
            network: workload.network.clone(),
        }
    }

    /// Never 0, which stands for "no preference".
    fn group(&self) -> u32 {
        (xxh3_64(format!("{self:?}").as_bytes()) as u32).max(1)
    }
}

pub(super) struct Index<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) node: &'a Node,
    pub(super) pods: &'a [EnrolledPod],
    /// Endpoints of each service.
    endpoints: BTreeMap<&'a NamespacedName, Vec<&'a Workload>>,
    /// Owner of each address of our network.
    pub(super) addresses: BTreeMap<IpAddr, &'a Workload>,
    /// Workload of each enrolled pod, in the order of `pods`.
    pub(super) pod_workloads: Vec<Option<&'a Workload>>,
    /// Places of the enrolled pods, by group.
    pub(super) places: BTreeMap<u32, Place>,
    /// Addresses that a rejected entry claims, whoever else has them.
    pub(super) disputed: BTreeSet<IpAddr>,
    /// Some policy applies to every workload.
    global_policy: bool,
    /// Namespaces to whose workloads some policy applies.
    policy_namespaces: BTreeSet<&'a str>,
}

impl<'a> Index<'a> {
    pub(super) fn new(mesh: &'a Mesh, node: &'a Node, pods: &'a [EnrolledPod]) -> Self {
        let mut endpoints: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for workload in mesh.workloads.values() {
            for service in workload.services.keys() {
                endpoints.entry(service).or_default().push(workload);
            }
            by_name
                .entry((workload.namespace.as_str(), workload.name.as_str()))
                .or_default()
                .push(workload);
            if workload.network_mode == NetworkMode::HostNetwork || workload.network != node.network
            {
                continue;
            }
            for address in &workload.addresses {
                // Two owners: while a pod's address moves. The one that needs protection wins.
                let owner = addresses.entry(*address).or_insert(workload);
                if !needs_tunnel(owner) && needs_tunnel(workload) {
                    *owner = workload;
                }
            }
        }
        let pod_workloads: Vec<_> = pods
            .iter()
            .map(|pod| {
                let candidates = by_name.get(&(pod.namespace.as_str(), pod.name.as_str()))?;
                candidates
                    .iter()
                    .copied()
                    .find(|w| w.service_account == pod.service_account)
            })
            .collect();
        let places = pod_workloads
            .iter()
            .flatten()
            .map(|workload| Place::of(workload));
        let scope = |scope| move |p: &&crate::model::Policy| p.scope == scope;
        Self {
            mesh,
            node,
            pods,
            endpoints,
            addresses,
            places: places.map(|place| (place.group(), place)).collect(),
            pod_workloads,
            disputed: mesh
                .rejected
                .values()
                .flat_map(|r| r.addresses.iter().copied())
                .collect(),
            global_policy: mesh.policies.values().any(|p| {
                p.scope == PolicyScope::Global
                    || p.scope == PolicyScope::Namespace && p.name.namespace.is_empty()
            }),
            policy_namespaces: mesh
                .policies
                .values()
                .filter(scope(PolicyScope::Namespace))
                .map(|p| p.name.namespace.as_str())
                .collect(),
        }
    }

    pub(super) fn endpoints(&self, service: &Service) -> &[&'a Workload] {
        self.endpoints
            .get(&service.hostname)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn group(&self, workload: &Workload) -> u32 {
        Place::of(workload).group()
    }

    pub(super) fn is_local(&self, workload: &Workload) -> bool {
        !self.node.name.is_empty() && workload.node == self.node.name
    }

    pub(super) fn is_remote(&self, workload: &Workload) -> bool {
        workload.network != self.node.network
    }

    /// Whether any policy applies or may apply to a workload, including one that is named but has
    /// not arrived.
    pub(super) fn has_policy(&self, workload: &Workload) -> bool {
        self.global_policy
            || self.policy_namespaces.contains(workload.namespace.as_str())
            || !workload.authorization_policies.is_empty()
    }

    /// The service that clients without one of their own namespace get.
    pub(super) fn public_choice(services: &[&'a Service]) -> Option<&'a Service> {
        let public = || {
            services
                .iter()
                .copied()
                .filter(|s| s.visibility == Visibility::Public)
        };
        public().find(|s| s.canonical).or_else(|| public().next())
    }
}

/// Whether a service's endpoints depend on where the source is.
pub(super) fn is_grouped(service: &Service) -> bool {
    let load_balancer = &service.load_balancer;
    match load_balancer.mode {
        LoadBalancerMode::Strict | LoadBalancerMode::Failover => {
            !load_balancer.routing_preferences.is_empty()
        }
        LoadBalancerMode::Standard | LoadBalancerMode::Passthrough | LoadBalancerMode::Unknown => {
            false
        }
    }
}

fn needs_tunnel(workload: &Workload) -> bool {
    workload.protocol != crate::model::TunnelProtocol::Tcp
}
