//! What others than the writer know of the mesh: what was last compiled.
//!
//! The compiler is shared, not copied: a copy for each change would cost as much as the mesh is
//! large. Readers ask about single entries and let go at once; the writer keeps them out for as long
//! as one batch of changes takes to compile.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;
use waysteer_common::abi::key::AddressKey;
use waysteer_common::abi::pod::PodKey;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::WorkloadValue;
use waysteer_common::addr::Address;
use waysteer_common::classify::{Flow, classify};
use waysteer_common::verdict::Verdict;
use waysteer_hbone::identity::SpiffeId;

use crate::compile::{Changes, Compiler, EnrolledPod, TableLookup};
use crate::model::Delta;

/// The writer's side. There is one.
#[derive(Debug)]
pub struct SharedCompiler {
    compiler: Arc<RwLock<Compiler>>,
    changes: watch::Sender<u64>,
}

/// The readers' side; cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    compiler: Arc<RwLock<Compiler>>,
    changes: watch::Receiver<u64>,
}

impl SharedCompiler {
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler: Arc::new(RwLock::new(compiler)),
            changes: watch::Sender::default(),
        }
    }

    pub fn view(&self) -> View {
        View {
            compiler: self.compiler.clone(),
            changes: self.changes.subscribe(),
        }
    }

    /// Not to be kept: the next change waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Compiler> {
        self.compiler.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn apply(&self, delta: Delta) {
        self.write().apply(delta);
    }

    pub fn set_pod(&self, pod: EnrolledPod) {
        self.write().set_pod(pod);
    }

    pub fn remove_pod(&self, netns: u64) {
        self.write().remove_pod(netns);
    }

    pub fn take_changes(&self) -> Changes {
        self.write().take_changes()
    }

    /// Whether the source has given a whole mesh.
    pub fn is_complete(&self) -> bool {
        self.read().mesh().complete
    }

    /// Tells those who wait that something has changed.
    pub fn publish(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Compiler> {
        let locked = self.compiler.write();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Looks at what is compiled now; shortly, since changes wait.
    pub fn with<R>(&self, look: impl FnOnce(&Compiler) -> R) -> R {
        let compiler = self.compiler.read();
        look(&compiler.unwrap_or_else(PoisonError::into_inner))
    }

    /// Ticks with each change that is in the maps.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// The identity of a pod, by its netns cookie; `None` until the source knows its workload.
    pub(super) fn identity(&self, netns: u64) -> Option<SpiffeId> {
        let entry = self.with(|compiler| {
            let pod = compiler.tables().pods.get(&PodKey {
                netns: netns.into(),
            })?;
            compiler.workload(pod.workload.get())
        });
        entry?.identities.first()?.parse().ok()
    }

    /// Who may answer at a verdict's next hop; empty where nobody is known.
    pub(super) fn expected(&self, verdict: &Verdict) -> Vec<SpiffeId> {
        let entry = self.with(|compiler| compiler.workload(verdict.next_hop.workload));
        entry
            .iter()
            .flat_map(|entry| &entry.identities)
            .filter_map(|i| i.parse().ok())
            .collect()
    }

    /// Decides about a flow again, over the same tables that the maps are written from.
    pub(super) fn classify(
        &self,
        netns: u64,
        destination: Address,
        port: u16,
        random: impl Fn() -> u32,
    ) -> Option<Verdict> {
        self.with(|compiler| {
            let tables = compiler.tables();
            let pod = tables.pods.get(&PodKey {
                netns: netns.into(),
            })?;
            let flow = Flow {
                pod,
                netns,
                destination,
                port,
                is_dialling: false,
            };
            Some(classify(&flow, &TableLookup { tables, random }))
        })
    }

    /// Whether an address is one of the pod's.
    pub(super) fn is_address_of(&self, netns: u64, address: Address) -> bool {
        self.with(|compiler| {
            let owners = &compiler.tables().pod_addresses;
            let owner = owners.get(&AddressKey { address });
            owner.is_some_and(|owner| owner.netns.get() == netns)
        })
    }

    /// Whether some policy applies, or may apply, to whoever has this address.
    pub(super) fn has_policy(&self, address: Address) -> bool {
        self.with(|compiler| {
            let tables = compiler.tables();
            let synced = tables.settings.flags.get() & SettingsValue::SYNCED != 0;
            let workload = tables.workloads.get(&AddressKey { address });
            !synced || workload.is_none_or(|w| w.flags.get() & WorkloadValue::POLICY != 0)
        })
    }
}
