//! What is compiled besides the mesh, for whoever wants to see it.

use std::ops::Bound;

use super::{Compiler, EnrolledPod};
use crate::model::{GatewayAddress, Uid};

/// A waypoint that services or workloads are reached through.
#[derive(Debug)]
pub struct KnownWaypoint<'a> {
    pub id: u64,
    /// More than one where it is drawn by weight.
    pub addresses: Vec<&'a GatewayAddress>,
    /// How many go through it.
    pub services: usize,
    pub workloads: usize,
}

impl Compiler {
    /// In the order of their ids, those behind one.
    pub fn waypoints(&self, behind: Option<u64>) -> impl Iterator<Item = KnownWaypoint<'_>> {
        let waypoints = self.index.waypoints.behind(behind);
        waypoints.map(|(id, registered)| KnownWaypoint {
            id,
            addresses: registered.waypoint.addresses().collect(),
            services: registered.services.len(),
            workloads: registered.workloads.len(),
        })
    }

    pub fn count_waypoints(&self) -> usize {
        self.index.waypoints.len()
    }

    /// With the workloads that they are known as, in the order of their netns cookies, those behind
    /// one.
    pub fn pods(&self, behind: Option<u64>) -> impl Iterator<Item = (&EnrolledPod, Option<&Uid>)> {
        let start = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let pods = self.index.pods.range((start, Bound::Unbounded));
        pods.map(|(_, known)| (&known.pod, known.workload.as_ref()))
    }

    pub fn count_pods(&self) -> usize {
        self.index.pods.len()
    }
}
