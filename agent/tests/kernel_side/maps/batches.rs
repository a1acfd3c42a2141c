//! Many entries are written by one call.

use std::collections::BTreeMap;

use waysteer::compile::{Changes, Tables};
use waysteer::kernel::maps::{Maps, MapsError, Tally};

use super::{HOST, bring, maps_with, workloads};
use crate::needs_root;
use crate::tables::{filled, key, workload};

#[test]
fn what_a_full_map_refuses_keeps_nothing_back() {
    needs_root!();
    let mut maps = maps_with(BTreeMap::from([("WORKLOADS", 100)]));
    bring(&mut maps, &workloads((0..200).step_by(2))).expect("a hundred fit");
    let mut wanted = workloads(0..200);
    for value in wanted.workloads.values_mut() {
        value.waypoint = 7.into();
    }
    // In the order of keys each second one is refused, and those between them are not.
    let error = bring(&mut maps, &wanted).expect_err("two hundred do not fit");
    let MapsError::Incomplete { tables: refused } = &error else {
        panic!("{error}")
    };
    assert_eq!(refused.iter().map(|one| one.failed).sum::<usize>(), 100);
    let even = workloads((0..200).step_by(2));
    let written = of_workloads(&maps).puts;
    assert_eq!(written, 200, "the first hundred, and their new values");

    // What is not there is no error, and those behind it are taken out.
    let mut fewer = wanted.clone();
    for key in even.workloads.keys().take(50) {
        fewer.workloads.remove(key);
    }
    let mut changes = Changes::between(&wanted, &fewer);
    let absent = key("10.1.0.1");
    changes.workloads.removals.insert(25, absent);
    maps.apply(&changes, HOST).expect_err("fifty are left over");
    let tally = of_workloads(&maps);
    assert_eq!((tally.deletes, tally.puts), (50, 250));
    assert_eq!(maps.read().expect("the maps"), fewer);
}

#[test]
fn many_entries_are_one_call() {
    needs_root!();
    let mut maps = maps_with(BTreeMap::new());
    let mut tables = filled(0, 0);
    for number in 0..4096_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let address = key(&format!("10.0.{high}.{low}"));
        tables.workloads.insert(address, workload(number.into(), 1));
    }
    maps.apply(&Changes::between(&Tables::default(), &tables), HOST)
        .expect("they fit");
    let tally = of_workloads(&maps);
    assert_eq!((tally.puts, tally.deletes, tally.syscalls), (4096, 0, 4));
    assert_eq!(maps.read().expect("the maps"), tables);
    maps.apply(&Changes::between(&tables, &Tables::default()), HOST)
        .expect("they go");
    let tally = of_workloads(&maps);
    assert_eq!((tally.puts, tally.deletes, tally.syscalls), (4096, 4096, 8));
}

fn of_workloads(maps: &Maps) -> Tally {
    let tallies = maps.tallies();
    let mut of = tallies.into_iter().filter(|tally| tally.map == "WORKLOADS");
    of.next().expect("the map")
}
