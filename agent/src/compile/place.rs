//! Where a source is, as far as routing preferences ask. Sources of the same place share one group
//! of endpoint sets.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::{LoadBalancerMode, Locality, Service, Text, Workload};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) locality: Locality,
    pub(super) node: Text,
    pub(super) cluster_id: Text,
    pub(super) network: Text,
}

impl Place {
    pub(super) fn of(workload: &Workload) -> Self {
        Self {
            locality: workload.locality.clone(),
            node: workload.node.clone(),
            cluster_id: workload.cluster_id.clone(),
            network: workload.network.clone(),
        }
    }

    /// Never 0, which stands for "no preference".
    pub(super) fn group(&self) -> u32 {
        (xxh3_64(format!("{self:?}").as_bytes()) as u32).max(1)
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
