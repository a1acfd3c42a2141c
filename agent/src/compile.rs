//! From the mesh to map entries: pure, deterministic, and the same on every run.
//!
//! Ids and generations are digests of names and contents, so two compilations of the same mesh are
//! equal, and a restarted agent recognises its own maps.

mod changes;
mod directory;
mod endpoints;
mod id;
mod index;
mod input;
mod pods;
mod sampler;
mod services;
mod tables;
mod waypoints;
mod workloads;

pub use changes::{Changes, TableChanges};
pub use directory::{Directory, Entry};
pub use id::{namespace_id, service_id, waypoint_id, workload_id};
pub use input::{EnrolledPod, Node};
pub use tables::{CidrTableKey, TableLookup, Tables};

use waysteer_common::abi::key::CidrKey;
use waysteer_common::abi::settings::SettingsValue;

use crate::model::Mesh;
use index::Index;

/// What a mesh compiles to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    pub tables: Tables,
    pub directory: Directory,
}

/// Compiles the whole mesh for one node.
pub fn compile(mesh: &Mesh, node: &Node, pods: &[EnrolledPod]) -> Compiled {
    let index = Index::new(mesh, node, pods);
    let mut tables = Tables::default();
    services::compile(&index, &mut tables);
    workloads::compile(&index, &mut tables);
    waypoints::compile(&index, &mut tables);
    pods::compile(&index, &mut tables);
    for cidr in &node.mesh_cidrs {
        let (address, prefix) = tables::prefix_of(cidr);
        tables.mesh_cidrs.insert(
            CidrTableKey {
                prefix,
                data: address,
            },
            1,
        );
    }
    tables.settings.flags = settings(&index, &tables).into();
    Compiled {
        tables,
        directory: Directory::new(mesh),
    }
}

fn settings(index: &Index<'_>, tables: &Tables) -> u32 {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let unknown_addresses = index.mesh.rejected.values().any(|r| r.addresses_unknown);
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
        | flag(unknown_addresses, SettingsValue::INCOMPLETE)
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
