//! How many connections of each pod got which verdict, as far as the events tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FlowRecord;

/// By pod, as verdicts name it, and class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies(pub BTreeMap<String, BTreeMap<String, Tally>>);

/// Verdicts on connections of one pod and class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub steered: u64,
    pub bypassed: u64,
}

impl Tallies {
    /// Pods that are counted at most: senders of addresses that are nobody's have none.
    const PODS: usize = 8192;

    pub(super) fn add(&mut self, flow: &FlowRecord) {
        if !self.0.contains_key(&flow.pod) && self.0.len() >= Self::PODS {
            return;
        }
        let classes = match self.0.get_mut(&flow.pod) {
            Some(classes) => classes,
            None => self.0.entry(flow.pod.clone()).or_default(),
        };
        let tally = match classes.get_mut(flow.class) {
            Some(tally) => tally,
            None => classes.entry(flow.class.to_owned()).or_default(),
        };
        if flow.steered {
            tally.steered += 1;
        } else {
            tally.bypassed += 1;
        }
    }

    /// The pod has gone.
    pub(super) fn forget(&mut self, pod: &str) {
        self.0.remove(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_and_class_apart() {
        let mut tallies = Tallies::default();
        let flow = |pod: &str, class, steered| FlowRecord {
            pod: pod.to_owned(),
            class,
            steered,
            ..FlowRecord::default()
        };
        tallies.add(&flow("a/b", "Direct", true));
        tallies.add(&flow("a/b", "Direct", true));
        tallies.add(&flow("a/b", "Direct", false));
        tallies.add(&flow("c/d", "Passthrough", false));
        let of = |pod: &str, class: &str| tallies.0.get(pod).and_then(|it| it.get(class)).copied();
        assert_eq!(
            of("a/b", "Direct"),
            Some(Tally {
                steered: 2,
                bypassed: 1
            })
        );
        assert_eq!(
            of("c/d", "Passthrough"),
            Some(Tally {
                steered: 0,
                bypassed: 1
            })
        );
        tallies.forget("a/b");
        assert_eq!(tallies.0.len(), 1);
        for number in 0..2 * Tallies::PODS {
            tallies.add(&flow(&number.to_string(), "Direct", true));
        }
        assert_eq!(tallies.0.len(), Tallies::PODS);
    }
}
