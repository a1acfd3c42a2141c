//! What must be written to bring the maps from one set of tables to another.

use std::collections::BTreeMap;

use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PodAddressValue, PolicyValue, ServiceValue, WorkloadValue,
};

use super::tables::{CidrTableKey, Tables};

/// Changes of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChanges<K, V> {
    pub upserts: Vec<(K, V)>,
    pub removals: Vec<K>,
}

impl<K, V> Default for TableChanges<K, V> {
    fn default() -> Self {
        Self {
            upserts: Vec::new(),
            removals: Vec::new(),
        }
    }
}

impl<K: Ord + Copy, V: PartialEq + Copy> TableChanges<K, V> {
    fn between(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Self {
        let changed = new
            .iter()
            .filter(|(key, value)| old.get(key) != Some(value));
        let gone = old.keys().filter(|key| !new.contains_key(key));
        Self {
            upserts: changed.map(|(k, v)| (*k, *v)).collect(),
            removals: gone.copied().collect(),
        }
    }

    fn apply(&self, table: &mut BTreeMap<K, V>) {
        for key in &self.removals {
            table.remove(key);
        }
        table.extend(self.upserts.iter().copied());
    }

    pub fn len(&self) -> usize {
        self.upserts.len() + self.removals.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether policies may forbid now what they allowed.
pub(super) fn may_forbid(old: &WorkloadValue, new: &WorkloadValue) -> bool {
    let policy = |value: &WorkloadValue| value.flags.get() & WorkloadValue::POLICY != 0;
    policy(new) && (!policy(old) || old.policies != new.policies)
}

/// Changes of all tables.
///
/// The writer keeps to this order, so that every intermediate state is safe: first what is
/// referred to (endpoints, then the sets that count them, policies, then services and workloads,
/// then pods), then what refers to it; removals the other way round. Settings that forbid are written
/// before everything else, settings that permit after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub old_settings: SettingsValue,
    pub settings: SettingsValue,
    /// Policies may forbid what they allowed: until all is written, none allows anything.
    pub policies_change: bool,
    pub pods: TableChanges<PodKey, PodValue>,
    pub pod_addresses: TableChanges<AddressKey, PodAddressValue>,
    pub workloads: TableChanges<AddressKey, WorkloadValue>,
    pub policies: TableChanges<PolicyKey, PolicyValue>,
    pub services: TableChanges<ServiceKey, ServiceValue>,
    pub service_cidrs: TableChanges<CidrTableKey<CidrKey>, ServiceValue>,
    pub service_ports: TableChanges<ServicePortKey, EndpointSetValue>,
    pub endpoints: TableChanges<EndpointKey, EndpointValue>,
    pub waypoints: TableChanges<WaypointKey, EndpointSetValue>,
    pub waypoint_members: TableChanges<WaypointMemberKey, u8>,
    pub mesh_cidrs: TableChanges<CidrTableKey<[u8; 16]>, u8>,
}

/// Visits every table once, as a field of the three structs that have them all.
macro_rules! each_table {
    ($visit:ident) => {
        $visit!(
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
            mesh_cidrs
        )
    };
}

impl Changes {
    /// What brings `old` to `new`.
    pub fn between(old: &Tables, new: &Tables) -> Self {
        macro_rules! build {
            ($($table:ident),*) => {
                Self {
                    old_settings: old.settings,
                    settings: new.settings,
                    policies_change: false,
                    $($table: TableChanges::between(&old.$table, &new.$table),)*
                }
            };
        }
        let mut changes = each_table!(build);
        let is_known = |(key, _): &(PolicyKey, _)| old.policies.contains_key(key);
        changes.policies_change = !changes.policies.removals.is_empty()
            || changes.policies.upserts.iter().any(is_known)
            || changes.workloads.upserts.iter().any(|(key, new)| {
                let old = old.workloads.get(key);
                old.is_some_and(|old| may_forbid(old, new))
            });
        changes
    }

    /// The same on tables as the writer does on maps.
    pub fn apply(&self, tables: &mut Tables) {
        macro_rules! apply {
            ($($table:ident),*) => { $(self.$table.apply(&mut tables.$table);)* };
        }
        each_table!(apply);
        tables.settings = self.settings;
    }

    /// Number of map writes.
    pub fn len(&self) -> usize {
        macro_rules! sum {
            ($($table:ident),*) => { 0 $(+ self.$table.len())* };
        }
        each_table!(sum) + usize::from(self.old_settings != self.settings)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
