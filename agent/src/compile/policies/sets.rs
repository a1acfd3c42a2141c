//! Which sets of policies are in use, by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::compile::id;
use crate::model::NamespacedName;

/// Policies that apply together, and what else their answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::compile) struct Set {
    /// In order.
    pub(in crate::compile) names: Vec<NamespacedName>,
    /// The family, where a policy looks at the source's address.
    pub(in crate::compile) v4: Option<bool>,
    /// The address, where a policy looks at it.
    pub(in crate::compile) destination: Option<IpAddr>,
}

impl Set {
    /// Never 0.
    pub(in crate::compile) fn id(&self) -> u32 {
        let Self {
            names,
            v4,
            destination,
        } = self;
        id::policies_id(names, &format!("{v4:?} {destination:?}"))
    }
}

/// The sets of the workloads that could be bypassed to.
#[derive(Debug, Default)]
pub(in crate::compile) struct Sets {
    by_address: BTreeMap<IpAddr, Arc<Set>>,
    /// With the number of addresses that each applies to. Several sets where their ids are the same
    /// by chance: then none of them is evaluated.
    by_id: BTreeMap<u32, BTreeMap<Arc<Set>, usize>>,
    /// Those that have come or gone.
    changed: BTreeSet<u32>,
}

impl Sets {
    /// Sets what applies at an address, and says whether that is new.
    pub(in crate::compile) fn assign(&mut self, address: IpAddr, set: Option<Set>) -> bool {
        let old = self.by_address.get(&address);
        if old.map(|old| &**old) == set.as_ref() {
            return false;
        }
        if let Some(old) = self.by_address.remove(&address) {
            self.release(&old);
        }
        if let Some(set) = set {
            let (id, set) = (set.id(), Arc::new(set));
            let sets = self.by_id.entry(id).or_default();
            let users = sets.entry(Arc::clone(&set)).or_default();
            *users += 1;
            if *users == 1 {
                self.changed.insert(id);
            }
            self.by_address.insert(address, set);
        }
        true
    }

    fn release(&mut self, set: &Arc<Set>) {
        let id = set.id();
        let Some(sets) = self.by_id.get_mut(&id) else {
            return;
        };
        if let Some(users) = sets.get_mut(set) {
            *users -= 1;
            if *users == 0 {
                sets.remove(set);
                self.changed.insert(id);
            }
        }
        if sets.is_empty() {
            self.by_id.remove(&id);
        }
    }

    /// `None` where the set is not in use, or not the only one with this id.
    pub(in crate::compile) fn get(&self, id: u32) -> Option<&Set> {
        let sets = self.by_id.get(&id)?;
        let (set, _) = sets.first_key_value().filter(|_| sets.len() == 1)?;
        Some(set)
    }

    /// Those in which one of these policies is.
    pub(in crate::compile) fn naming<'a>(
        &'a self,
        policies: &'a BTreeSet<NamespacedName>,
    ) -> impl Iterator<Item = u32> + 'a {
        let is_in = |set: &Arc<Set>| set.names.iter().any(|name| policies.contains(name));
        let sets = self.by_id.iter();
        sets.filter(move |(_, sets)| !policies.is_empty() && sets.keys().any(is_in))
            .map(|(id, _)| *id)
    }

    /// Those that have come or gone since the last call.
    pub(in crate::compile) fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Set {
        Set {
            names: vec![NamespacedName::new("n", name)],
            v4: None,
            destination: None,
        }
    }

    #[test]
    fn sets_are_counted() {
        let mut sets = Sets::default();
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let id = set("p").id();
        assert!(sets.assign(a, Some(set("p"))) && sets.assign(b, Some(set("p"))));
        assert_eq!(sets.take_changed(), [id].into());
        assert!(!sets.assign(b, Some(set("p"))) && sets.assign(b, None));
        assert_eq!(
            (sets.take_changed(), sets.get(id)),
            ([].into(), Some(&set("p")))
        );
        assert!(sets.assign(a, Some(set("q"))));
        assert_eq!(sets.take_changed(), [id, set("q").id()].into());
        assert_eq!(sets.get(id), None);
    }

    #[test]
    fn two_sets_of_one_id_are_no_set() {
        let mut sets = Sets::default();
        let (p, q) = (Arc::new(set("p")), Arc::new(set("q")));
        sets.by_id.insert(7, [(p.clone(), 1), (q, 1)].into());
        assert_eq!(sets.get(7), None);
        sets.by_id.insert(7, [(p, 1)].into());
        assert_eq!(sets.get(7), Some(&set("p")));
    }
}
