//! Names are bounded, and what was counted never becomes less.

use super::*;
use crate::compile::WorkloadNames;

/// Pods 10 to 19 are of workload `1`, 20 to 29 of `2`, and so on; destinations are called by their
/// numbers.
#[derive(Default)]
struct Mesh {
    /// Nobody knows these.
    strangers: BTreeSet<u64>,
    is_whole: bool,
}

impl Known for Mesh {
    fn source(&self, netns: u64) -> Option<Source> {
        let is_known = !self.strangers.contains(&netns);
        is_known.then(|| source(netns / 10))
    }

    fn destination(&self, key: &TrafficKey) -> Option<Destination> {
        let id = key.destination.get();
        match self.strangers.contains(&id) {
            true => self.is_whole.then_some(Destination::Unknown),
            false => Some(to(id)),
        }
    }
}

fn source(number: u64) -> Source {
    Source {
        workload: number.to_string().into(),
        namespace: "ns".into(),
        principal: format!("spiffe://td/ns/ns/sa/{number}").into(),
    }
}

fn to(number: u64) -> Destination {
    Destination::Workload(WorkloadNames {
        workload: number.to_string().into(),
        namespace: "ns".into(),
        principal: "p".into(),
    })
}

fn key(netns: u64, destination: u64) -> TrafficKey {
    TrafficKey {
        source: netns.into(),
        destination: destination.into(),
        class: 1,
        flags: 0,
        padding: [0; 6],
    }
}

fn sent(bytes: u64) -> Traffic {
    Traffic {
        opened: 1,
        bytes_sent: bytes,
        ..Traffic::default()
    }
}

/// Bytes by source and destination.
fn lines(sums: &BTreeMap<Series, Traffic>) -> Vec<(u64, Destination, u64)> {
    let line = |(series, traffic): (&Series, &Traffic)| {
        let number = series.source.workload.parse().unwrap();
        (number, series.destination.clone(), traffic.bytes_sent)
    };
    sums.iter().map(line).collect()
}

/// As the kernel would be after it.
fn after(mut entries: PodTrafficEntries, settlement: &Settlement) -> PodTrafficEntries {
    for key in &settlement.remove {
        assert!(entries.remove(key).is_some(), "{key:?}");
    }
    entries.extend(settlement.put.clone());
    entries
}

#[test]
fn pods_of_a_workload_are_one_line_and_steered_ones_none() {
    let mut book = Book::new(10);
    let steered = TrafficKey {
        flags: TrafficKey::STEER,
        ..key(10, 1)
    };
    let entries = BTreeMap::from([
        (key(10, 1), sent(1)),
        (key(11, 1), sent(2)),
        (key(11, 2), sent(4)),
        (key(20, 1), sent(8)),
        (steered, sent(16)),
    ]);
    let sums = book.sums(&entries, &Mesh::default());
    let expected = [(1, to(1), 3), (1, to(2), 4), (2, to(1), 8)];
    assert_eq!(lines(&sums), expected);
}

#[test]
fn destinations_without_room_are_others_and_stay_so() {
    let mut book = Book::new(2);
    let mesh = Mesh::default();
    let mut entries: PodTrafficEntries = (1..5).map(|to| (key(10, to), sent(to))).collect();
    let others = [(1, to(1), 1), (1, to(2), 2), (1, Destination::Other, 3 + 4)];
    assert_eq!(lines(&book.sums(&entries, &mesh)), others);
    // Another workload has others of its own.
    entries.insert(key(20, 9), sent(9));
    let sums = book.sums(&entries, &mesh);
    let last = lines(&sums).pop();
    assert_eq!(last, Some((2, Destination::Other, 9)));
    // Where there is room again it is for new ones: the others' sum may not become less.
    entries.remove(&key(10, 1));
    entries.insert(key(10, 6), sent(6));
    let sums = lines(&book.sums(&entries, &mesh));
    let expected = [
        (1, to(2), 2),
        (1, to(6), 6),
        (1, Destination::Other, 3 + 4),
        (2, Destination::Other, 9),
    ];
    assert_eq!(sums, expected);
}

