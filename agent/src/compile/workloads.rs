//! Workloads by address: `WORKLOADS`.

use std::net::IpAddr;

use waysteer_common::abi::key::{AddressKey, ServiceKey};
use waysteer_common::abi::value::WorkloadValue;

use super::id::workload_id;
use super::index::Index;
use super::tables::Tables;
use super::waypoints::{self, Waypoint};
use crate::address::to_wire;
use crate::model::{TunnelProtocol, Workload};

/// After `services::compile`, whose addresses a rejected entry does not take away.
pub(super) fn compile(index: &Index<'_>, tables: &mut Tables) {
    for (address, workload) in &index.addresses {
        let key = AddressKey {
            address: to_wire(*address),
        };
        tables
            .workloads
            .insert(key, value(index, *address, workload));
    }
    for address in &index.disputed {
        let address = to_wire(*address);
        let service = ServiceKey {
            namespace: 0.into(),
            address,
        };
        if !tables.services.contains_key(&service) {
            tables
                .workloads
                .entry(AddressKey { address })
                .or_insert(WorkloadValue {
                    flags: WorkloadValue::INVALID.into(),
                    ..WorkloadValue::default()
                });
        }
    }
}

fn value(index: &Index<'_>, address: IpAddr, workload: &Workload) -> WorkloadValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let waypoint = workload.waypoint.as_ref().map(Waypoint::One);
    let disputed = index.disputed.contains(&address);
    let protocol = match workload.protocol {
        TunnelProtocol::Hbone => WorkloadValue::HBONE,
        // What a rejected entry claims too is not dialled in plaintext.
        TunnelProtocol::Tcp if disputed => WorkloadValue::INVALID,
        TunnelProtocol::Tcp => 0,
        TunnelProtocol::Unknown => WorkloadValue::INVALID,
    };
    let tunnelled = workload.native_tunnel || workload.application_tunnel.is_some();
    let flags = protocol
        | flag(index.is_local(workload), WorkloadValue::LOCAL)
        | flag(
            is_enrolled(index, address, workload),
            WorkloadValue::ENROLLED,
        )
        | flag(
            disputed || index.has_policy(workload),
            WorkloadValue::POLICY,
        )
        | flag(waypoint.is_some(), WorkloadValue::WAYPOINT)
        | flag(
            waypoint.is_some_and(|w| waypoints::is_grouped(index, &w)),
            WorkloadValue::WAYPOINT_GROUPED,
        )
        | flag(tunnelled, WorkloadValue::TUNNELLED);
    WorkloadValue {
        id: workload_id(&workload.uid).into(),
        waypoint: waypoint.map_or(0, |w| w.id()).into(),
        flags: flags.into(),
        padding: [0; 4],
    }
}

/// The pod must have the address in its netns too: what the source says may be of yesterday.
fn is_enrolled(index: &Index<'_>, address: IpAddr, workload: &Workload) -> bool {
    index
        .pods
        .iter()
        .zip(&index.pod_workloads)
        .any(|(pod, known)| {
            known.is_some_and(|w| w.uid == workload.uid) && pod.addresses.contains(&address)
        })
}
