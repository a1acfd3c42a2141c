//! From what the kernel has dropped to names.

use std::net::{IpAddr, SocketAddr};

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::classify::{Flow, classify};

use crate::address::to_wire;
use crate::compile::{Compiler, TableLookup};
use crate::kernel::observe::DropReport;
use crate::state::DropRecord;
use crate::tunnel::View;

/// A drop as an operator reads it.
pub fn describe_drop(view: &View, report: &DropReport) -> DropRecord {
    let DropReport {
        at,
        netns,
        hook,
        action,
        source,
        destination,
    } = *report;
    let text = |address: SocketAddr| address.to_string();
    view.with(|compiler| {
        let of = |address: Option<SocketAddr>| workload_at(compiler, address?.ip());
        DropRecord {
            at,
            hook: hook.label(),
            pod: pod(compiler, netns),
            action: action.label(),
            source: source.map(text),
            source_workload: of(source),
            destination: destination.map(text),
            destination_workload: of(destination),
            service: destination.and_then(|to| service_at(compiler, netns, to)),
        }
    })
}

fn pod(compiler: &Compiler, netns: u64) -> String {
    if netns == 0 {
        return "unknown".to_owned();
    }
    let key = PodKey {
        netns: netns.into(),
    };
    let pod = compiler.tables().pods.get(&key);
    let entry = pod.and_then(|pod| compiler.workload(pod.workload.get()));
    entry.map_or_else(|| format!("netns {netns}"), |entry| entry.name)
}

fn workload_at(compiler: &Compiler, address: IpAddr) -> Option<String> {
    let address = to_wire(address);
    let value = compiler.tables().workloads.get(&AddressKey { address })?;
    compiler.workload(value.id.get()).map(|entry| entry.name)
}

/// As the pod of this netns dials it.
fn service_at(compiler: &Compiler, netns: u64, to: SocketAddr) -> Option<String> {
    let tables = compiler.tables();
    let pod = tables.pods.get(&PodKey {
        netns: netns.into(),
    })?;
    let flow = Flow {
        pod,
        netns,
        destination: to_wire(to.ip()),
        port: to.port(),
        is_dialling: false,
    };
    // Which endpoint is drawn does not matter.
    let random = || 0;
    let verdict = classify(&flow, &TableLookup { tables, random });
    compiler.service(verdict.service).map(|entry| entry.name)
}
