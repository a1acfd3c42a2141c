//! From the mesh to map entries: pure, deterministic, and the same on every run.
//!
//! Ids and generations are digests of names and contents, so two compilations of the same mesh are
//! equal, and a restarted agent recognises its own maps.

mod changes;
mod directory;
mod dirty;
mod endpoints;
mod id;
mod index;
mod input;
mod known;
mod multimap;
mod output;
mod place;
mod pods;
mod policies;
mod registry;
mod sampler;
mod services;
mod tables;
mod waypoints;
mod workloads;

pub use changes::{Changes, TableChanges};
pub use directory::{Entry, ServiceNames, WorkloadNames};
pub use id::{namespace_id, service_id, source_id, waypoint_id, workload_id};
pub use input::{EnrolledPod, Node};
pub use known::KnownWaypoint;
pub use policies::Authorizations;
pub use tables::{CidrTableKey, TableLookup, Tables};

use std::sync::Arc;

use waysteer_common::abi::key::CidrKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::MeshCidr;

use crate::model::{Delta, Mesh};
use dirty::Dirty;
use index::Index;
use output::{Output, put};

/// Keeps the tables as the mesh, this node and its enrolled pods want them. A change costs what
/// hangs on it, whatever the size of the mesh.
#[derive(Debug, Default)]
pub struct Compiler {
    index: Index,
    output: Output,
    recompiled: u64,
}

impl Compiler {
    /// Of an empty mesh.
    pub fn new(node: Node) -> Self {
        let mut compiler = Self::default();
        for cidr in &node.mesh_cidrs {
            let (data, prefix) = tables::prefix_of(cidr);
            let Output {
                tables, changes, ..
            } = &mut compiler.output;
            let key = CidrTableKey { prefix, data };
            put(
                &mut tables.mesh_cidrs,
                &mut changes.mesh_cidrs,
                key,
                Some(match tables::holds_v4(cidr) {
                    true => MeshCidr::V6_ONLY,
                    false => MeshCidr::ALL,
                }),
            );
        }
        compiler.index.node = node;
        compiler.update(Dirty::default());
        compiler
    }

    /// Applies a batch of changes of the mesh.
    pub fn apply(&mut self, delta: Delta) {
        let mut dirty = Dirty::default();
        self.index.apply(delta, &mut dirty);
        self.update(dirty);
    }

    /// Adds or changes an enrolled pod, by its netns cookie.
    pub fn set_pod(&mut self, pod: EnrolledPod) {
        let mut dirty = Dirty::default();
        self.index.set_pod(pod, &mut dirty);
        self.update(dirty);
    }

    /// Removes a pod by its netns cookie.
    pub fn remove_pod(&mut self, netns: u64) {
        let mut dirty = Dirty::default();
        self.index.remove_pod(netns, &mut dirty);
        self.update(dirty);
    }

    /// What has changed in the tables since the last call.
    pub fn take_changes(&mut self) -> Changes {
        self.output.take_changes()
    }

    /// What the maps should hold.
    pub fn tables(&self) -> &Tables {
        &self.output.tables
    }

    pub fn mesh(&self) -> &Mesh {
        &self.index.mesh
    }

    /// Why policies let a pod in or not.
    pub fn authorizations(&self) -> &Arc<Authorizations> {
        &self.output.authorizations
    }

    /// How many parts of the tables were looked at again so far: what changes have cost.
    pub fn recompiled(&self) -> u64 {
        self.recompiled
    }

    /// What a workload's id stands for.
    pub fn workload(&self, id: u64) -> Option<Entry> {
        let workload = self.index.workload_by_id(id)?;
        Some(directory::of_workload(workload, self.mesh()))
    }

    /// What a service's id stands for.
    pub fn service(&self, id: u64) -> Option<Entry> {
        self.index.service_by_id(id).map(directory::of_service)
    }

    /// What metrics call a workload.
    pub fn workload_names(&self, id: u64) -> Option<WorkloadNames> {
        let workload = self.index.workload_by_id(id);
        workload.map(directory::workload_names)
    }

    /// What metrics call a service.
    pub fn service_names(&self, id: u64) -> Option<ServiceNames> {
        let service = self.index.service_by_id(id);
        service.map(directory::service_names)
    }

    fn update(&mut self, mut dirty: Dirty) {
        let Self {
            index,
            output,
            recompiled,
        } = self;
        *recompiled += dirty.len() as u64;
        for id in std::mem::take(&mut dirty.waypoints) {
            for workload in waypoints::compile(index, output, id) {
                dirty.pods.extend(index.pods_of(workload));
            }
        }
        for name in &dirty.ports {
            services::compile_ports(index, output, name);
        }
        for address in &dirty.vips {
            services::compile_vip(index, output, *address);
        }
        for block in &dirty.blocks {
            services::compile_block(index, output, block);
        }
        for address in &dirty.addresses {
            workloads::compile(index, output, *address);
            pods::compile_address(index, output, *address);
        }
        for netns in &dirty.pods {
            pods::compile(index, output, *netns);
        }
        policies::compile(index, output, &dirty);
        output.tables.settings.flags = settings(index, &output.tables).into();
    }
}

/// What a mesh compiles to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    pub tables: Tables,
    pub authorizations: Arc<Authorizations>,
}

/// Compiles a whole mesh for one node, once.
pub fn compile(mesh: &Mesh, node: &Node, pods: &[EnrolledPod]) -> Compiled {
    let mut compiler = Compiler::new(node.clone());
    for pod in pods {
        compiler.set_pod(pod.clone());
    }
    compiler.apply(Delta::whole(mesh.clone()));
    Compiled {
        authorizations: Arc::clone(compiler.authorizations()),
        tables: compiler.output.tables,
    }
}

fn settings(index: &Index, tables: &Tables) -> u32 {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    flag(index.mesh.complete, SettingsValue::SYNCED)
        | flag(
            index.node.direct_local_bypass,
            SettingsValue::DIRECT_LOCAL_BYPASS,
        )
        | flag(
            !tables.service_cidrs.is_empty(),
            SettingsValue::SERVICE_CIDRS,
        )
        | flag(!tables.mesh_cidrs.is_empty(), SettingsValue::MESH_CIDRS)
        | flag(index.addresses_unknown(), SettingsValue::INCOMPLETE)
        | flag(index.node.events, SettingsValue::EVENTS)
}

fn cidr_key(namespace: u64, cidr: &ipnet::IpNet) -> CidrTableKey<CidrKey> {
    let (address, prefix) = tables::prefix_of(cidr);
    CidrTableKey {
        prefix: prefix + CidrKey::NAMESPACE_BITS,
        data: CidrKey {
            namespace: namespace.into(),
            address,
        },
    }
}

#[cfg(test)]
mod tests;
