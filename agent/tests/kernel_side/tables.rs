//! Tables by hand.

use waysteer::address::to_wire;
use waysteer::compile::{CidrTableKey, Tables};
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

use crate::bed;

pub(crate) fn settings(flags: u32) -> SettingsValue {
    let mut settings = SettingsValue::NONE;
    settings.flags = flags.into();
    settings
}

/// `count` entries in every table, different for every `salt`; tries get nested prefixes.
pub(crate) fn filled(count: u32, salt: u32) -> Tables {
    let cidrs = SettingsValue::SERVICE_CIDRS | SettingsValue::MESH_CIDRS;
    let mut tables = Tables {
        settings: settings(SettingsValue::SYNCED | cidrs),
        ..Tables::default()
    };
    for number in 0..count {
        let number = number + salt;
        let id = u64::from(number) << 20 | 7;
        let address = numbered(number);
        let key = AddressKey { address };
        tables
            .pods
            .insert(PodKey { netns: id.into() }, pod(number.into()));
        tables
            .pod_addresses
            .insert(key, PodAddressValue { netns: id.into() });
        tables.workloads.insert(key, workload(id, salt & 0xff));
        tables
            .policies
            .insert(policy_key(id, number), allowed(salt.is_multiple_of(2)));
        let service = ServiceKey {
            namespace: u64::from(number % 3).into(),
            address,
        };
        tables.services.insert(service, service_value(id, 0));
        tables
            .service_cidrs
            .insert(cidr(number), service_value(id, 1));
        let port = (number as u16).into();
        let port = ServicePortKey {
            service: id.into(),
            group: 1.into(),
            port,
            padding: [0; 2],
        };
        tables.service_ports.insert(port, set(id, count));
        let endpoint = EndpointKey {
            set: id.into(),
            generation: salt.into(),
            index: 0.into(),
        };
        let value = EndpointValue {
            workload: id.into(),
            v6: address,
            ..EndpointValue::default()
        };
        tables.endpoints.insert(endpoint, value);
        let waypoint = WaypointKey {
            waypoint: id.into(),
            group: 2.into(),
            padding: [0; 4],
        };
        tables.waypoints.insert(waypoint, set(id, 1));
        tables.waypoint_members.insert(
            WaypointMemberKey {
                waypoint: id.into(),
                workload: 5.into(),
            },
            1,
        );
        let CidrTableKey { prefix, data } = cidr(number);
        let prefix = prefix - CidrKey::NAMESPACE_BITS;
        tables.mesh_cidrs.insert(
            CidrTableKey {
                prefix,
                data: data.address,
            },
            1,
        );
    }
    tables
}

pub(crate) fn pod(group: u64) -> PodValue {
    PodValue {
        group: (group as u32).into(),
        flags: PodValue::KNOWN.into(),
        v4: to_wire(bed::address(bed::POD_V4)),
        v6: to_wire(bed::address(bed::POD_V6)),
        ..PodValue::default()
    }
}

pub(crate) fn policy_key(netns: u64, policies: u32) -> PolicyKey {
    PolicyKey {
        netns: netns.into(),
        policies: policies.into(),
        padding: [0; 4],
    }
}

/// All ports, or none.
pub(crate) fn allowed(all: bool) -> PolicyValue {
    PolicyValue {
        flags: if all { PolicyValue::ALLOWED } else { 0 }.into(),
        ..PolicyValue::default()
    }
}

pub(crate) fn workload(id: u64, flags: u32) -> WorkloadValue {
    WorkloadValue {
        id: id.into(),
        flags: flags.into(),
        ..WorkloadValue::default()
    }
}

pub(crate) fn service_value(id: u64, flags: u32) -> ServiceValue {
    ServiceValue {
        id: id.into(),
        flags: flags.into(),
        ..ServiceValue::default()
    }
}

pub(crate) fn set(id: u64, count: u32) -> EndpointSetValue {
    EndpointSetValue {
        set: id.into(),
        count: count.into(),
        ..EndpointSetValue::default()
    }
}

pub(crate) fn key(text: &str) -> AddressKey {
    AddressKey {
        address: to_wire(bed::address(text)),
    }
}

fn numbered(number: u32) -> Address {
    let [a, b, c, d] = number.to_be_bytes();
    if number.is_multiple_of(2) {
        Address::from_v4([10, b, c, d])
    } else {
        Address::from_v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
    }
}

/// One of 17 lengths over the same leading bits, so that many lie within each other.
pub(crate) fn cidr(number: u32) -> CidrTableKey<CidrKey> {
    let length = 112 + number % 17;
    let bits = 0xfd00_u128 << 112 | u128::from(number) << 8;
    let address = bits & u128::MAX << (128 - length);
    CidrTableKey {
        prefix: CidrKey::NAMESPACE_BITS + length,
        data: CidrKey {
            namespace: u64::from(number % 2).into(),
            address: address.to_be_bytes(),
        },
    }
}