#[test]
fn a_name_that_goes_moves_nothing_to_the_unknown() {
    let mut book = Book::new(10);
    let entries = BTreeMap::from([(key(10, 1), sent(1)), (key(10, 2), sent(2))]);
    let mut mesh = Mesh {
        strangers: BTreeSet::from([2]),
        is_whole: false,
    };
    // Half a mesh: what it lacks may yet come.
    assert_eq!(lines(&book.sums(&entries, &mesh)), [(1, to(1), 1)]);
    mesh.is_whole = true;
    mesh.strangers.extend([1, 10]);
    let expected = [(1, to(1), 1), (1, Destination::Unknown, 2)];
    assert_eq!(lines(&book.sums(&entries, &mesh)), expected);
}

#[test]
fn what_a_pod_had_counted_stays_while_its_workload_is_here() {
    let mut book = Book::new(10);
    let mesh = Mesh::default();
    let steered = TrafficKey {
        flags: TrafficKey::STEER,
        ..key(10, 1)
    };
    let entries = BTreeMap::from([
        (key(10, 1), sent(1)),
        (key(11, 1), sent(2)),
        (key(12, 1), sent(4)),
        (key(20, 1), sent(8)),
        (steered, sent(16)),
    ]);
    let live = |pods: &[u64]| pods.iter().copied().collect::<BTreeSet<u64>>();
    let settlement = book.settle(&entries, &live(&[10, 11, 12, 20]), &mesh);
    assert_eq!(settlement, Settlement::default());
    // One of three, and the only one of its workload.
    let settlement = book.settle(&entries, &live(&[11, 12]), &mesh);
    let entries = after(entries, &settlement);
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(lines(&book.sums(&entries, &mesh)), [(1, to(1), 7)]);
    // Another one is added to it; and what came late of the first.
    let mut entries = entries;
    entries.insert(key(10, 1), sent(32));
    let settlement = book.settle(&entries, &live(&[12]), &mesh);
    let entries = after(entries, &settlement);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(lines(&book.sums(&entries, &mesh)), [(1, to(1), 39)]);
    // The next agent knows them by their digest, once it knows the pod.
    let mut next = Book::new(10);
    let blind = Mesh {
        strangers: BTreeSet::from([12]),
        ..Mesh::default()
    };
    let settlement = next.settle(&entries, &live(&[12]), &blind);
    assert_eq!(settlement, Settlement::default());
    next.learn(12, &mesh);
    assert_eq!(lines(&next.sums(&entries, &mesh)), [(1, to(1), 39)]);
    // With the last pod the line goes.
    let settlement = next.settle(&entries, &live(&[20]), &mesh);
    assert_eq!(after(entries, &settlement), BTreeMap::new());
}

#[test]
fn what_the_kernel_does_not_take_back_stays_in_the_book() {
    let mut book = Book::new(10);
    let mesh = Mesh::default();
    let mut entries = BTreeMap::from([(key(10, 1), sent(1)), (key(11, 1), sent(2))]);
    let settlement = book.settle(&entries, &BTreeSet::from([11]), &mesh);
    entries.remove(&key(10, 1));
    for (key, traffic) in &settlement.put {
        book.keep(key, traffic);
    }
    assert_eq!(lines(&book.sums(&entries, &mesh)), [(1, to(1), 3)]);
    book.settle(&entries, &BTreeSet::from([20]), &mesh);
    assert_eq!(lines(&book.sums(&BTreeMap::new(), &mesh)), []);
}

#[test]
fn labels_are_those_of_the_tunnel() {
    let series = |destination| Series {
        source: source(1),
        destination,
    };
    let labels = series(to(2)).labels();
    assert_eq!(labels.len(), 12);
    assert_eq!(labels["reporter"], "source");
    assert_eq!(labels["source_workload"], "1");
    assert_eq!(labels["source_principal"], "spiffe://td/ns/ns/sa/1");
    assert_eq!(labels["destination_workload"], "2");
    assert_eq!(labels["destination_service"], "unknown");
    assert_eq!(labels["connection_security_policy"], "none");
    let other = series(Destination::Other).labels();
    assert_eq!(other["destination_workload"], "other");
    assert_eq!(other["destination_service_name"], "other");
}
