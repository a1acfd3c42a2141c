//! What the maps should hold.

use ipnet::IpNet;
use std::collections::BTreeMap;
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, MeshCidr, PodAddressValue, PolicyValue, ServiceValue,
    WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::classify::Lookup;

use crate::address::to_wire;

/// Longest-prefix keys: prefix length in bits, then the data it counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CidrTableKey<K> {
    pub prefix: u32,
    pub data: K,
}

/// One table a map, same names, same keys and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `host_netns` is left 0 here; the writer fills it in.
    pub settings: SettingsValue,
    pub pods: BTreeMap<PodKey, PodValue>,
    pub pod_addresses: BTreeMap<AddressKey, PodAddressValue>,
    pub workloads: BTreeMap<AddressKey, WorkloadValue>,
    pub policies: BTreeMap<PolicyKey, PolicyValue>,
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    pub service_cidrs: BTreeMap<CidrTableKey<CidrKey>, ServiceValue>,
    pub service_ports: BTreeMap<ServicePortKey, EndpointSetValue>,
    pub endpoints: BTreeMap<EndpointKey, EndpointValue>,
    pub waypoints: BTreeMap<WaypointKey, EndpointSetValue>,
    pub waypoint_members: BTreeMap<WaypointMemberKey, u8>,
    pub mesh_cidrs: BTreeMap<CidrTableKey<[u8; 16]>, u8>,
}

impl Tables {
    /// Number of map entries.
    pub fn len(&self) -> usize {
        let Self {
            settings: _,
            pods,
            pod_addresses,
            workloads,
            policies,
            services,
            service_cidrs,
            service_ports,
            endpoints,
            waypoints,
            waypoint_members,
            mesh_cidrs,
        } = self;
        pods.len()
            + pod_addresses.len()
            + workloads.len()
            + policies.len()
            + services.len()
            + service_cidrs.len()
            + service_ports.len()
            + endpoints.len()
            + waypoints.len()
            + waypoint_members.len()
            + mesh_cidrs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The classifier's view of tables; `random` draws endpoints.
#[derive(Debug)]
pub struct TableLookup<'a, R> {
    pub tables: &'a Tables,
    pub random: R,
}

impl<R: Fn() -> u32> Lookup for TableLookup<'_, R> {
    fn settings(&self) -> &SettingsValue {
        &self.tables.settings
    }

    fn pod_address(&self, key: &AddressKey) -> Option<u64> {
        self.tables
            .pod_addresses
            .get(key)
            .map(|value| value.netns.get())
    }

    fn workload(&self, key: &AddressKey) -> Option<&WorkloadValue> {
        self.tables.workloads.get(key)
    }

    fn policy(&self, key: &PolicyKey) -> Option<&PolicyValue> {
        self.tables.policies.get(key)
    }

    fn service(&self, key: &ServiceKey) -> Option<&ServiceValue> {
        self.tables.services.get(key)
    }

    fn service_cidr(&self, key: &CidrKey) -> Option<&ServiceValue> {
        longest_prefix(|prefix| {
            let address = masked(key.address, prefix);
            let data = CidrKey {
                namespace: key.namespace,
                address,
            };
            let prefix = prefix + CidrKey::NAMESPACE_BITS;
            self.tables
                .service_cidrs
                .get(&CidrTableKey { prefix, data })
        })
    }

    fn service_port(&self, key: &ServicePortKey) -> Option<&EndpointSetValue> {
        self.tables.service_ports.get(key)
    }

    fn waypoint(&self, key: &WaypointKey) -> Option<&EndpointSetValue> {
        self.tables.waypoints.get(key)
    }

    fn is_waypoint_member(&self, key: &WaypointMemberKey) -> bool {
        self.tables.waypoint_members.contains_key(key)
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointValue> {
        self.tables.endpoints.get(key)
    }

    fn in_mesh(&self, address: &Address) -> bool {
        longest_prefix(|prefix| {
            let data = masked(address.octets(), prefix);
            self.tables.mesh_cidrs.get(&CidrTableKey { prefix, data })
        })
        .is_some_and(|value| MeshCidr::is_for(*value, address))
    }

    fn random(&self) -> u32 {
        (self.random)()
    }
}

fn longest_prefix<'a, V>(get: impl Fn(u32) -> Option<&'a V>) -> Option<&'a V> {
    (0..=128).rev().find_map(get)
}

/// The address with all bits after the prefix zero.
fn masked(address: [u8; 16], prefix: u32) -> [u8; 16] {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    (u128::from_be_bytes(address) & mask).to_be_bytes()
}

/// A block as longest-prefix keys have it: its first address, and the prefix in the v4-mapped
/// space.
pub(super) fn prefix_of(block: &IpNet) -> ([u8; 16], u32) {
    let prefix = u32::from(block.prefix_len());
    let prefix = match block {
        IpNet::V4(_) => prefix + 96,
        IpNet::V6(_) => prefix,
    };
    (masked(to_wire(block.network()).octets(), prefix), prefix)
}

/// Whether a block of IPv6 has the v4-mapped addresses within: where keys are of both families, it
/// has all of IPv4.
pub(super) fn holds_v4(block: &IpNet) -> bool {
    let (first, prefix) = prefix_of(block);
    prefix < 96 && masked(Address::from_v4([0; 4]).octets(), prefix) == first
}
