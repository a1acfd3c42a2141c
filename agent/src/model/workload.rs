//! Workloads: pods and VMs that traffic comes from and goes to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{NamespacedName, NetworkAddress, SortedMap, Text, Uid};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub uid: Uid,
    pub name: Text,
    pub namespace: Text,
    /// What made it, a deployment for example; may be empty.
    pub workload_name: Text,
    /// Never empty: `cluster.local` where the source says nothing.
    pub trust_domain: Text,
    /// Never empty: `default` where the source says nothing.
    pub service_account: Text,
    /// May be empty; then the workload is reached by `hostname` or a network gateway.
    pub addresses: Vec<IpAddr>,
    pub hostname: Text,
    pub node: Text,
    pub network: Text,
    pub cluster_id: Text,
    pub protocol: TunnelProtocol,
    pub network_mode: NetworkMode,
    pub status: HealthStatus,
    /// Relative weight among a service's endpoints.
    pub capacity: u32,
    pub waypoint: Option<GatewayAddress>,
    pub network_gateway: Option<GatewayAddress>,
    pub native_tunnel: bool,
    pub application_tunnel: Option<ApplicationProtocol>,
    pub locality: Locality,
    /// Services this workload is an endpoint of, with the ports that override the service's:
    /// service port to target port.
    pub services: SortedMap<NamespacedName, SortedMap<u16, u16>>,
    /// Policies that select this workload by name; they need not have arrived yet.
    pub authorization_policies: BTreeSet<NamespacedName>,
}

/// How a workload's node expects to be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelProtocol {
    Tcp,
    Hbone,
    /// A value this version does not know: always steered.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    Standard,
    /// Shares the node's address, so it is never found by address.
    HostNetwork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthStatus {
    Healthy,
    Unhealthy,
}

/// What the workload's own listener expects in front of the application's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationProtocol {
    None {
        port: Option<u16>,
    },
    /// PROXY protocol version 2.
    Proxy {
        port: Option<u16>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    pub region: Text,
    pub zone: Text,
    pub subzone: Text,
}

/// Where a waypoint or a network gateway is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayAddress {
    pub destination: GatewayDestination,
    pub hbone_mtls_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayDestination {
    Address(NetworkAddress),
    Hostname(NamespacedName),
}
