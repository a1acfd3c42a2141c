//! Enrolled pods: `PODS` and `POD_ADDRESSES`.

use std::net::IpAddr;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::value::PodAddressValue;

use super::id::{namespace_id, workload_id};
use super::index::Index;
use super::input::EnrolledPod;
use super::tables::Tables;
use crate::address::to_wire;
use crate::model::Workload;

/// After `waypoints::compile`, which knows the members of waypoints.
pub(super) fn compile(index: &Index<'_>, tables: &mut Tables) {
    for (pod, workload) in index.pods.iter().zip(&index.pod_workloads) {
        let value = value(index, tables, pod, *workload);
        tables.pods.insert(
            PodKey {
                netns: pod.netns.into(),
            },
            value,
        );
        for address in &pod.addresses {
            let key = AddressKey {
                address: to_wire(*address),
            };
            tables.pod_addresses.insert(
                key,
                PodAddressValue {
                    netns: pod.netns.into(),
                },
            );
        }
    }
}

fn value(
    index: &Index<'_>,
    tables: &Tables,
    pod: &EnrolledPod,
    workload: Option<&Workload>,
) -> PodValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let main = |wanted: fn(&IpAddr) -> bool| pod.addresses.iter().copied().find(wanted);
    let id = workload.map_or(0, |w| workload_id(&w.uid));
    let mains = [main(IpAddr::is_ipv4), main(IpAddr::is_ipv6)];
    let flags = flag(workload.is_some(), PodValue::KNOWN)
        | flag(
            pod.addresses.len() > mains.iter().flatten().count(),
            PodValue::MORE_ADDRESSES,
        )
        | flag(
            tables
                .waypoint_members
                .keys()
                .any(|member| member.workload.get() == id),
            PodValue::WAYPOINT,
        );
    let [v4, v6] = mains.map(|address| address.map(to_wire).unwrap_or_default());
    PodValue {
        workload: id.into(),
        namespace: namespace_id(&pod.namespace).into(),
        group: workload.map_or(0, |w| index.group(w)).into(),
        flags: flags.into(),
        v4,
        v6,
    }
}
