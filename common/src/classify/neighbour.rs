//! Rows 6 and 8: a workload of this node, and whether it may be reached past the tunnel.

use zerocopy::network_endian::{U16, U64};

use super::{Flow, Lookup, decided};
use crate::abi::key::{AddressKey, PolicyKey};
use crate::abi::names::HBONE_PORT;
use crate::abi::settings::SettingsValue;
use crate::abi::value::WorkloadValue;
use crate::verdict::{Class, NextHop, Reason, Verdict};

/// Rows 6 and 8, for a workload of this node.
#[inline(always)]
pub(super) fn decide<L: Lookup>(
    flow: &Flow<'_>,
    lookup: &L,
    node: u32,
    workload: &WorkloadValue,
    verdict: &mut Verdict,
) {
    let next_hop = &mut verdict.next_hop;
    let mut reason = local_reason(flow.netns, next_hop.port, lookup, node, workload);
    if reason == Reason::LocalBypass {
        verdict.steer = false;
        // A socket that is sent to an endpoint goes on telling what was dialled.
        next_hop.authority = flow.destination;
        next_hop.authority_port = flow.port;
    } else {
        next_hop.port = HBONE_PORT;
        next_hop.hbone = true;
    }
    if verdict.service != 0 {
        reason = match reason {
            Reason::LocalBypass => Reason::ServiceLocalBypass,
            _ => Reason::ServiceLocal,
        };
    }
    decided(verdict, Class::DirectLocal, reason);
}

/// Whether a workload of this node may be reached past the tunnel.
#[inline(always)]
fn local_reason<L: Lookup>(
    netns: u64,
    port: u16,
    lookup: &L,
    node: u32,
    workload: &WorkloadValue,
) -> Reason {
    let flags = workload.flags.get();
    if node & SettingsValue::DIRECT_LOCAL_BYPASS == 0 {
        return Reason::LocalTunnel;
    }
    if flags & WorkloadValue::TUNNELLED != 0 {
        return Reason::LocalTunnelled;
    }
    if flags & WorkloadValue::ENROLLED == 0 {
        return Reason::LocalNotEnrolled;
    }
    // A rejected entry may have been a policy.
    if node & (SettingsValue::INCOMPLETE | SettingsValue::POLICIES_CHANGE) != 0 {
        return Reason::LocalNotEvaluated;
    }
    if flags & WorkloadValue::POLICY == 0 {
        return Reason::LocalBypass;
    }
    match lookup.policy(&PolicyKey {
        netns: U64::new(netns),
        policies: workload.policies,
        padding: [0; 4],
    }) {
        Some(policy) if policy.allows(U16::new(port)) => Reason::LocalBypass,
        Some(_) => Reason::LocalPolicy,
        None => Reason::LocalNotEvaluated,
    }
}

/// An endpoint of this node that the socket could be sent to, in its service's place.
#[inline(always)]
pub(super) fn find<'a, L: Lookup>(
    flow: &Flow<'_>,
    lookup: &'a L,
    node: u32,
    endpoint: &NextHop,
) -> Option<&'a WorkloadValue> {
    if !flow.is_dialling
        || node & SettingsValue::DIRECT_LOCAL_BYPASS == 0
        // Who meets himself behind a service's address meets what others would meet there.
        || flow.pod.workload.get() == endpoint.workload
    {
        return None;
    }
    let workload = lookup.workload(&AddressKey {
        address: endpoint.address,
    })?;
    // The address may be somebody else's by now.
    let is_it = workload.flags.get() & (WorkloadValue::INVALID | NEIGHBOUR) == NEIGHBOUR
        && workload.id.get() == endpoint.workload;
    is_it.then_some(workload)
}

/// Speaks HBONE, on this node.
const NEIGHBOUR: u32 = WorkloadValue::HBONE | WorkloadValue::LOCAL;
