//! Which waypoints there are, who goes through them, and what they are found by.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::id;
use super::multimap::Multimap;
use crate::model::{
    GatewayAddress, GatewayDestination, NamespacedName, Service, Uid, WeightedWaypoint,
};

/// What a service or a workload is reached through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waypoint {
    One(GatewayAddress),
    Weighted(Vec<WeightedWaypoint>),
}

impl Waypoint {
    /// Weighted waypoints take the place of the single one. Where none of them has a share and there
    /// is no other, what goes to the service is held: it is not to be reached without a waypoint.
    pub(super) fn of_service(service: &Service) -> Option<Self> {
        let weighted = &service.weighted_waypoints;
        let has_share = weighted.iter().any(|w| w.weight > 0);
        match &service.waypoint {
            Some(one) if !has_share => Some(Self::One(one.clone())),
            Some(_) | None => (!weighted.is_empty()).then(|| Self::Weighted(weighted.clone())),
        }
    }

    pub(super) fn id(&self) -> u64 {
        match self {
            Self::One(address) => id::waypoint_id(address),
            Self::Weighted(waypoints) => id::weighted_waypoint_id(waypoints),
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &GatewayAddress> {
        let (one, weighted) = match self {
            Self::One(address) => (Some(address), &[][..]),
            Self::Weighted(waypoints) => (None, waypoints.as_slice()),
        };
        one.into_iter()
            .chain(weighted.iter().map(|w| &w.destination))
    }
}

/// Who goes through a waypoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum User<'a> {
    Service(&'a NamespacedName),
    Workload(&'a Uid),
}

#[derive(Debug)]
pub(super) struct Registered {
    pub(super) waypoint: Waypoint,
    pub(super) services: BTreeSet<NamespacedName>,
    pub(super) workloads: BTreeSet<Uid>,
    /// As its users' entries have it.
    pub(super) grouped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    waypoints: BTreeMap<u64, Registered>,
    targets: Multimap<GatewayDestination, u64>,
}

impl Registry {
    pub(super) fn get(&self, id: u64) -> Option<&Registered> {
        self.waypoints.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.waypoints.len()
    }

    /// In the order of their ids, those behind one.
    pub(super) fn behind(&self, id: Option<u64>) -> impl Iterator<Item = (u64, &Registered)> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        let waypoints = self.waypoints.range((start, Bound::Unbounded));
        waypoints.map(|(id, registered)| (*id, registered))
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Registered> {
        self.waypoints.get_mut(&id)
    }

    /// Ids of the waypoints that name a service or an address.
    pub(super) fn found_by(&self, target: &GatewayDestination) -> impl Iterator<Item = u64> {
        self.targets.get(target).copied()
    }

    /// Ids of the waypoints whose endpoints depend on where the source is.
    pub(super) fn grouped(&self) -> impl Iterator<Item = u64> {
        let all = self.waypoints.iter();
        all.filter(|(_, registered)| registered.grouped)
            .map(|(id, _)| *id)
    }

    /// Adds a user, or takes it away. The id of the waypoint where its own entries depend on that.
    pub(super) fn set_user(
        &mut self,
        waypoint: Waypoint,
        user: User<'_>,
        present: bool,
    ) -> Option<u64> {
        let id = waypoint.id();
        if !self.waypoints.contains_key(&id) {
            if !present {
                return None;
            }
            for address in waypoint.addresses() {
                self.targets.set(&address.destination, id, true);
            }
        }
        let registered = self.waypoints.entry(id).or_insert_with(|| Registered {
            waypoint,
            services: BTreeSet::new(),
            workloads: BTreeSet::new(),
            grouped: false,
        });
        let before = registered.kinds();
        match (user, present) {
            (User::Service(name), true) => {
                registered.services.insert(name.clone());
            }
            (User::Service(name), false) => {
                registered.services.remove(name);
            }
            (User::Workload(uid), true) => {
                registered.workloads.insert(uid.clone());
            }
            (User::Workload(uid), false) => {
                registered.workloads.remove(uid);
            }
        }
        let after = registered.kinds();
        if after == (false, false) {
            for address in registered.waypoint.addresses() {
                self.targets.set(&address.destination, id, false);
            }
            self.waypoints.remove(&id);
        }
        (before != after).then_some(id)
    }
}

impl Registered {
    /// Whether it has services and whether it has workloads to serve.
    fn kinds(&self) -> (bool, bool) {
        (!self.services.is_empty(), !self.workloads.is_empty())
    }
}
