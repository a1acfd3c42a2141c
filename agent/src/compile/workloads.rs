//! Workloads by address: `WORKLOADS`.

use std::net::IpAddr;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::value::WorkloadValue;

use super::id::workload_id;
use super::index::Index;
use super::output::{Output, put};
use super::registry::Waypoint;
use crate::address::to_wire;
use crate::model::{TunnelProtocol, Workload};

/// The entries of one address.
pub(super) fn compile(index: &Index, output: &mut Output, address: IpAddr) {
    let key = AddressKey {
        address: to_wire(address),
    };
    let owner = index.owner(address);
    let value = owner.map(|workload| value(index, address, workload));
    // The address of a service is not taken away by a rejected entry.
    let rejected =
        || (index.is_disputed(address) && index.services_at(address).is_empty()).then(invalid);
    let (tables, changes) = (&mut output.tables, &mut output.changes);
    put(
        &mut tables.workloads,
        &mut changes.workloads,
        key,
        value.or_else(rejected),
    );
}

fn invalid() -> WorkloadValue {
    WorkloadValue {
        flags: WorkloadValue::INVALID.into(),
        ..WorkloadValue::default()
    }
}

fn value(index: &Index, address: IpAddr, workload: &Workload) -> WorkloadValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let waypoint = workload.waypoint.clone().map(Waypoint::One);
    let disputed = index.is_disputed(address);
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
        // The pod must have the address in its netns too: the source's may be of yesterday.
        | flag(
            index.is_enrolled(address, workload),
            WorkloadValue::ENROLLED,
        )
        | flag(
            disputed || index.has_policy(workload),
            WorkloadValue::POLICY,
        )
        | flag(waypoint.is_some(), WorkloadValue::WAYPOINT)
        | flag(
            waypoint
                .as_ref()
                .is_some_and(|w| index.is_waypoint_grouped(w)),
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
