//! What the mesh is, as values: no I/O, no clock, no randomness.
//!
//! Sources parse foreign input into these types once; `compile` turns them into map entries.

mod delta;
mod name;
mod pod;
mod policy;
mod service;
mod sorted;
mod workload;

pub use delta::{Delta, Rejection};
pub use name::{NamespacedName, NetworkAddress, NetworkCidr, Text, Uid};
pub use pod::PodSpec;
pub use policy::{
    Clause, Condition, Match, Policy, PolicyAction, PolicyScope, Rule, ServiceAccount, StringMatch,
};
pub use service::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, RoutingPreference, Service,
    Visibility, WeightedWaypoint,
};
pub use sorted::SortedMap;
pub use workload::{
    ApplicationProtocol, GatewayAddress, GatewayDestination, HealthStatus, Locality, NetworkMode,
    TunnelProtocol, Workload,
};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The last good state of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mesh {
    /// Boxed, as everywhere that there are many of them: they are large, and trees half empty.
    pub workloads: BTreeMap<Uid, Box<Workload>>,
    pub services: BTreeMap<NamespacedName, Service>,
    pub policies: BTreeMap<NamespacedName, Policy>,
    /// Entries the source could not accept, by kind and name: those without a last good version,
    /// and those that have addresses now which their last good version had not. Flows to their
    /// addresses are steered, never bypassed.
    pub rejected: BTreeMap<String, Rejection>,
    /// See [`Delta::doubted`].
    pub doubted: BTreeSet<IpAddr>,
    /// Whether the source has delivered everything it has at least once.
    pub complete: bool,
}
