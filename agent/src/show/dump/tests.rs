//! Entries as people and programs see them, and which of them filters let through.

use std::collections::BTreeMap;

use waysteer_common::abi::key::{
    AddressKey, CidrKey, EndpointKey, ServiceKey, ServicePortKey, TupleKey,
};
use waysteer_common::abi::pod::{PodKey, PodValue};
use waysteer_common::abi::value::{EndpointSetValue, EndpointValue, ServiceValue, WorkloadValue};
use waysteer_common::addr::Address;
use waysteer_common::verdict::{Class, NextHop, PacketAction, Reason, Verdict};
use zerocopy::network_endian::{U16, U32, U64};

use super::*;
use crate::compile::CidrTableKey;
use crate::kernel::observe::Traffic;
use crate::names::Names;

pub(super) fn names() -> Names {
    let mut names = Names::default();
    names.workloads.insert(Id(0xa1), "default/web-1".into());
    names.workloads.insert(Id(0xa2), "default/web-2".into());
    let shop = "default/shop.default.svc.cluster.local";
    names.services.insert(Id(0xb1), shop.into());
    names.namespaces.insert(Id(0xc1), "default".into());
    names.pods.insert(4026, "default/client".into());
    names
}

pub(super) fn plain(dump: &Dump) -> String {
    anstream::adapter::strip_str(&dump.text).to_string()
}

fn workload_entries() -> BTreeMap<AddressKey, WorkloadValue> {
    let entry = |last: u8, id: u64, flags: u32| {
        let address = Address::from_v4([10, 1, 2, last]);
        let value = WorkloadValue {
            id: U64::new(id),
            waypoint: U64::new(0xd1),
            flags: U32::new(flags),
            ..WorkloadValue::default()
        };
        (AddressKey { address }, value)
    };
    let local = WorkloadValue::HBONE | WorkloadValue::LOCAL | WorkloadValue::ENROLLED;
    BTreeMap::from([
        entry(1, 0xa1, local),
        entry(2, 0xa2, WorkloadValue::WAYPOINT),
        entry(3, 0xa3, WorkloadValue::HBONE | 1 << 30),
    ])
}

fn workload_dump(filter: &Filter, names: &Names) -> Dump {
    workloads(&workload_entries(), names, filter, None)
}

#[test]
fn workloads_with_names_and_without() {
    let expected = "\
ADDRESS   WORKLOAD          PROTOCOL  FLAGS           WAYPOINT
10.1.2.1  default/web-1     HBONE     local enrolled  -
10.1.2.2  default/web-2     TCP       -               00000000000000d1
10.1.2.3  00000000000000a3  HBONE     0x40000000      -
";
    let dump = workload_dump(&Filter::default(), &names());
    assert_eq!(plain(&dump), expected);
    assert_eq!(dump.rows[1]["waypoint"], "00000000000000d1");
    let nameless = workload_dump(&Filter::default(), &Names::default());
    assert!(plain(&nameless).contains("10.1.2.1  00000000000000a1"));
    assert_eq!(nameless.rows[0]["name"], Value::Null);
}

#[test]
fn filters_let_through_what_they_name() {
    let count = |filter: Filter| {
        let dump = workload_dump(&filter, &names());
        dump.rows.as_array().map_or(0, Vec::len)
    };
    let some = |text: &str| Some(text.to_owned());
    let by_name = |name| Filter {
        name: some(name),
        ..Filter::default()
    };
    for (name, rows) in [
        ("web-1", 1),
        ("default/web-1", 1),
        ("web", 0),
        ("00000000000000a3", 1),
        ("other/web-1", 0),
    ] {
        assert_eq!(count(by_name(name)), rows, "{name}");
    }
    let namespace = some("default");
    assert_eq!(
        count(Filter {
            namespace,
            ..Filter::default()
        }),
        2
    );
    let address = "10.1.2.3".parse().ok();
    assert_eq!(
        count(Filter {
            address,
            ..Filter::default()
        }),
        1
    );
    let both = Filter {
        address,
        ..by_name("web-1")
    };
    let none = workload_dump(&both, &names());
    assert_eq!(none.text, "no such workload is in the maps\n");
    // Names of hosts need not be whole.
    for (asked, is) in [
        ("shop", true),
        ("shop.default", true),
        ("default/shop.default.svc.cluster.local", true),
        ("sho", false),
        ("default", false),
    ] {
        let known = "default/shop.default.svc.cluster.local";
        assert_eq!(is_called(known, asked), is, "{asked}");
    }
}

