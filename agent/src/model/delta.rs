//! What a source says has changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Mesh, NamespacedName, Policy, Service, Uid, Workload};

/// A batch of changes; applied as one step.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// Boxed as in [`Mesh`], where they are moved to; a list that grows does not copy them either.
    pub workloads: Vec<Box<Workload>>,
    pub removed_workloads: Vec<Uid>,
    pub services: Vec<Service>,
    pub removed_services: Vec<NamespacedName>,
    pub policies: Vec<Policy>,
    pub removed_policies: Vec<NamespacedName>,
    /// Every entry that is currently rejected and has no last good version, or addresses which
    /// that had not. Replaces the list of the batch before.
    pub rejected: Vec<Rejection>,
    /// Addresses of workloads whose last update was rejected. The last good version stays, but
    /// other policies may apply to it now, and it may be somebody else: what policies say of it is
    /// not known. Replaces the set of the batch before.
    pub doubted: BTreeSet<IpAddr>,
    /// With this batch the source has delivered everything it has.
    pub complete: bool,
}

impl Delta {
    /// From nothing to a mesh.
    pub fn whole(mesh: Mesh) -> Self {
        let Mesh {
            workloads,
            services,
            policies,
            rejected,
            doubted,
            complete,
        } = mesh;
        Self {
            workloads: workloads.into_values().collect(),
            services: services.into_values().collect(),
            policies: policies.into_values().collect(),
            rejected: rejected.into_values().collect(),
            doubted,
            complete,
            ..Self::default()
        }
    }
}

/// An entry that the source could not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Kind and name, e.g. `service default/web`.
    pub entry: String,
    /// What is wrong, with file, line and field.
    pub error: String,
    /// The addresses of the entry that could be read, and the virtual addresses of services it
    /// may be an endpoint of.
    pub addresses: Vec<IpAddr>,
    /// Whether `addresses` may lack some: then no unknown destination is bypassed either.
    pub addresses_unknown: bool,
}

impl Mesh {
    /// Applies a batch.
    pub fn apply(&mut self, delta: Delta) {
        let Delta {
            workloads,
            removed_workloads,
            services,
            removed_services,
            policies,
            removed_policies,
            rejected,
            doubted,
            complete,
        } = delta;
        for uid in removed_workloads {
            self.workloads.remove(&uid);
        }
        for name in removed_services {
            self.services.remove(&name);
        }
        for name in removed_policies {
            self.policies.remove(&name);
        }
        self.workloads
            .extend(workloads.into_iter().map(|w| (w.uid.clone(), w)));
        self.services
            .extend(services.into_iter().map(|s| (s.hostname.clone(), s)));
        self.policies
            .extend(policies.into_iter().map(|p| (p.name.clone(), p)));
        self.rejected = rejected.into_iter().map(|r| (r.entry.clone(), r)).collect();
        self.doubted = doubted;
        self.complete |= complete;
    }
}
