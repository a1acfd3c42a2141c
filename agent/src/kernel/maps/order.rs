//! Which settings hold while the tables change.

use waysteer_common::abi::settings::SettingsValue;

/// Flags that let flows past the tunnel. All others forbid, or cost nothing while they are set.
const PERMITS: u32 = SettingsValue::SYNCED | SettingsValue::DIRECT_LOCAL_BYPASS;
/// Flags that say that a table is not empty.
const FILLED: u32 = SettingsValue::SERVICE_CIDRS | SettingsValue::MESH_CIDRS;

/// While entries are written: what both permit, and what either forbids.
pub(super) fn during(old: u32, new: u32) -> u32 {
    (old & new & PERMITS) | ((old | new) & !PERMITS)
}

/// While policies change: what one of them newly forbids is forbidden before anything else.
pub(super) fn held(policies_change: bool) -> u32 {
    if policies_change {
        SettingsValue::POLICIES_CHANGE
    } else {
        0
    }
}

/// When all entries are written and those that are gone are still there.
pub(super) fn settled(old: u32, new: u32) -> u32 {
    new | old & FILLED
}

/// Entries that should be in the maps and are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Absent {
    /// Of `WORKLOADS`, `SERVICES`, `SERVICE_CIDRS` or `MESH_CIDRS`: the destination looks unknown.
    pub(super) destinations: bool,
    /// Of `WORKLOADS`, `SERVICES` or `SERVICE_CIDRS`: a wider CIDR may answer instead.
    pub(super) before_cidrs: bool,
    /// Of `SERVICES`, for one namespace: the entry for all others may answer instead.
    pub(super) namespaced: bool,
}

/// The settings with nothing let past the tunnel because of an absent entry.
pub(super) fn restricted(flags: u32, absent: Absent) -> u32 {
    let cidrs = flags & SettingsValue::SERVICE_CIDRS != 0;
    if absent.namespaced || absent.before_cidrs && cidrs {
        flags & !SettingsValue::SYNCED
    } else if absent.destinations {
        flags | SettingsValue::INCOMPLETE
    } else {
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCED: u32 = SettingsValue::SYNCED;
    const BYPASS: u32 = SettingsValue::DIRECT_LOCAL_BYPASS;
    const CIDRS: u32 = SettingsValue::SERVICE_CIDRS;
    const MESH: u32 = SettingsValue::MESH_CIDRS;
    const INCOMPLETE: u32 = SettingsValue::INCOMPLETE;

    #[test]
    fn nothing_is_permitted_before_its_entries_are_there() {
        assert_eq!(during(0, SYNCED | BYPASS), 0);
        assert_eq!(during(SYNCED | BYPASS, SYNCED), SYNCED);
        assert_eq!(during(SYNCED, SYNCED | INCOMPLETE), SYNCED | INCOMPLETE);
        assert_eq!(during(SYNCED | INCOMPLETE, SYNCED), SYNCED | INCOMPLETE);
    }

    #[test]
    fn a_cidr_is_looked_for_as_long_as_there_may_be_one() {
        assert_eq!(during(SYNCED, SYNCED | CIDRS), SYNCED | CIDRS);
        assert_eq!(
            settled(SYNCED | CIDRS | MESH, SYNCED),
            SYNCED | CIDRS | MESH
        );
        assert_eq!(settled(SYNCED | INCOMPLETE, SYNCED), SYNCED);
    }

    #[test]
    fn an_absent_entry_lets_nothing_past() {
        let destinations = Absent {
            destinations: true,
            ..Absent::default()
        };
        assert_eq!(restricted(SYNCED, Absent::default()), SYNCED);
        assert_eq!(restricted(SYNCED, destinations), SYNCED | INCOMPLETE);
        let before_cidrs = Absent {
            before_cidrs: true,
            ..destinations
        };
        assert_eq!(restricted(SYNCED, before_cidrs), SYNCED | INCOMPLETE);
        assert_eq!(restricted(SYNCED | CIDRS, before_cidrs), CIDRS);
        let namespaced = Absent {
            namespaced: true,
            ..before_cidrs
        };
        assert_eq!(restricted(SYNCED, namespaced), 0);
    }
}
