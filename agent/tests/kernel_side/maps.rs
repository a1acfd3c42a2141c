//! What is written is what the kernel has, and a full map harms nobody.

mod batches;

use std::collections::BTreeMap;

use waysteer::compile::{Changes, Tables};
use waysteer::kernel::load::LoadOptions;
use waysteer::kernel::maps::{Maps, MapsError};
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::WorkloadValue;
use waysteer_common::verdict::Reason;

use crate::tables::{
    allowed, cidr, filled, key, pod, policy_key, service_value, settings, workload,
};
use crate::{load, needs_root};

const HOST: u64 = 4711;
const POD: u64 = 815;

fn maps_with(capacities: BTreeMap<&'static str, u32>) -> Maps {
    load(&LoadOptions {
        capacities,
        ..LoadOptions::default()
    })
    .maps
}

fn bring(maps: &mut Maps, to: &Tables) -> Result<(), MapsError> {
    let from = maps.read().expect("the maps");
    maps.apply(&Changes::between(&from, to), HOST)
}

fn flags(maps: &Maps) -> u32 {
    maps.settings().expect("the settings").flags.get()
}

#[test]
fn the_kernel_has_what_was_written() {
    needs_root!();
    let mut maps = maps_with(BTreeMap::new());
    let steps = [
        filled(300, 0),
        filled(200, 100),
        filled(1, 9_000),
        Tables::default(),
    ];
    let mut before = Tables::default();
    for tables in steps {
        assert_eq!(maps.read().expect("the maps"), before);
        maps.apply(&Changes::between(&before, &tables), HOST)
            .expect("the changes");
        assert_eq!(maps.read().expect("the maps"), tables);
        assert_eq!(flags(&maps), tables.settings.flags.get());
        assert_eq!(
            maps.settings().expect("the settings").host_netns.get(),
            HOST
        );
        before = tables;
    }
}

const SYNCED: u32 = SettingsValue::SYNCED;
const INCOMPLETE: u32 = SettingsValue::INCOMPLETE;

/// Workloads with these last octets, and a pod to ask about them.
fn workloads(numbers: impl IntoIterator<Item = u64>) -> Tables {
    let mut tables = Tables {
        settings: settings(SYNCED),
        ..Tables::default()
    };
    tables.pods.insert(PodKey { netns: POD.into() }, pod(0));
    for number in numbers {
        tables
            .workloads
            .insert(key(&format!("10.0.0.{number}")), workload(number, 1));
    }
    tables
}

#[test]
fn a_full_map_is_named_keeps_what_it_has_and_permits_nothing() {
    needs_root!();
    let capacities = BTreeMap::from([("WORKLOADS", 4)]);
    let mut loaded = load(&LoadOptions {
        capacities,
        ..LoadOptions::default()
    });
    let maps = &mut loaded.maps;
    let reason = |number: u8| {
        let verdict = loaded.explainer.explain(POD, [10, 0, 0, number].into(), 80);
        verdict.expect("an answer").expect("an enrolled pod").reason
    };
    bring(maps, &workloads(1..=4)).expect("four fit");
    let error = bring(maps, &workloads(1..=6)).expect_err("six do not fit");
    let MapsError::Incomplete { tables: refused } = &error else {
        panic!("{error}")
    };
    let [refused] = refused.as_slice() else {
        panic!("{error}")
    };
    assert_eq!(
        (refused.map, refused.failed, refused.examples.len()),
        ("WORKLOADS", 2, 2)
    );
    assert_eq!(refused.full.map(|full| full.capacity), Some(4), "{error}");
    assert!(
        error.to_string().contains("WORKLOADS is full (4 entries)"),
        "{error}"
    );
    assert_eq!(maps.read().expect("the maps"), workloads(1..=6));
    // What is absent looks unknown: unknown destinations are steered until it is there.
    assert_eq!(
        (reason(4), reason(5)),
        (Reason::WorkloadHbone, Reason::UnknownIncomplete)
    );
    assert_eq!(flags(maps), SYNCED | INCOMPLETE);

    // An unrelated change does not forget it.
    let mut unrelated = workloads(1..=6);
    unrelated.waypoint_members = filled(1, 1).waypoint_members;
    bring(maps, &unrelated).expect_err("six still do not fit");
    assert_eq!(flags(maps), SYNCED | INCOMPLETE);

    // Room for it is used at once, even if a change both fills and empties.
    bring(maps, &workloads([4, 5, 6, 7])).expect("four fit");
    assert_eq!(
        (reason(1), reason(7)),
        (Reason::Unknown, Reason::WorkloadHbone)
    );
    assert_eq!(flags(maps), SYNCED);

    // What is not wanted any more is not missing any more.
    bring(maps, &workloads(4..=8)).expect_err("five do not fit");
    assert_eq!(flags(maps), SYNCED | INCOMPLETE);
    bring(maps, &workloads(4..=7)).expect("four are there");
    assert_eq!(flags(maps), SYNCED);
}

