//! Workloads by address: `WORKLOADS`.

use std::net::IpAddr;
use std::sync::Arc;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::value::WorkloadValue;

use super::changes::may_forbid;
use super::id::workload_id;
use super::index::Index;
use super::output::{Output, put};
use super::policies::{self, Set};
use super::registry::Waypoint;
use crate::address::to_wire;
use crate::model::{TunnelProtocol, Workload};

/// The entries of one address.
pub(super) fn compile(index: &Index, output: &mut Output, address: IpAddr) {
    let key = AddressKey {
        address: to_wire(address),
    };
    let owner = index.owner(address);
    let (value, set) = owner
        .map(|workload| value(index, address, workload))
        .map_or((None, None), |(value, set)| (Some(value), set));
    let policies = set.as_ref().map(Set::id);
    if output.sets.assign(address, set) {
        Arc::make_mut(&mut output.authorizations).set_address(address, policies);
    }
    // The address of a service is not taken away by a rejected entry.
    let rejected =
        || (index.is_disputed(address) && index.services_at(address).is_empty()).then(invalid);
    let (table, changes) = (&mut output.tables.workloads, &mut output.changes);
    let value = value.or_else(rejected);
    let forbids = table.get(&key).zip(value.as_ref());
    changes.policies_change |= forbids.is_some_and(|(old, new)| may_forbid(old, new));
    put(table, &mut changes.workloads, key, value);
}

fn invalid() -> WorkloadValue {
    WorkloadValue {
        flags: WorkloadValue::INVALID.into(),
        ..WorkloadValue::default()
    }
}

/// With the policies that pods of this node have to be let in by.
fn value(index: &Index, address: IpAddr, workload: &Workload) -> (WorkloadValue, Option<Set>) {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let waypoint = workload.waypoint.clone().map(Waypoint::One);
    let disputed = index.is_disputed(address);
    let doubted = index.is_doubted(address);
    let protocol = match workload.protocol {
        TunnelProtocol::Hbone => WorkloadValue::HBONE,
        // What a rejected entry claims too is not dialled in plaintext.
        TunnelProtocol::Tcp if disputed => WorkloadValue::INVALID,
        TunnelProtocol::Tcp => 0,
        TunnelProtocol::Unknown => WorkloadValue::INVALID,
    };
    let local = index.is_local(workload);
    let tunnelled = workload.native_tunnel || workload.application_tunnel.is_some();
    // The pod must have the address in its netns too: the source's may be of yesterday.
    let enrolled = index.is_enrolled(address, workload);
    let ours = index.is_ours(address, workload);
    let set = ours.then(|| policies::applying(index, address, workload));
    let set = set.flatten();
    let is_policed = set.is_some() || ours && doubted && protocol == WorkloadValue::HBONE;
    let flags = protocol
        | flag(local, WorkloadValue::LOCAL)
        | flag(enrolled, WorkloadValue::ENROLLED)
        | flag(is_policed, WorkloadValue::POLICY)
        | flag(waypoint.is_some(), WorkloadValue::WAYPOINT)
        | flag(
            waypoint
                .as_ref()
                .is_some_and(|w| index.is_waypoint_grouped(w)),
            WorkloadValue::WAYPOINT_GROUPED,
        )
        | flag(tunnelled, WorkloadValue::TUNNELLED);
    let may_be_bypassed_to = index.node.direct_local_bypass
        && protocol == WorkloadValue::HBONE
        && local
        && enrolled
        && !(tunnelled || doubted);
    let set = set.filter(|_| may_be_bypassed_to);
    let value = WorkloadValue {
        id: workload_id(&workload.uid).into(),
        waypoint: waypoint.map_or(0, |w| w.id()).into(),
        flags: flags.into(),
        policies: set.as_ref().map_or(0, Set::id).into(),
    };
    (value, set)
}
