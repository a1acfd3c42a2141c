//! The tables, and what has changed in them since it was last asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use waysteer_common::abi::key::{EndpointKey, ServicePortKey, WaypointKey, WaypointMemberKey};
use waysteer_common::abi::value::EndpointSetValue;

use super::changes::{Changes, TableChanges};
use super::endpoints::Set;
use super::policies::{Authorizations, Sets};
use super::tables::Tables;

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) tables: Tables,
    pub(super) changes: Changes,
    /// Ids of the namespaces that have an entry of their own, where there are any.
    pub(super) vip_namespaces: BTreeMap<IpAddr, BTreeSet<u64>>,
    pub(super) block_namespaces: BTreeMap<IpNet, BTreeSet<u64>>,
    pub(super) sets: Sets,
    pub(super) authorizations: Arc<Authorizations>,
    /// How many waypoints each workload is an endpoint of.
    memberships: BTreeMap<u64, usize>,
}

/// Sets or removes an entry. No key comes twice before the changes are taken, except with the same
/// value.
pub(super) fn put<K: Ord + Copy, V: PartialEq + Copy>(
    table: &mut BTreeMap<K, V>,
    changes: &mut TableChanges<K, V>,
    key: K,
    value: Option<V>,
) {
    match value {
        Some(value) if table.get(&key) != Some(&value) => {
            table.insert(key, value);
            changes.upserts.push((key, value));
        }
        Some(_) => {}
        None => {
            if table.remove(&key).is_some() {
                changes.removals.push(key);
            }
        }
    }
}

impl Output {
    /// What has changed since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        let settings = self.tables.settings;
        let next = Changes {
            old_settings: settings,
            settings,
            ..Changes::default()
        };
        let mut changes = std::mem::replace(&mut self.changes, next);
        changes.settings = settings;
        changes
    }

    /// All ports of one service.
    pub(super) fn put_ports(&mut self, service: u64, sets: BTreeMap<ServicePortKey, Set>) {
        let first = ServicePortKey {
            service: service.into(),
            ..ServicePortKey::default()
        };
        let old = self.tables.service_ports.range(first..);
        let old: Vec<(ServicePortKey, EndpointSetValue)> = old
            .take_while(|(key, _)| key.service.get() == service)
            .map(|(key, value)| (*key, *value))
            .collect();
        for (key, old) in old {
            if !sets.contains_key(&key) {
                self.put_set(Some(old), None);
                let changes = &mut self.changes.service_ports;
                put(&mut self.tables.service_ports, changes, key, None);
            }
        }
        for (key, set) in sets {
            let old = self.tables.service_ports.get(&key).copied();
            let value = set.value;
            self.put_set(old, Some(set));
            let changes = &mut self.changes.service_ports;
            put(&mut self.tables.service_ports, changes, key, Some(value));
        }
    }

    /// All groups of one waypoint.
    pub(super) fn put_waypoint(&mut self, waypoint: u64, sets: BTreeMap<WaypointKey, Set>) {
        let first = WaypointKey {
            waypoint: waypoint.into(),
            ..WaypointKey::default()
        };
        let old = self.tables.waypoints.range(first..);
        let old: Vec<(WaypointKey, EndpointSetValue)> = old
            .take_while(|(key, _)| key.waypoint.get() == waypoint)
            .map(|(key, value)| (*key, *value))
            .collect();
        for (key, old) in old {
            if !sets.contains_key(&key) {
                self.put_set(Some(old), None);
                let changes = &mut self.changes.waypoints;
                put(&mut self.tables.waypoints, changes, key, None);
            }
        }
        for (key, set) in sets {
            let old = self.tables.waypoints.get(&key).copied();
            let value = set.value;
            self.put_set(old, Some(set));
            let changes = &mut self.changes.waypoints;
            put(&mut self.tables.waypoints, changes, key, Some(value));
        }
    }

    /// All members of one waypoint. In return the workloads that have become members of their
    /// first waypoint, or are no longer of any.
    pub(super) fn put_members(&mut self, waypoint: u64, members: &BTreeSet<u64>) -> Vec<u64> {
        let key = |workload: u64| WaypointMemberKey {
            waypoint: waypoint.into(),
            workload: workload.into(),
        };
        let old = self.tables.waypoint_members.range(key(0)..);
        let old: BTreeSet<u64> = old
            .take_while(|(key, _)| key.waypoint.get() == waypoint)
            .map(|(key, _)| key.workload.get())
            .collect();
        let mut changed = Vec::new();
        for workload in old.symmetric_difference(members) {
            let is_member = members.contains(workload);
            let count = self.memberships.entry(*workload).or_default();
            let before = *count;
            *count = if is_member { before + 1 } else { before - 1 };
            if before == 0 || *count == 0 {
                changed.push(*workload);
            }
            if *count == 0 {
                self.memberships.remove(workload);
            }
            let changes = &mut self.changes.waypoint_members;
            let value = is_member.then_some(1);
            put(
                &mut self.tables.waypoint_members,
                changes,
                key(*workload),
                value,
            );
        }
        changed
    }

    pub(super) fn is_waypoint_member(&self, workload: u64) -> bool {
        self.memberships.contains_key(&workload)
    }

    /// The endpoints of one set.
    fn put_set(&mut self, old: Option<EndpointSetValue>, new: Option<Set>) {
        let new_value = new.as_ref().map(|set| set.value);
        let changes = &mut self.changes.endpoints;
        for (index, value) in new.iter().flat_map(|set| &set.endpoints).enumerate() {
            let Some(set) = &new_value else { continue };
            let key = endpoint_key(set, index as u32);
            put(&mut self.tables.endpoints, changes, key, Some(*value));
        }
        let Some(old) = old else { return };
        let same = new_value
            .filter(|new| (new.set, new.generation) == (old.set, old.generation))
            .map_or(0, |new| new.count.get());
        for index in same..old.count.get() {
            let key = endpoint_key(&old, index);
            put(&mut self.tables.endpoints, changes, key, None);
        }
    }
}

fn endpoint_key(set: &EndpointSetValue, index: u32) -> EndpointKey {
    EndpointKey {
        set: set.set,
        generation: set.generation,
        index: index.into(),
    }
}
