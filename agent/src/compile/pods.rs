//! Enrolled pods: `PODS` and `POD_ADDRESSES`.

use std::net::IpAddr;

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::value::PodAddressValue;

use super::id::{namespace_id, workload_id};
use super::index::Index;
use super::input::EnrolledPod;
use super::output::{Output, put};
use super::place::Place;
use crate::address::to_wire;
use crate::model::Workload;

/// The entry of one pod. After `waypoints::compile`, which knows the members of waypoints.
pub(super) fn compile(index: &Index, output: &mut Output, netns: u64) {
    let key = PodKey {
        netns: netns.into(),
    };
    let pod = index.pods.get(&netns);
    let value = pod.map(|pod| value(output, &pod.pod, index.workload_of(pod)));
    put(
        &mut output.tables.pods,
        &mut output.changes.pods,
        key,
        value,
    );
}

/// The entry of one address. Where two pods have it, the younger one's.
pub(super) fn compile_address(index: &Index, output: &mut Output, address: IpAddr) {
    let key = AddressKey {
        address: to_wire(address),
    };
    let value = index.pod_at(address).map(|netns| PodAddressValue {
        netns: netns.into(),
    });
    let changes = &mut output.changes.pod_addresses;
    put(&mut output.tables.pod_addresses, changes, key, value);
}

fn value(output: &Output, pod: &EnrolledPod, workload: Option<&Workload>) -> PodValue {
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    let main = |wanted: fn(&IpAddr) -> bool| pod.addresses.iter().copied().find(wanted);
    let id = workload.map_or(0, |w| workload_id(&w.uid));
    let mains = [main(IpAddr::is_ipv4), main(IpAddr::is_ipv6)];
    let flags = flag(workload.is_some(), PodValue::KNOWN)
        | flag(
            pod.addresses.len() > mains.iter().flatten().count(),
            PodValue::MORE_ADDRESSES,
        )
        | flag(output.is_waypoint_member(id), PodValue::WAYPOINT);
    let [v4, v6] = mains.map(|address| address.map(to_wire).unwrap_or_default());
    PodValue {
        workload: id.into(),
        namespace: namespace_id(&pod.namespace).into(),
        group: workload.map_or(0, |w| Place::of(w).group()).into(),
        flags: flags.into(),
        v4,
        v6,
    }
}
