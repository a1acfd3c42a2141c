//! What the tunnel knows of the mesh: what was last compiled.

use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::WorkloadValue;
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::Verdict;
use waysteer_hbone::identity::SpiffeId;

use crate::compile::{Compiled, TableLookup};

/// What the maps hold, and what its ids stand for.
#[derive(Debug, Default)]
pub struct View {
    pub compiled: Compiled,
}

impl View {
    /// The identity of a pod, by its netns cookie; `None` until the source knows its workload.
    pub(super) fn identity(&self, netns: u64) -> Option<SpiffeId> {
        let pod = self.compiled.tables.pods.get(&PodKey {
            netns: netns.into(),
        })?;
        let entry = self.compiled.directory.workloads.get(&pod.workload.get())?;
        entry.identities.first()?.parse().ok()
    }

    /// Who may answer at a verdict's next hop; empty where nobody is known.
    pub(super) fn expected(&self, verdict: &Verdict) -> Vec<SpiffeId> {
        let directory = &self.compiled.directory;
        let entry = directory.workloads.get(&verdict.next_hop.workload);
        entry
            .into_iter()
            .flat_map(|entry| &entry.identities)
            .filter_map(|i| i.parse().ok())
            .collect()
    }

    /// Decides about a flow again, over the same tables that the maps were written from.
    pub(super) fn classify(
        &self,
        netns: u64,
        destination: Address,
        port: u16,
        random: impl Fn() -> u32,
    ) -> Option<Verdict> {
        let tables = &self.compiled.tables;
        let pod = tables.pods.get(&PodKey {
            netns: netns.into(),
        })?;
        let flow = Flow {
            pod,
            netns,
            destination,
            port,
        };
        Some(classify(&flow, &TableLookup { tables, random }))
    }

    /// Whether an address is one of the pod's.
    pub(super) fn is_address_of(&self, netns: u64, address: Address) -> bool {
        let owner = self
            .compiled
            .tables
            .pod_addresses
            .get(&AddressKey { address });
        owner.is_some_and(|owner| owner.netns.get() == netns)
    }

    /// Whether some policy applies, or may apply, to whoever has this address.
    pub(super) fn has_policy(&self, address: Address) -> bool {
        let tables = &self.compiled.tables;
        let synced = tables.settings.flags.get() & SettingsValue::SYNCED != 0;
        let workload = tables.workloads.get(&AddressKey { address });
        !synced || workload.is_none_or(|w| w.flags.get() & WorkloadValue::POLICY != 0)
    }
}
