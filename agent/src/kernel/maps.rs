//! The configuration in the kernel, and the only place that writes it.

pub(super) mod batch;
mod error;
mod order;
mod store;
mod table;
mod tally;
mod verify;

use std::fmt;

use aya::maps::{Array, Map, MapData};
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PodAddressValue, PolicyValue, ServiceValue, WorkloadValue,
};
use zerocopy::network_endian::{U32, U64};

pub use self::error::{MapsError, OpenError, TableError, TableFull};
use self::order::Absent;
use self::store::{Hash, Trie};
use self::table::{Stale, Table};
pub use self::tally::Tally;
pub use self::verify::{Differences, Round};
use super::wire::Wire;
use crate::compile::{Changes, CidrTableKey, TableChanges, Tables};

type HashTable<K, V> = Table<Hash<K, V>, K, V>;
type TrieTable<K, V> = Table<Trie<K, V>, CidrTableKey<K>, V>;

/// Every map that configures the programs.
pub struct Maps {
    pods: HashTable<PodKey, PodValue>,
    pod_addresses: HashTable<AddressKey, PodAddressValue>,
    workloads: HashTable<AddressKey, WorkloadValue>,
    policies: HashTable<PolicyKey, PolicyValue>,
    services: HashTable<ServiceKey, ServiceValue>,
    service_cidrs: TrieTable<CidrKey, ServiceValue>,
    service_ports: HashTable<ServicePortKey, EndpointSetValue>,
    endpoints: HashTable<EndpointKey, EndpointValue>,
    waypoints: HashTable<WaypointKey, EndpointSetValue>,
    waypoint_members: HashTable<WaypointMemberKey, u8>,
    mesh_cidrs: TrieTable<[u8; 16], u8>,
    settings: Array<MapData, Wire<SettingsValue>>,
    /// As the tables want them, without what a failure adds.
    flags: u32,
    /// As the kernel has them.
    written: SettingsValue,
    settings_tally: Tally,
}

