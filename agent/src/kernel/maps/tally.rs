//! What was written to the maps so far.

/// Of one map, since the agent has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub map: &'static str,
    /// Entries that were added or changed.
    pub puts: u64,
    /// Entries that were taken out.
    pub deletes: u64,
    /// System calls that this took; one writes many entries.
    pub syscalls: u64,
}

impl Tally {
    pub(super) fn of(map: &'static str) -> Self {
        Self {
            map,
            puts: 0,
            deletes: 0,
            syscalls: 0,
        }
    }

    pub fn writes(&self) -> u64 {
        self.puts + self.deletes
    }
}
