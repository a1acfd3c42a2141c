//! Services: names and virtual addresses in front of workloads.

use std::collections::BTreeMap;

use super::{GatewayAddress, NamespacedName, NetworkAddress, NetworkCidr, Text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The short name, for people.
    pub name: Text,
    /// `namespace/hostname`: the key that workloads and waypoints refer to.
    pub hostname: NamespacedName,
    /// Exact virtual addresses; a host route (`/32`, `/128`) is one of these too.
    pub vips: Vec<NetworkAddress>,
    pub cidr_vips: Vec<NetworkCidr>,
    /// Service port to target port; target port 0 is a named port, resolved per workload.
    pub ports: BTreeMap<u16, u16>,
    pub waypoint: Option<GatewayAddress>,
    /// Where not empty, one is sampled by weight for each connection, in place of `waypoint`.
    pub weighted_waypoints: Vec<WeightedWaypoint>,
    pub load_balancer: LoadBalancer,
    pub ip_families: IpFamilies,
    pub visibility: Visibility,
    pub canonical: bool,
    /// Identities that endpoints may present besides their own.
    pub subject_alt_names: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedWaypoint {
    pub destination: GatewayAddress,
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    pub mode: LoadBalancerMode,
    pub routing_preferences: Vec<RoutingPreference>,
    pub health_policy: HealthPolicy,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            mode: LoadBalancerMode::Standard,
            routing_preferences: Vec::new(),
            health_policy: HealthPolicy::OnlyHealthy,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancerMode {
    Standard,
    /// Only endpoints that match every preference.
    Strict,
    /// The endpoints that match most preferences.
    Failover,
    /// No endpoint selection: the original destination address is used.
    Passthrough,
    /// A value this version does not know: always steered.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingPreference {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthPolicy {
    OnlyHealthy,
    AllowAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamilies {
    Automatic,
    Dual,
    V4Only,
    V6Only,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    Public,
    /// Only clients of the service's own namespace see it.
    Namespace,
}
