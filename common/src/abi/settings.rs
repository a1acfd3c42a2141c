//! What concerns the whole node.

use zerocopy::network_endian::{U32, U64};

use super::{flag, wire};

wire! {
    /// The only entry of `SETTINGS`. All zero until the agent has written it, which steers
    /// everything.
    pub struct SettingsValue {
        pub flags: U32,
        pub padding: [u8; 4],
        /// Cookie of the netns whose sockets are host processes, such as the kubelet's probes.
        pub host_netns: U64,
    }
}

impl SettingsValue {
    /// Steers everything.
    pub const NONE: Self = Self {
        flags: U32::ZERO,
        padding: [0; 4],
        host_netns: U64::ZERO,
    };

    flag!(/** A complete snapshot of the source is in the maps. */ SYNCED = 0);
    flag!(/** `direct_local = "bypass"`. */ DIRECT_LOCAL_BYPASS = 1);
    flag!(/** `SERVICE_CIDRS` is not empty. */ SERVICE_CIDRS = 2);
    flag!(/** `MESH_CIDRS` is not empty. */ MESH_CIDRS = 3);
    flag!(/** A rejected entry may own any address: nothing unknown is bypassed. */ INCOMPLETE = 4);
    flag!(/** Somebody reads `EVENTS` and `DROPS`. */ EVENTS = 5);
    flag!(/** Policies are being written that forbid what was allowed: no pod is bypassed to. */ POLICIES_CHANGE = 6);
}
