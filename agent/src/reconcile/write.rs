//! Bringing the maps to what should be in them, and telling the others.

use super::Work;
use crate::compile::Changes;
use crate::enrol::Enrolment;
use crate::error::chain;
use crate::kernel::maps::MapsError;
use crate::state::SourceStatus;

impl Work {
    /// Brings the maps to what the mesh and the enrolled pods compile to. To be called after each
    /// change of the compiler.
    pub(super) fn write(&mut self) {
        let changes = self.with.compiler.take_changes();
        let changes = if self.rewrite && self.held.is_none() {
            match self.with.maps.read() {
                Ok(mut tables) => {
                    self.keep_gone(&mut tables);
                    Changes::between(&tables, self.with.compiler.read().tables())
                }
                Err(error) => {
                    self.failed(&error);
                    return;
                }
            }
        } else {
            self.permitted(changes)
        };
        let result = self.with.maps.apply(&changes, self.with.host_netns);
        self.show_tallies();
        match result {
            Ok(()) => {
                tracing::debug!(writes = changes.len(), "maps written");
                self.with.state.set_map_error(None);
                self.rewrite = self.held.is_some();
            }
            // What was refused is offered again by every later call.
            Err(error @ MapsError::Incomplete { .. }) => {
                self.failed(&error);
                self.rewrite = self.held.is_some();
            }
            Err(error) => {
                self.failed(&error);
                self.rewrite = true;
                self.retry();
            }
        }
    }

    pub(super) fn show_tallies(&self) {
        let tallies = self.with.maps.tallies();
        self.with.state.set_map_tallies(&tallies);
    }

    fn failed(&self, error: &MapsError) {
        let error = chain(error);
        tracing::error!(error, "maps not written whole");
        self.with.state.set_map_error(Some(error));
    }

    /// Tells the others that something has changed.
    pub(super) fn publish(&self) {
        self.with.state.set_source(self.source_status());
        let pods = self.enrolled.values().map(Enrolment::netns);
        self.with.traffic.learn(pods);
        self.with.compiler.publish();
    }

    fn source_status(&self) -> SourceStatus {
        let compiler = self.with.compiler.read();
        let mesh = compiler.mesh();
        SourceStatus {
            synced: mesh.complete,
            pods_known: self.pods_known,
            workloads: mesh.workloads.len(),
            services: mesh.services.len(),
            policies: mesh.policies.len(),
            rejected: mesh.rejected.len(),
            map_entries: compiler.tables().len(),
        }
    }
}
