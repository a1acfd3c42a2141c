//! Going on where an earlier agent has stopped.
//!
//! Its pods are captured by its programs and maps, whatever has become of it. Each of them is
//! looked through and completed as if it were new, and counts as wanted until the source says which
//! pods there are. The mesh in the maps stays as it is until the source has given a whole one:
//! what is missing from half a mesh is not known to be gone.

use std::collections::BTreeSet;

use waysteer_common::abi::settings::SettingsValue;

use super::Work;
use crate::compile::{Changes, Tables};
use crate::enrol::Enrolment;
use crate::error::chain;
use crate::kernel::netns::PodNetns;
use crate::kernel::records::Record;
use crate::model::PodSpec;

/// What the maps hold from before while the mesh is not whole.
#[derive(Debug)]
pub(super) struct Held {
    /// Netns cookies of the pods whose entries stay.
    pods: BTreeSet<u64>,
    /// All of it, with what was written since.
    tables: Tables,
}

impl Held {
    /// Of a change, what may be written all the same: new pods, whose entries say as yet that
    /// nothing is known of them, and pods that are gone. And what this agent's configuration
    /// forbids is forbidden at once.
    fn only(&mut self, changes: Changes) -> Changes {
        let bypass = SettingsValue::DIRECT_LOCAL_BYPASS;
        let forbidden = bypass & !changes.settings.flags.get();
        let flags = self.tables.settings.flags.get() & !forbidden;
        let mut held = Changes {
            old_settings: self.tables.settings,
            settings: self.tables.settings,
            pods: changes.pods,
            pod_addresses: changes.pod_addresses,
            ..Changes::default()
        };
        held.settings.flags = flags.into();
        held.pods
            .upserts
            .retain(|(key, _)| !self.pods.contains(&key.netns.get()));
        held.apply(&mut self.tables);
        held
    }
}

