//! A look-up of the classifier, in words.

use waysteer_common::abi::key::{EndpointKey, ServicePortKey, WaypointKey, WaypointMemberKey};
use waysteer_common::abi::pod::PodValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PolicyValue, ServiceValue, WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::verdict::Table;
use zerocopy::network_endian::{U32, U64};

use super::MetRecord;
use crate::address::from_wire;
use crate::kernel::explain::Met;
use crate::names::{Id, Namer, flags};

pub(super) fn describe(met: &Met, names: &impl Namer) -> MetRecord {
    let (table, asked, entry) = match met {
        Met::Settings(value) => {
            let flags = flags::settings(value.flags.get()).join(", ");
            (Table::Settings, "this node".to_owned(), Some(flags))
        }
        Met::Pod(key, value) => {
            let asked = format!("netns {}", key.netns.get());
            let entry = value.as_ref().map(|value| pod(value, names));
            (Table::Pods, asked, entry)
        }
        Met::PodAddress(key, value) => {
            let entry = value.map(|value| format!("netns {}", value.netns.get()));
            (Table::PodAddresses, text(key.address), entry)
        }
        Met::Workload(key, value) => {
            let entry = value.as_ref().map(|value| workload(value, names));
            (Table::Workloads, text(key.address), entry)
        }
        Met::Policy(key, value) => {
            let asked = format!(
                "netns {}, policies {:08x}",
                key.netns.get(),
                key.policies.get()
            );
            (Table::Policies, asked, value.as_ref().map(policy))
        }
        Met::Service(key, value) => {
            let asked = format!("{}{}", text(key.address), clients(key.namespace, names));
            let entry = value.as_ref().map(|value| service(value, names));
            (Table::Services, asked, entry)
        }
        Met::ServiceCidr(key, value) => {
            let address = text(Address::from_v6(key.address));
            let asked = format!("{address}{}", clients(key.namespace, names));
            let entry = value.as_ref().map(|value| service(value, names));
            (Table::ServiceCidrs, asked, entry)
        }
        Met::ServicePort(key, value) => (
            Table::ServicePorts,
            port(key, names),
            value.as_ref().map(set),
        ),
        Met::Waypoint(key, value) => {
            let WaypointKey {
                waypoint, group, ..
            } = key;
            let asked = format!("waypoint {}{}", Id(waypoint.get()), place(*group));
            (Table::Waypoints, asked, value.as_ref().map(set))
        }
        Met::WaypointMember(key, is_member) => {
            let WaypointMemberKey { waypoint, workload } = key;
            let workload = names.workload_or_id(workload.get());
            let asked = format!("{workload} of waypoint {}", Id(waypoint.get()));
            let entry = is_member.then(|| "is one of its endpoints".to_owned());
            (Table::WaypointMembers, asked, entry)
        }
        Met::Endpoint(key, value) => {
            let EndpointKey { set, index, .. } = key;
            let asked = format!("number {} of set {}", index.get(), Id(set.get()));
            let entry = value.as_ref().map(|value| endpoint(value, names));
            (Table::Endpoints, asked, entry)
        }
        Met::InMesh(address, is_in) => {
            let entry = is_in.then(|| "is in mesh_cidrs".to_owned());
            (Table::MeshCidrs, text(*address), entry)
        }
    };
    MetRecord {
        map: table.label(),
        asked,
        found: entry.is_some(),
        entry,
    }
}

fn text(address: Address) -> String {
    from_wire(address).to_string()
}

/// Who gets an entry.
fn clients(namespace: U64, names: &impl Namer) -> String {
    match namespace.get() {
        0 => " for all".to_owned(),
        id => format!(" for clients in {}", names.namespace_or_id(id)),
    }
}

fn place(group: U32) -> String {
    match group.get() {
        0 => String::new(),
        group => format!(" from group {group}"),
    }
}

fn pod(value: &PodValue, names: &impl Namer) -> String {
    let mut said = vec![names.workload_or_id(value.workload.get())];
    said.extend(flags::pod(value.flags.get()));
    if value.group.get() != 0 {
        said.push(format!("group {}", value.group.get()));
    }
    said.join(", ")
}

fn workload(value: &WorkloadValue, names: &impl Namer) -> String {
    let has = |flag: u32| value.flags.get() & flag != 0;
    let protocol = if has(WorkloadValue::HBONE) {
        "HBONE"
    } else {
        "plain TCP"
    };
    let mut said = vec![names.workload_or_id(value.id.get()), protocol.to_owned()];
    said.extend(flags::workload(value.flags.get()));
    if has(WorkloadValue::WAYPOINT) {
        said.push(format!("waypoint {}", Id(value.waypoint.get())));
    }
    said.join(", ")
}

/// The ports that a pod is let in on.
pub(crate) fn policy(value: &PolicyValue) -> String {
    let ports = value.exceptions.iter().map(|port| port.get());
    let ports: Vec<String> = ports
        .filter(|port| *port != 0)
        .map(|port| port.to_string())
        .collect();
    let ports = ports.join(", ");
    match (
        value.flags.get() & PolicyValue::ALLOWED != 0,
        ports.is_empty(),
    ) {
        (true, true) => "all ports are allowed".to_owned(),
        (true, false) => format!("all ports are allowed but {ports}"),
        (false, true) => "no port is allowed".to_owned(),
        (false, false) => format!("no port is allowed but {ports}"),
    }
}

fn service(value: &ServiceValue, names: &impl Namer) -> String {
    let mut said = vec![names.service_or_id(value.id.get())];
    said.extend(flags::service(value.flags.get()));
    if value.flags.get() & ServiceValue::WAYPOINT != 0 {
        said.push(format!("waypoint {}", Id(value.waypoint.get())));
    }
    said.join(", ")
}

fn port(key: &ServicePortKey, names: &impl Namer) -> String {
    let service = names.service_or_id(key.service.get());
    format!("port {} of {service}{}", key.port.get(), place(key.group))
}

fn set(value: &EndpointSetValue) -> String {
    let count = value.count.get();
    let plain = if value.flags.get() & EndpointSetValue::ALL_PLAIN != 0 {
        ", all plain TCP"
    } else {
        ""
    };
    format!("endpoints: {count}{plain}")
}

fn endpoint(value: &EndpointValue, names: &impl Namer) -> String {
    let has = |flag: u32| value.flags.get() & flag != 0;
    let mut said = match value.workload.get() {
        0 => vec!["unresolved".to_owned()],
        id => vec![names.workload_or_id(id)],
    };
    if has(EndpointValue::V4) {
        said.push(std::net::Ipv4Addr::from(value.v4).to_string());
    }
    if has(EndpointValue::V6) {
        said.push(text(value.v6));
    }
    said.push(format!("port {}", value.port.get()));
    let protocol = if has(EndpointValue::HBONE) {
        "HBONE"
    } else {
        "plain TCP"
    };
    said.push(protocol.to_owned());
    for (flag, word) in [
        (EndpointValue::LOCAL, "local"),
        (EndpointValue::REMOTE, "on another network"),
    ] {
        if has(flag) {
            said.push(word.to_owned());
        }
    }
    said.join(", ")
}