impl Maps {
    pub(super) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        let layout = |source| OpenError::Layout {
            map: "SETTINGS",
            source,
        };
        let settings = take("SETTINGS").ok_or(OpenError::Missing { map: "SETTINGS" })?;
        let settings: Array<MapData, Wire<SettingsValue>> = settings.try_into().map_err(layout)?;
        let Wire(written) = settings.get(&0, 0).map_err(layout)?;
        Ok(Self {
            // Without its entry a pod is steered whole, and with an old one it is judged by its
            // old namespace; both are safe, but only the second works.
            pods: Table::new("PODS", Stale::Keep, take)?,
            pod_addresses: Table::new("POD_ADDRESSES", Stale::Keep, take)?,
            workloads: Table::new("WORKLOADS", Stale::Remove, take)?,
            policies: Table::new("POLICIES", Stale::Remove, take)?,
            services: Table::new("SERVICES", Stale::Remove, take)?,
            service_cidrs: Table::new("SERVICE_CIDRS", Stale::Remove, take)?,
            service_ports: Table::new("SERVICE_PORTS", Stale::Remove, take)?,
            endpoints: Table::new("ENDPOINTS", Stale::Remove, take)?,
            waypoints: Table::new("WAYPOINTS", Stale::Remove, take)?,
            waypoint_members: Table::new("WAYPOINT_MEMBERS", Stale::Remove, take)?,
            mesh_cidrs: Table::new("MESH_CIDRS", Stale::Remove, take)?,
            settings,
            flags: written.flags.get(),
            written,
            settings_tally: Tally::of("SETTINGS"),
        })
    }

    /// Writes changes, in an order in which every intermediate state is safe: [`Changes`] says
    /// which and why.
    ///
    /// [`MapsError::Incomplete`] leaves the kernel safe, and what was refused is tried again by
    /// every later call, until a change removes it: to the writer it is as good as written.
    pub fn apply(&mut self, changes: &Changes, host_netns: u64) -> Result<(), MapsError> {
        let (old, new) = (self.flags, changes.settings.flags.get());
        let mut errors = Vec::new();
        macro_rules! upsert {
            ($($table:ident),*) => {$(
                if !self.$table.upsert(&changes.$table) {
                    // Forbid first: what is displaced looks unknown.
                    self.write_settings(host_netns)?;
                    self.$table.displace();
                }
            )*};
        }
        macro_rules! remove {
            ($($table:ident),*) => { $(errors.extend(self.$table.remove(&changes.$table));)* };
        }
        macro_rules! retry {
            ($($table:ident),*) => { $(errors.extend(self.$table.retry());)* };
        }
        let held = order::held(changes.policies_change);
        self.flags = order::during(old, new) | held;
        self.write_settings(host_netns)?;
        upsert!(
            endpoints,
            waypoints,
            service_ports,
            waypoint_members,
            mesh_cidrs,
            policies
        );
        upsert!(services, service_cidrs, workloads, pod_addresses, pods);
        self.flags = order::settled(old, new) | held;
        self.write_settings(host_netns)?;
        remove!(pods, pod_addresses, workloads, service_cidrs, services);
        remove!(
            policies,
            mesh_cidrs,
            waypoint_members,
            service_ports,
            waypoints,
            endpoints
        );
        retry!(
            endpoints,
            waypoints,
            service_ports,
            waypoint_members,
            mesh_cidrs,
            policies
        );
        retry!(services, service_cidrs, workloads, pod_addresses, pods);
        self.flags = new;
        self.write_settings(host_netns)?;
        if errors.is_empty() {
            Ok(())
        } else {
            Err(MapsError::Incomplete { tables: errors })
        }
    }

    /// What was asked for, as the compiler would have made it, with no `host_netns`: what the
    /// kernel has, and what it has refused and will be offered again. Changes from here to what
    /// should be are the right ones for [`Maps::apply`].
    pub fn read(&self) -> Result<Tables, MapsError> {
        let mut settings = SettingsValue::NONE;
        settings.flags = U32::new(self.flags);
        Ok(Tables {
            settings,
            pods: self.pods.read()?,
            pod_addresses: self.pod_addresses.read()?,
            workloads: self.workloads.read()?,
            policies: self.policies.read()?,
            services: self.services.read()?,
            service_cidrs: self.service_cidrs.read()?,
            service_ports: self.service_ports.read()?,
            endpoints: self.endpoints.read()?,
            waypoints: self.waypoints.read()?,
            waypoint_members: self.waypoint_members.read()?,
            mesh_cidrs: self.mesh_cidrs.read()?,
        })
    }

    /// The settings that the programs work by.
    pub fn settings(&self) -> Result<SettingsValue, MapsError> {
        let read = self.settings.get(&0, 0);
        let Wire(value) = read.map_err(|source| MapsError::Unreadable {
            map: "SETTINGS",
            source,
        })?;
        Ok(value)
    }

    /// Takes out a pod that the writer does not know, with the addresses that are still its own.
    pub fn remove_pod(&mut self, netns: u64) -> Result<(), MapsError> {
        let key = PodKey {
            netns: netns.into(),
        };
        let addresses = self.pod_addresses.read()?;
        let own = addresses
            .into_iter()
            .filter(|(_, value)| value.netns.get() == netns);
        let pods = TableChanges {
            removals: vec![key],
            upserts: Vec::new(),
        };
        let addresses = TableChanges {
            removals: own.map(|(key, _)| key).collect(),
            upserts: Vec::new(),
        };
        let errors = [
            self.pods.remove(&pods),
            self.pod_addresses.remove(&addresses),
        ];
        let tables: Vec<TableError> = errors.into_iter().flatten().collect();
        if tables.is_empty() {
            Ok(())
        } else {
            Err(MapsError::Incomplete { tables })
        }
    }

    /// What was written so far, map by map.
    pub fn tallies(&self) -> [Tally; 12] {
        let Self {
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
            settings: _,
            flags: _,
            written: _,
            settings_tally,
        } = self;
        [
            pods.tally,
            pod_addresses.tally,
            workloads.tally,
            policies.tally,
            services.tally,
            service_cidrs.tally,
            service_ports.tally,
            endpoints.tally,
            waypoints.tally,
            waypoint_members.tally,
            mesh_cidrs.tally,
            *settings_tally,
        ]
    }

    fn write_settings(&mut self, host_netns: u64) -> Result<(), MapsError> {
        let mut value = SettingsValue::NONE;
        value.flags = U32::new(order::restricted(self.flags, self.absent()));
        value.host_netns = U64::new(host_netns);
        if value != self.written {
            self.settings
                .set(0, Wire(value), 0)
                .map_err(MapsError::Settings)?;
            self.written = value;
            self.settings_tally.puts += 1;
            self.settings_tally.syscalls += 1;
        }
        Ok(())
    }

    fn absent(&self) -> Absent {
        let before_cidrs = !(self.workloads.pending.is_empty()
            && self.services.pending.is_empty()
            && self.service_cidrs.pending.is_empty());
        Absent {
            destinations: before_cidrs || !self.mesh_cidrs.pending.is_empty(),
            before_cidrs,
            namespaced: self
                .services
                .pending
                .keys()
                .any(|key| key.namespace.get() != 0),
        }
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps")
            .field("settings", &self.written)
            .finish_non_exhaustive()
    }
}
