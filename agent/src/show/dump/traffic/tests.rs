//! What a table of traffic looks like.

use std::collections::BTreeMap;

use zerocopy::network_endian::U64;

use super::*;
use crate::show::dump::tests::{names, plain};

#[test]
fn traffic_by_pod_and_destination() {
    let key = |source: u64, destination: u64, class: Class, flags| TrafficKey {
        source: U64::new(source),
        destination: U64::new(destination),
        class: class.number(),
        flags,
        padding: [0; 6],
    };
    let counted = |opened, bytes_sent| Traffic {
        opened,
        bytes_sent,
        bytes_received: 7,
        ..Traffic::default()
    };
    let steered = TrafficKey::STEER | TrafficKey::SERVICE;
    let entries = BTreeMap::from([
        (key(4026, 0, Class::Passthrough, 0), counted(1, 2)),
        (key(4026, 0xa1, Class::Direct, 0), counted(3, 4)),
        (key(4026, 0xb1, Class::Direct, steered), counted(5, 6)),
        (key(4027, 0xa9, Class::Direct, 0), counted(7, 8)),
        (
            key(9, 0xa1, Class::Direct, TrafficKey::LEFT),
            counted(9, 10),
        ),
    ]);
    let expected = "\
POD             CLASS        PATH    DESTINATION                             OPENED  CLOSED  SENT  RECEIVED
pods that left  Direct       bypass  default/web-1                           9       0       10    7
default/client  Passthrough  bypass  -                                       1       0       2     7
default/client  Direct       bypass  default/web-1                           3       0       4     7
default/client  Direct       tunnel  default/shop.default.svc.cluster.local  5       0       6     7
4027            Direct       bypass  00000000000000a9                        7       0       8     7
";
    let dump = |filter: Filter| traffic(&entries, &names(), &filter, None);
    let all = dump(Filter::default());
    assert_eq!(plain(&all), expected);
    assert_eq!(all.rows[3]["destination_kind"], "service");
    assert_eq!(all.rows[1]["destination_kind"], "unknown");
    let of_pod = dump(Filter {
        pod: Some("client".into()),
        ..Filter::default()
    });
    assert_eq!(of_pod.rows.as_array().map(Vec::len), Some(3));
    let to = dump(Filter {
        name: Some("web-1".into()),
        ..Filter::default()
    });
    assert_eq!(to.rows.as_array().map(Vec::len), Some(2));
}
