//! The flags in maps' entries, in words.

use waysteer_common::abi::pod::PodValue;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{ServiceValue, WorkloadValue};

const WORKLOAD: &[(u32, &str)] = &[
    (WorkloadValue::LOCAL, "local"),
    (WorkloadValue::ENROLLED, "enrolled"),
    (WorkloadValue::POLICY, "policy"),
    (WorkloadValue::TUNNELLED, "tunnelled"),
    (WorkloadValue::INVALID, "invalid"),
];

const SERVICE: &[(u32, &str)] = &[
    (ServiceValue::PASSTHROUGH, "passthrough"),
    (ServiceValue::GROUPED, "by-place"),
    (ServiceValue::WAYPOINT_GROUPED, "waypoint-by-place"),
    (ServiceValue::NAMESPACED, "others-in-namespaces"),
    (ServiceValue::HIDDEN, "hidden"),
    (ServiceValue::INVALID, "invalid"),
];

const POD: &[(u32, &str)] = &[
    (PodValue::KNOWN, "known"),
    (PodValue::MORE_ADDRESSES, "more-addresses"),
    (PodValue::WAYPOINT, "waypoint"),
];

const SETTINGS: &[(u32, &str)] = &[
    (SettingsValue::SYNCED, "synced"),
    (SettingsValue::DIRECT_LOCAL_BYPASS, "direct-local-bypass"),
    (SettingsValue::SERVICE_CIDRS, "service-cidrs"),
    (SettingsValue::MESH_CIDRS, "mesh-cidrs"),
    (SettingsValue::INCOMPLETE, "incomplete"),
    (SettingsValue::EVENTS, "events"),
    (SettingsValue::POLICIES_CHANGE, "policies-change"),
];

/// Without protocol and waypoint, which are more than flags.
pub fn workload(bits: u32) -> Vec<String> {
    let told = WorkloadValue::HBONE | WorkloadValue::WAYPOINT | WorkloadValue::WAYPOINT_GROUPED;
    words(bits & !told, WORKLOAD)
}

/// Without the waypoint, which is more than a flag.
pub fn service(bits: u32) -> Vec<String> {
    words(bits & !ServiceValue::WAYPOINT, SERVICE)
}

pub fn pod(bits: u32) -> Vec<String> {
    words(bits, POD)
}

pub fn settings(bits: u32) -> Vec<String> {
    words(bits, SETTINGS)
}

/// The names of the flags that are set; the number of those without a name.
fn words(bits: u32, names: &[(u32, &str)]) -> Vec<String> {
    let known = names.iter().filter(|(flag, _)| bits & flag != 0);
    let mut said: Vec<String> = known.map(|(_, name)| (*name).to_owned()).collect();
    let rest = names.iter().fold(bits, |rest, (flag, _)| rest & !flag);
    if rest != 0 {
        said.push(format!("{rest:#x}"));
    }
    said
}
