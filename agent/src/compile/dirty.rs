//! What must be compiled again: each part of the tables belongs to one of these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::NamespacedName;

#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Entries of `WORKLOADS`.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Entries of `SERVICES`.
    pub(super) vips: BTreeSet<IpAddr>,
    /// Entries of `SERVICE_CIDRS`.
    pub(super) blocks: BTreeSet<IpNet>,
    /// Services whose ports and endpoints are to be looked at.
    pub(super) ports: BTreeSet<NamespacedName>,
    /// Ids of waypoints: their endpoints and members.
    pub(super) waypoints: BTreeSet<u64>,
    /// Policies, whoever they apply to.
    pub(super) policies: BTreeSet<NamespacedName>,
    /// Netns cookies of enrolled pods.
    pub(super) pods: BTreeSet<u64>,
}

impl Dirty {
    /// Number of parts.
    pub(super) fn len(&self) -> usize {
        let Self {
            addresses,
            vips,
            blocks,
            ports,
            waypoints,
            policies,
            pods,
        } = self;
        let by_address = addresses.len() + vips.len() + blocks.len();
        by_address + ports.len() + waypoints.len() + policies.len() + pods.len()
    }
}