fn service_dump(width: Option<usize>, filter: &Filter) -> Dump {
    let shop = |flags| ServiceValue {
        id: U64::new(0xb1),
        waypoint: U64::new(0xd1),
        flags: U32::new(flags),
        ..ServiceValue::default()
    };
    let key = |namespace: u64| ServiceKey {
        namespace: U64::new(namespace),
        address: Address::from_v4([10, 96, 0, 12]),
    };
    let exact = BTreeMap::from([
        (
            key(0),
            shop(ServiceValue::WAYPOINT | ServiceValue::NAMESPACED),
        ),
        (key(0xc1), shop(0)),
    ]);
    let block = CidrTableKey {
        prefix: 64 + 96 + 24,
        data: CidrKey {
            namespace: U64::ZERO,
            address: Address::from_v4([10, 97, 0, 0]).octets(),
        },
    };
    let blocks = BTreeMap::from([(block, shop(ServiceValue::PASSTHROUGH))]);
    let port = ServicePortKey {
        service: U64::new(0xb1),
        port: U16::new(80),
        ..ServicePortKey::default()
    };
    let set = EndpointSetValue {
        set: U64::new(5),
        generation: U32::new(6),
        count: U32::new(2),
        ..EndpointSetValue::default()
    };
    let endpoint = |index: u32, workload: u64, threshold: u32, alias: u32| {
        let key = EndpointKey {
            set: U64::new(5),
            generation: U32::new(6),
            index: U32::new(index),
        };
        let value = EndpointValue {
            workload: U64::new(workload),
            threshold: U32::new(threshold),
            alias: U32::new(alias),
            flags: U32::new(EndpointValue::V4 | EndpointValue::HBONE),
            port: U16::new(8080),
            v4: [10, 1, 2, 1],
            ..EndpointValue::default()
        };
        (key, value)
    };
    // One of another generation is nobody's.
    let mut endpoints = BTreeMap::from([endpoint(0, 0xa1, 1 << 31, 1), endpoint(1, 0xa2, 0, 1)]);
    let (mut old, value) = endpoint(2, 0xa3, 0, 2);
    old.generation = U32::new(7);
    endpoints.insert(old, value);
    let sets = Sets {
        endpoints: &endpoints,
        names: &names(),
    };
    services(
        &exact,
        &blocks,
        &BTreeMap::from([(port, set)]),
        &sets,
        filter,
        width,
    )
}

#[test]
fn services_with_their_endpoints_at_two_widths() {
    let wide = "\
ADDRESS       SERVICE                                 CLIENTS  FLAGS                 WAYPOINT          PORTS
10.96.0.12    default/shop.default.svc.cluster.local  all      others-in-namespaces  00000000000000d1  80: default/web-1, default/web-2
10.96.0.12    default/shop.default.svc.cluster.local  default  -                     -                 80: default/web-1, default/web-2
10.97.0.0/24  default/shop.default.svc.cluster.local  all      passthrough           -                 80: default/web-1, default/web-2
";
    let dump = service_dump(Some(200), &Filter::default());
    assert_eq!(plain(&dump), wide);
    let narrow = "\
ADDRESS       SERVICE                                 CLIENTS
10.96.0.12    default/shop.default.svc.cluster.local  all
    FLAGS others-in-namespaces  WAYPOINT 00000000000000d1
    PORTS 80: default/web-1, default/web-2
10.96.0.12    default/shop.default.svc.cluster.local  default
    PORTS 80: default/web-1, default/web-2
10.97.0.0/24  default/shop.default.svc.cluster.local  all
    FLAGS passthrough  PORTS 80: default/web-1, default/web-2
";
    assert_eq!(plain(&service_dump(Some(80), &Filter::default())), narrow);
    let endpoints = &dump.rows[0]["ports"][0]["endpoints"];
    assert_eq!(endpoints.as_array().map(Vec::len), Some(2));
    // Half of the first slot is the second's.
    assert_eq!(endpoints[0]["share"], 0.25);
    assert_eq!(endpoints[1]["share"], 0.75);
    let inside = Filter {
        address: "10.97.0.9".parse().ok(),
        ..Filter::default()
    };
    assert_eq!(
        service_dump(None, &inside).rows.as_array().map(Vec::len),
        Some(1)
    );
    let pod = Filter {
        pod: Some("web-2".into()),
        ..Filter::default()
    };
    assert_eq!(
        service_dump(None, &pod).rows.as_array().map(Vec::len),
        Some(3)
    );
}

