use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::stage::{PODS, REMOTE_PODS};

/// What is dialled that is no pod.
const NO_PODS: [&str; 4] = [LOOPBACK, "external", "shop", "neighbour"];

/// What is measured is kept by name: two ways of one name would be mixed.
#[test]
fn a_name_is_one_way() {
    let mut ends = BTreeMap::new();
    for way in COMPARISONS.iter().flat_map(|of| [of.base, of.way]) {
        let these = (way.from, way.to, way.is_slow);
        let before = ends.insert(way.name, these);
        assert!(before.is_none_or(|before| before == these), "{}", way.name);
    }
}

/// Rows are kept by both names: of two for the same one would be lost.
#[test]
fn nothing_is_compared_twice() {
    let rows: BTreeSet<_> = COMPARISONS
        .iter()
        .map(|of| (of.way.name, of.base.name))
        .collect();
    assert_eq!(rows.len(), COMPARISONS.len());
}

#[test]
fn the_stage_has_both_ends_of_every_way() {
    let is_pod = |name| PODS.contains(&name) || REMOTE_PODS.contains(&name);
    for Way { name, from, to, .. } in of_topics(Topic::value_variants()) {
        assert!(is_pod(from), "{name}: from {from}");
        assert!(is_pod(to) || NO_PODS.contains(&to), "{name}: to {to}");
    }
}

#[test]
fn a_topic_brings_the_bases_of_its_ways() {
    for comparison in &COMPARISONS {
        let ways = of_topics(&[comparison.topic]);
        for way in [comparison.way, comparison.base] {
            let found = ways.iter().filter(|of| of.name == way.name).count();
            assert_eq!(found, 1, "{}", way.name);
        }
    }
}

/// What hooks cost, what rules cost and what the agent costs are only to be told apart against the
/// same base; and what measuring is off by is told by a pod that has none of it.
#[test]
fn passthrough_is_taken_apart_against_one_base() {
    let ways = of_topics(&[Topic::Passthrough]);
    let pods: Vec<_> = ways.iter().map(|way| way.from).collect();
    assert_eq!(pods, ["plain", "client", "plain2", "ruled", "hooked"]);
    let of_topic = COMPARISONS
        .iter()
        .filter(|of| of.topic == Topic::Passthrough);
    for comparison in of_topic {
        let Comparison { way, base, .. } = comparison;
        assert_eq!(base.name, EXTERNAL.name, "{}", way.name);
        assert_eq!(way.to, base.to, "{}", way.name);
    }
}