#[test]
fn a_full_trie_takes_new_values_and_stops_all_bypassing_for_new_keys() {
    needs_root!();
    let mut maps = maps_with(BTreeMap::from([("SERVICE_CIDRS", 2)]));
    let wanted = SYNCED | SettingsValue::SERVICE_CIDRS;
    let mut tables = Tables {
        settings: settings(wanted),
        ..Tables::default()
    };
    tables.service_cidrs.insert(cidr(1), service_value(1, 0));
    tables.service_cidrs.insert(cidr(2), service_value(2, 0));
    bring(&mut maps, &tables).expect("two fit");
    tables.service_cidrs.insert(cidr(1), service_value(3, 0));
    bring(&mut maps, &tables).expect("a new value of an old key");
    assert_eq!(maps.read().expect("the maps"), tables);
    tables.service_cidrs.insert(cidr(3), service_value(4, 0));
    bring(&mut maps, &tables).expect_err("three do not fit");
    // A wider CIDR may answer for the absent one, and might be bypassed.
    assert_eq!(flags(&maps), SettingsValue::SERVICE_CIDRS);
    tables.service_cidrs.remove(&cidr(3));
    bring(&mut maps, &tables).expect("two are there");
    assert_eq!(flags(&maps), wanted);
}

#[test]
fn what_policies_say_is_not_known_where_their_map_is_full() {
    needs_root!();
    let capacities = BTreeMap::from([("POLICIES", 1)]);
    let mut loaded = load(&LoadOptions {
        capacities,
        ..LoadOptions::default()
    });
    let maps = &mut loaded.maps;
    let reasons = || {
        [1, 2].map(|number| {
            let verdict = loaded.explainer.explain(POD, [10, 0, 0, number].into(), 80);
            verdict.expect("an answer").expect("an enrolled pod").reason
        })
    };
    let flags = WorkloadValue::HBONE
        | WorkloadValue::LOCAL
        | WorkloadValue::ENROLLED
        | WorkloadValue::POLICY;
    let mut tables = workloads([]);
    tables.settings = settings(SYNCED | SettingsValue::DIRECT_LOCAL_BYPASS);
    for number in [1, 2] {
        let mut value = workload(number.into(), flags);
        value.policies = number.into();
        let key = key(&format!("10.0.0.{number}"));
        tables.workloads.insert(key, value);
    }
    tables.policies.insert(policy_key(POD, 1), allowed(true));
    bring(maps, &tables).expect("one fits");
    let not_evaluated = Reason::LocalNotEvaluated;
    assert_eq!(reasons(), [Reason::LocalBypass, not_evaluated]);
    tables.policies.insert(policy_key(POD, 2), allowed(true));
    let error = bring(maps, &tables).expect_err("two do not fit");
    assert!(error.to_string().contains("POLICIES is full"), "{error}");
    assert_eq!(reasons(), [Reason::LocalBypass, not_evaluated]);
    // Room for it is used at once.
    tables.policies.remove(&policy_key(POD, 1));
    bring(maps, &tables).expect("one fits");
    assert_eq!(reasons(), [not_evaluated, Reason::LocalBypass]);
    tables.policies.insert(policy_key(POD, 2), allowed(false));
    bring(maps, &tables).expect("one fits");
    assert_eq!(reasons(), [not_evaluated, Reason::LocalPolicy]);
}