impl Work {
    /// Takes over the recorded pods.
    pub(super) async fn adopt(&mut self) {
        self.hold();
        let records = match self.with.enroller.records().all() {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(error = chain(&error), "no pod can be adopted");
                return;
            }
        };
        let count = records.len();
        for (cookie, record) in records {
            match record {
                Ok(record) if is_there(cookie, &record) => {
                    self.wanted.insert(record.uid.clone(), record.spec());
                }
                Ok(record) => {
                    tracing::info!(
                        uid = record.uid,
                        netns = cookie,
                        "a pod of before has gone, or has another network namespace"
                    );
                    self.gone.insert(cookie);
                    if PodNetns::open(&record.netns).is_err() {
                        self.keep(&record.spec());
                    }
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "a pod cannot be adopted");
                    self.gone.insert(cookie);
                }
            }
        }
        self.enrol_wanted().await;
        let failed: Vec<PodSpec> = self
            .wanted
            .values()
            .filter(|spec| !self.served.contains(&spec.uid))
            .cloned()
            .collect();
        failed.iter().for_each(|spec| self.keep(spec));
        if count > 0 {
            // A snapshot without them would make ztunnel cut their connections.
            self.with.enroller.tunnel.pods_registered();
            tracing::info!(
                pods = self.enrolled.len(),
                gone = self.gone.len(),
                "pods of an earlier agent adopted"
            );
        }
    }

    /// Whatever is wrong with a pod of before, a ztunnel that serves it is to go on.
    fn keep(&mut self, spec: &PodSpec) {
        match self.with.enroller.tunnel.keep(spec) {
            Ok(()) => {
                self.kept.insert(spec.uid.clone());
            }
            Err(error) => tracing::error!(error = chain(&error), uid = spec.uid, "pod not kept"),
        }
    }

    /// The source has said which pods there are: others are kept no longer.
    pub(super) async fn abandon_kept(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        for uid in kept {
            if self.wanted.contains_key(&uid) {
                self.kept.insert(uid);
            } else if !self.served.contains(&uid) {
                self.with.enroller.tunnel.remove(&uid, 0).await;
            }
        }
    }

    /// Keeps what the maps hold, if that is a whole mesh.
    fn hold(&mut self) {
        let maps = &self.with.maps;
        let is_whole = |settings: SettingsValue| {
            let flags = settings.flags.get();
            flags & SettingsValue::SYNCED != 0
        };
        let read = maps.settings().and_then(|settings| {
            if !is_whole(settings) {
                return Ok(None);
            }
            let tables = maps.read()?;
            let pods = tables.pods.keys().map(|key| key.netns.get()).collect();
            Ok(Some(Held { pods, tables }))
        });
        match read {
            Ok(held) => self.held = held,
            // Then they are written whole, with what is known.
            Err(error) => tracing::error!(error = chain(&error), "maps not readable"),
        }
    }

    /// What of these changes is to be written now.
    pub(super) fn permitted(&mut self, changes: Changes) -> Changes {
        match &mut self.held {
            Some(held) => held.only(changes),
            None => changes,
        }
    }

    /// Looks at what the maps should hold now.
    pub(super) fn with_expected<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        match &self.held {
            Some(held) => look(&held.tables),
            None => look(self.with.compiler.read().tables()),
        }
    }

    /// Whether that is all that they should hold.
    pub(super) fn is_settled(&self) -> bool {
        self.held.is_none() && self.gone.is_empty() && self.pods_known
    }

    /// The source has given a whole mesh.
    pub(super) fn release(&mut self) {
        if self.held.take().is_some() {
            // What was kept back, and what is no more.
            self.rewrite = true;
        }
    }

    /// Whether the pods of older generations can be judged by our maps.
    pub(super) fn can_take_over(&self) -> bool {
        self.with.compiler.is_complete() || self.held.is_some()
    }

    /// Exchanges the programs of older generations, pod by pod, once our maps can judge their
    /// pods; the older ones go when they have no pod any more.
    pub(super) fn take_over(&mut self) {
        if !self.with.enroller.programs().has_elders() || !self.can_take_over() {
            return;
        }
        let elders: Vec<String> = self
            .enrolled
            .iter()
            .filter(|(_, enrolment)| enrolment.is_elder())
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in elders {
            let Some(mut enrolment) = self.enrolled.remove(&uid) else {
                continue;
            };
            // First into our maps, then under our programs.
            self.with.compiler.set_pod(enrolment.to_pod());
            self.write();
            match self.with.enroller.take_over(&mut enrolment) {
                Ok(()) => tracing::info!(uid, "pod moved to the new programs and maps"),
                Err(error) => {
                    tracing::error!(error = chain(&error), uid, "pod not moved, trying again");
                    self.retry();
                }
            }
            self.enrolled.insert(uid, enrolment);
        }
        self.retire_elders();
    }

    /// If no pod needs them any more.
    pub(super) fn retire_elders(&mut self) {
        let mut pods = self.enrolled.values().chain(&self.leaving);
        let is_done = self.gone.is_empty() && !pods.any(Enrolment::is_elder) && !self.must_stay;
        if is_done && let Err(error) = self.with.enroller.programs().retire_elders() {
            tracing::error!(error = chain(&error), "older programs and maps stay");
        }
    }

    /// Takes out of what the maps hold the pods that nobody has said are no more: so they stay.
    pub(super) fn keep_gone(&self, tables: &mut Tables) {
        let gone = &self.gone;
        tables
            .pods
            .retain(|key, _| !gone.contains(&key.netns.get()));
        tables
            .pod_addresses
            .retain(|_, value| !gone.contains(&value.netns.get()));
    }

    /// The source has said which pods there are: what is left of others goes.
    pub(super) fn abandon_gone(&mut self) {
        let known = self.enrolled.values().chain(&self.leaving);
        let known: BTreeSet<u64> = known.map(Enrolment::netns).collect();
        for cookie in std::mem::take(&mut self.gone) {
            if known.contains(&cookie) {
                continue;
            }
            self.with.enroller.abandon(cookie);
            if let Err(error) = self.with.maps.remove_pod(cookie) {
                tracing::warn!(
                    error = chain(&error),
                    netns = cookie,
                    "a pod's entries stay"
                );
            }
        }
    }
}

/// Whether the path still names the netns that was recorded.
fn is_there(cookie: u64, record: &Record) -> bool {
    PodNetns::open(&record.netns).is_ok_and(|netns| netns.cookie() == cookie)
}