#[test]
fn pods_are_named_by_their_records() {
    let value = PodValue {
        workload: U64::new(0xa1),
        namespace: U64::new(0xc1),
        flags: U32::new(PodValue::KNOWN),
        v4: Address::from_v4([10, 1, 2, 1]),
        ..PodValue::default()
    };
    let entries = BTreeMap::from([(
        PodKey {
            netns: U64::new(4026),
        },
        value,
    )]);
    let mut names = names();
    let named = pods(&entries, &BTreeMap::new(), &names, &Filter::default(), None);
    let expected = "\
POD             NETNS  WORKLOAD       NAMESPACE  GROUP  FLAGS  ADDRESSES
default/client  4026   default/web-1  default    0      known  10.1.2.1
";
    assert_eq!(plain(&named), expected);
    names = Names {
        pods: names.pods,
        ..Names::default()
    };
    let pod = Filter {
        pod: Some("client".into()),
        ..Filter::default()
    };
    let alone = pods(&entries, &BTreeMap::new(), &names, &pod, None);
    assert!(plain(&alone).contains("default/client  4026   00000000000000a1"));
}

#[test]
fn flows_are_told_once_each_at_two_widths() {
    let tuple = |port: u16| {
        let (source, destination) = ([10, 1, 1, 10], [10, 96, 0, 12]);
        let (source, destination) = (Address::from_v4(source), Address::from_v4(destination));
        TupleKey::new(source, port, destination, 80)
    };
    let verdict = Verdict {
        class: Class::DirectLocal,
        reason: Reason::ServiceLocal,
        steer: true,
        next_hop: NextHop {
            address: Address::from_v4([10, 1, 2, 1]),
            port: 15008,
            workload: 0xa1,
            ..NextHop::NONE
        },
        service: 0xb1,
    };
    let judged = BTreeMap::from([(tuple(4001).in_netns(4026), verdict.to_wire())]);
    let packets = [4001, 4002].map(|port| (tuple(port).in_netns(4027), 1));
    let mut packets = BTreeMap::from(packets);
    packets.insert(tuple(4001).in_netns(4026), 1);
    let local = BTreeMap::from([(tuple(4003), "LOCAL_FLOWS")]);
    let shown = |width| {
        let dump = flows(
            &judged,
            &packets,
            &local,
            &names(),
            &Filter::default(),
            width,
        );
        plain(&dump)
    };
    let wide = "\
POD             SOURCE          DESTINATION    CLASS        REASON        WAY      NEXT HOP                      SERVICE
default/client  10.1.1.10:4001  10.96.0.12:80  DirectLocal  ServiceLocal  tunnel   10.1.2.1:15008 default/web-1  default/shop.default.svc.cluster.local
netns 4027      10.1.1.10:4001  10.96.0.12:80  -            -             tunnel   -                             -
netns 4027      10.1.1.10:4002  10.96.0.12:80  -            -             tunnel   -                             -
-               10.1.1.10:4003  10.96.0.12:80  -            -             past it  -                             -
";
    assert_eq!(shown(Some(200)), wide);
    let narrow = "\
POD             SOURCE          DESTINATION    CLASS        REASON
default/client  10.1.1.10:4001  10.96.0.12:80  DirectLocal  ServiceLocal
    WAY tunnel  NEXT HOP 10.1.2.1:15008 default/web-1
    SERVICE default/shop.default.svc.cluster.local
netns 4027      10.1.1.10:4001  10.96.0.12:80  -            -
    WAY tunnel
netns 4027      10.1.1.10:4002  10.96.0.12:80  -            -
    WAY tunnel
-               10.1.1.10:4003  10.96.0.12:80  -            -
    WAY past it
";
    assert_eq!(shown(Some(80)), narrow);
}

#[test]
fn what_never_happened_is_not_counted() {
    let verdicts = BTreeMap::from([
        ((Class::Direct, Reason::WorkloadPlain), 0),
        ((Class::Passthrough, Reason::Unknown), 7),
    ]);
    let packets = BTreeMap::from([(PacketAction::OutboundHeld, 2)]);
    let traffic = Traffic {
        opened: 7,
        bytes_sent: 5,
        ..Traffic::default()
    };
    let traffic = BTreeMap::from([((Class::Passthrough, false), traffic)]);
    let expected = "\
MAP              CLASS        WHAT           PATH    COUNT
COUNTERS         Passthrough  Unknown        -       7
PACKET_COUNTERS  -            outbound_held  -       2
TRAFFIC          Passthrough  opened         bypass  7
TRAFFIC          Passthrough  sent_bytes     bypass  5
OTHER_TRAFFIC    Direct       closed         tunnel  1
";
    let closed = Traffic {
        closed: 1,
        ..Traffic::default()
    };
    let other = BTreeMap::from([((Class::Direct, true), closed)]);
    let all = counters(&verdicts, &packets, &traffic, &other, None);
    assert_eq!(plain(&all), expected);
    let (none, empty) = (BTreeMap::new(), BTreeMap::new());
    let none = counters(&BTreeMap::new(), &BTreeMap::new(), &none, &empty, None);
    assert_eq!(none.text, "nothing was counted so far\n");
}
