//! A look-up of the classifier, typed again.

use waysteer_common::abi::event::TraceEntry;
use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, PolicyKey, ServiceKey, ServicePortKey, WaypointKey,
    WaypointMemberKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::{
    EndpointSetValue, EndpointValue, PodAddressValue, PolicyValue, ServiceValue, WorkloadValue,
};
use waysteer_common::addr::Address;
use waysteer_common::verdict::Table;
use zerocopy::{FromBytes, IntoBytes};

/// What was looked up, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    Settings(SettingsValue),
    Pod(PodKey, Option<PodValue>),
    PodAddress(AddressKey, Option<PodAddressValue>),
    Workload(AddressKey, Option<WorkloadValue>),
    Policy(PolicyKey, Option<PolicyValue>),
    Service(ServiceKey, Option<ServiceValue>),
    /// The longest prefix that holds the address.
    ServiceCidr(CidrKey, Option<ServiceValue>),
    ServicePort(ServicePortKey, Option<EndpointSetValue>),
    Waypoint(WaypointKey, Option<EndpointSetValue>),
    WaypointMember(WaypointMemberKey, bool),
    Endpoint(EndpointKey, Option<EndpointValue>),
    InMesh(Address, bool),
}

impl Met {
    /// `None` for what this version does not write.
    pub(super) fn read(entry: &TraceEntry) -> Option<Self> {
        let TraceEntry {
            table,
            found,
            padding: _,
            key,
            value,
        } = entry;
        let (found, value) = (*found != 0, value.as_bytes());
        Some(match Table::from_number(*table)? {
            Table::Settings => Self::Settings(front(value)?),
            Table::Pods => Self::Pod(front(key)?, entry_of(found, value)?),
            Table::PodAddresses => Self::PodAddress(front(key)?, entry_of(found, value)?),
            Table::Workloads => Self::Workload(front(key)?, entry_of(found, value)?),
            Table::Policies => Self::Policy(front(key)?, entry_of(found, value)?),
            Table::Services => Self::Service(front(key)?, entry_of(found, value)?),
            Table::ServiceCidrs => Self::ServiceCidr(front(key)?, entry_of(found, value)?),
            Table::ServicePorts => Self::ServicePort(front(key)?, entry_of(found, value)?),
            Table::Waypoints => Self::Waypoint(front(key)?, entry_of(found, value)?),
            Table::WaypointMembers => Self::WaypointMember(front(key)?, found),
            Table::Endpoints => Self::Endpoint(front(key)?, entry_of(found, value)?),
            Table::MeshCidrs => Self::InMesh(front(key)?, found),
        })
    }
}

fn front<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    let (value, _) = T::read_from_prefix(bytes).ok()?;
    Some(value)
}

/// `None` inside where nothing was found.
#[expect(
    clippy::option_option,
    reason = "absent and unreadable are not the same"
)]
fn entry_of<T: FromBytes>(found: bool, bytes: &[u8]) -> Option<Option<T>> {
    if found {
        front(bytes).map(Some)
    } else {
        Some(None)
    }
}
