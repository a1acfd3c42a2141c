//! What the classifier is asked, and what it reads.

use crate::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use crate::abi::pod::PodValue;
use crate::abi::settings::SettingsValue;
use crate::abi::value::{
    EndpointSetValue, EndpointValue, PolicyValue, ServiceValue, WorkloadValue,
};
use crate::addr::Address;

/// A connection attempt of an enrolled pod.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    pub pod: &'a PodValue,
    /// Netns cookie of the pod.
    pub netns: u64,
    pub destination: Address,
    pub port: u16,
    /// The destination can still be changed: at `connect()`, and nowhere else.
    pub is_dialling: bool,
}

/// What the classifier reads: BPF maps in the kernel, tables on the host.
pub trait Lookup {
    fn settings(&self) -> &SettingsValue;
    /// The netns cookie of the enrolled pod that has this address.
    fn pod_address(&self, key: &AddressKey) -> Option<u64>;
    fn workload(&self, key: &AddressKey) -> Option<&WorkloadValue>;
    /// What policies say of a source.
    fn policy(&self, key: &PolicyKey) -> Option<&PolicyValue>;
    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue>;
    /// The longest prefix that holds the address, of exactly the key's namespace.
    fn service_cidr(&self, key: &CidrKey) -> Option<&ServiceValue>;
    fn service_port(&self, key: &ServicePortKey) -> Option<&EndpointSetValue>;
    fn waypoint(&self, key: &WaypointKey) -> Option<&EndpointSetValue>;
    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool;
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointValue>;
    /// Whether the address is in `mesh_cidrs`.
    fn in_mesh(&self, address: &Address) -> bool;
    fn random(&self) -> u32;
}
