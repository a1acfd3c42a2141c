//! Who stands behind the kernel's entries. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use waysteer_common::abi::key::TrafficKey;

use super::series::{Destination, Series, Source};
use crate::kernel::observe::{PodTrafficEntries, Traffic};

/// Whoever knows names; `None` where that may change.
pub trait Known {
    /// Of an enrolled pod, by its netns cookie.
    fn source(&self, netns: u64) -> Option<Source>;
    fn destination(&self, key: &TrafficKey) -> Option<Destination>;
}

/// What has been found out about entries. What an entry counts as is decided once: names that
/// change, or go, move no counts from one line to another.
#[derive(Debug)]
pub struct Book {
    /// Lines with a destination of their own, at most.
    limit: usize,
    /// By netns cookie.
    sources: BTreeMap<u64, Source>,
    series: BTreeMap<TrafficKey, Series>,
    /// Of pods that left: what the kernel did not take back.
    kept: BTreeMap<Series, Traffic>,
}

/// What is to become of entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    pub remove: Vec<TrafficKey>,
    /// With [`TrafficKey::LEFT`].
    pub put: PodTrafficEntries,
}

impl Book {
    /// Pods that left and whose last connections may still end.
    const GONE: usize = 1024;

    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            sources: BTreeMap::new(),
            series: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Looks up who has this netns, before the mesh forgets.
    pub fn learn(&mut self, netns: u64, known: &impl Known) {
        if !self.sources.contains_key(&netns)
            && let Some(source) = known.source(netns)
        {
            self.sources.insert(netns, source);
        }
    }

    /// Every line. What is steered is the tunnel's to tell, and would be told twice.
    pub fn sums(
        &mut self,
        entries: &PodTrafficEntries,
        known: &impl Known,
    ) -> BTreeMap<Series, Traffic> {
        self.series.retain(|key, _| entries.contains_key(key));
        let own = self.series.values().filter(|series| !series.is_other());
        let mut own: BTreeSet<Series> = own.cloned().collect();
        let mut sums = self.kept.clone();
        for (key, traffic) in entries {
            if let Some(series) = self.series_of(key, known, &mut own) {
                sums.entry(series).or_default().merge(traffic);
            }
        }
        sums
    }

    /// Tidies up after pods that are not of the `live`.
    pub fn settle(
        &mut self,
        entries: &PodTrafficEntries,
        live: &BTreeSet<u64>,
        known: &impl Known,
    ) -> Settlement {
        // What each of them counts as, while that can be told.
        self.sums(entries, known);
        for netns in live {
            self.learn(*netns, known);
        }
        let all_known = live.iter().all(|netns| self.sources.contains_key(netns));
        let here = live.iter().filter_map(|netns| self.sources.get(netns));
        let here: BTreeSet<u64> = here.map(Source::id).collect();
        let mut settlement = Settlement::default();
        for (key, traffic) in entries {
            let owner = key.source.get();
            if key.flags & TrafficKey::LEFT != 0 {
                if all_known && !here.contains(&owner) {
                    settlement.remove.push(*key);
                }
            } else if !live.contains(&owner) {
                settlement.remove.push(*key);
                if let Some(series) = self.series.get(key)
                    && here.contains(&series.source.id())
                {
                    let series = series.clone();
                    let left = TrafficKey {
                        source: series.source.id().into(),
                        flags: key.flags | TrafficKey::LEFT,
                        ..*key
                    };
                    let before = entries.get(&left).copied().unwrap_or_default();
                    let sum = settlement.put.entry(left).or_insert(before);
                    sum.merge(traffic);
                    self.series.insert(left, series);
                }
            }
        }
        if all_known {
            self.kept
                .retain(|series, _| here.contains(&series.source.id()));
        }
        self.forget(live);
        settlement
    }

    /// The kernel had no room for this one.
    pub(super) fn keep(&mut self, key: &TrafficKey, traffic: &Traffic) {
        if let Some(series) = self.series.get(key) {
            let kept = self.kept.entry(series.clone()).or_default();
            kept.merge(traffic);
        }
    }

    fn series_of(
        &mut self,
        key: &TrafficKey,
        known: &impl Known,
        own: &mut BTreeSet<Series>,
    ) -> Option<Series> {
        if key.flags & TrafficKey::STEER != 0 {
            return None;
        }
        if let Some(series) = self.series.get(key) {
            return Some(series.clone());
        }
        let source = self.source_of(key, known)?;
        let mut series = Series {
            source,
            destination: known.destination(key)?,
        };
        if own.contains(&series) || own.len() < self.limit {
            own.insert(series.clone());
        } else {
            series.destination = Destination::Other;
        }
        self.series.insert(*key, series.clone());
        Some(series)
    }

    fn source_of(&mut self, key: &TrafficKey, known: &impl Known) -> Option<Source> {
        let owner = key.source.get();
        if key.flags & TrafficKey::LEFT != 0 {
            let mut sources = self.sources.values();
            return sources.find(|source| source.id() == owner).cloned();
        }
        self.learn(owner, known);
        self.sources.get(&owner).cloned()
    }

    /// The oldest of those that left: cookies grow.
    fn forget(&mut self, live: &BTreeSet<u64>) {
        let gone = self.sources.keys().filter(|netns| !live.contains(netns));
        let gone: Vec<u64> = gone.copied().collect();
        let excess = gone.len().saturating_sub(Self::GONE);
        for netns in gone.iter().take(excess) {
            self.sources.remove(netns);
        }
    }
}

#[cfg(test)]
mod tests;
