//! What somebody else has changed in the maps is found and put right.

use std::collections::BTreeMap;
use std::time::Instant;

use waysteer::compile::{Changes, Tables};
use waysteer::kernel::load::LoadOptions;
use waysteer::kernel::maps::{Maps, Round};
use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;

use crate::tables::filled;
use crate::{load, needs_root};

const HOST: u64 = 4711;
/// In every table; more than a piece in all.
const ENTRIES: u32 = 2000;
/// Maps that hold less than that.
const SMALL: [&str; 4] = ["MESH_CIDRS", "SERVICE_CIDRS", "PODS", "POD_ADDRESSES"];

fn written(tables: &Tables) -> Maps {
    let mut maps = load(&LoadOptions {
        capacities: SMALL.map(|map| (map, 65_536)).into(),
        ..LoadOptions::default()
    })
    .maps;
    maps.apply(&Changes::between(&Tables::default(), tables), HOST)
        .expect("the changes");
    maps
}

/// Finds and repairs in one round; how many entries were wrong, in how many pieces.
fn round(maps: &mut Maps, wanted: &Tables) -> (usize, usize) {
    let (mut round, mut count, mut pieces) = (Round::default(), 0, 0);
    loop {
        let (differences, is_over) = maps.verify_piece(&mut round, wanted).expect("the maps");
        assert!(differences.examples.len() <= differences.count.min(16));
        pieces += 1;
        count += differences.count;
        if differences.count > 0 {
            maps.repair(&differences, HOST).expect("a repair");
        }
        if is_over {
            return (count, pieces);
        }
    }
}

/// Takes one entry away, gives another one a third one's value, and adds one.
fn spoil<K: Ord + Copy, V: Copy + PartialEq>(
    table: &mut BTreeMap<K, V>,
    more: &BTreeMap<K, V>,
) -> usize {
    let entry = |number: usize| table.iter().nth(number).map(|(key, value)| (*key, *value));
    let ((gone, _), (altered, old), (_, other)) = (
        entry(5).expect("an entry"),
        entry(700).expect("an entry"),
        entry(900).expect("an entry"),
    );
    let (added, value) = more.iter().next().expect("an entry");
    table.remove(&gone);
    table.insert(altered, other);
    table.insert(*added, *value);
    2 + usize::from(old != other)
}

#[test]
fn every_table_is_put_right() {
    needs_root!();
    let wanted = filled(ENTRIES, 0);
    let mut maps = written(&wanted);
    let (count, pieces) = round(&mut maps, &wanted);
    assert_eq!(count, 0, "what was written is right");
    assert!(pieces > 1, "a piece is bounded");

    let mut spoilt = wanted.clone();
    let more = filled(1, 90_000);
    let mut expected = 0;
    macro_rules! spoil {
        ($($table:ident),*) => { $(expected += spoil(&mut spoilt.$table, &more.$table);)* };
    }
    spoil!(
        pods,
        pod_addresses,
        workloads,
        policies,
        services,
        service_cidrs
    );
    spoil!(service_ports, endpoints, waypoints, waypoint_members);
    maps.apply(&Changes::between(&wanted, &spoilt), HOST)
        .expect("the changes");
    assert_eq!(round(&mut maps, &wanted).0, expected);
    assert_eq!(maps.read().expect("the maps"), wanted);
    assert_eq!(round(&mut maps, &wanted).0, 0);

    maps.apply(&Changes::between(&wanted, &Tables::default()), HOST)
        .expect("the changes");
    let all = round(&mut maps, &wanted).0;
    assert_eq!(all, wanted.len());
    assert_eq!(maps.read().expect("the maps"), wanted);
}

/// A change that waits for a piece does not wait long, and one between two pieces hides nothing.
#[test]
fn a_piece_is_small_and_the_table_may_change_between_two() {
    needs_root!();
    let mut wanted = filled(ENTRIES, 0);
    let mut maps = written(&wanted);
    let mut without = wanted.clone();
    without.workloads.clear();
    maps.apply(&Changes::between(&wanted, &without), HOST)
        .expect("the changes");
    let (mut position, mut found, mut pieces) = (Round::default(), 0, 0);
    let more = filled(200, 50_000);
    let mut new = more.workloads.iter();
    loop {
        let (differences, is_over) = maps.verify_piece(&mut position, &wanted).expect("the maps");
        assert!(differences.count <= 1024, "{}", differences.count);
        pieces += 1;
        found += differences.count;
        maps.repair(&differences, HOST).expect("a repair");
        if is_over {
            break;
        }
        // One comes and one goes.
        let mut next = wanted.clone();
        if let Some((key, value)) = new.next() {
            next.workloads.insert(*key, *value);
            next.services.pop_first();
        }
        maps.apply(&Changes::between(&wanted, &next), HOST)
            .expect("the changes");
        wanted = next;
    }
    assert_eq!(found, ENTRIES as usize);
    assert!(pieces >= wanted.len() / 1024, "{pieces}");
    assert_eq!(maps.read().expect("the maps"), wanted);
}

#[test]
fn a_pod_has_its_entries() {
    needs_root!();
    let wanted = filled(10, 0);
    let mut maps = written(&wanted);
    let pod = *wanted.pods.keys().nth(3).expect("a pod");
    let address = |(address, value): (&AddressKey, &_)| (wanted.pods.get(&of(value)), *address);
    let addresses: Vec<AddressKey> = wanted
        .pod_addresses
        .iter()
        .map(address)
        .filter(|(value, _)| *value == wanted.pods.get(&pod))
        .map(|(_, address)| address)
        .collect();
    assert!(!addresses.is_empty());
    let verify = |maps: &Maps| maps.verify_pod(pod, &addresses, &wanted).expect("the maps");
    assert_eq!(verify(&maps).count, 0);
    let mut without = wanted.clone();
    without.pods.remove(&pod);
    for address in &addresses {
        without.pod_addresses.remove(address);
    }
    maps.apply(&Changes::between(&wanted, &without), HOST)
        .expect("the changes");
    let differences = verify(&maps);
    assert_eq!(differences.count, 1 + addresses.len());
    maps.repair(&differences, HOST).expect("a repair");
    assert_eq!(maps.read().expect("the maps"), wanted);
}

fn of(value: &waysteer_common::abi::value::PodAddressValue) -> PodKey {
    PodKey { netns: value.netns }
}

/// Not a benchmark: it says what a round costs on the machine at hand.
#[test]
fn a_round_over_many_entries_is_cheap() {
    needs_root!();
    let wanted = filled(10_000, 0);
    let mut maps = written(&wanted);
    let start = Instant::now();
    let (count, pieces) = round(&mut maps, &wanted);
    let took = start.elapsed();
    assert_eq!(count, 0);
    eprintln!("{} entries in {pieces} pieces: {took:?}", wanted.len());
    assert!(took.as_secs() < 5, "{took:?}");
}
