//! Records of the `EVENTS` ring buffer, and the question of the `explain` program.

use zerocopy::network_endian::{U16, U64};

use super::value::VerdictValue;
use super::wire;
use crate::addr::Address;

wire! {
    /// One verdict.
    pub struct VerdictEvent {
        /// `bpf_ktime_get_ns`.
        pub at: U64,
        pub netns: U64,
        /// Unspecified where the hook cannot know it yet: at `connect()` no source is chosen.
        pub source: Address,
        pub destination: Address,
        pub source_port: U16,
        pub destination_port: U16,
        /// [`crate::verdict::Hook`].
        pub hook: u8,
        pub padding: [u8; 3],
        pub verdict: VerdictValue,
    }
}

wire! {
    /// Stands in the packet that `explain` is run with, behind [`EXPLAIN_OFFSET`] bytes; the
    /// program writes a [`VerdictValue`] to the same place.
    pub struct ExplainRequest {
        pub netns: U64,
        pub destination: Address,
        pub port: U16,
        pub padding: [u8; 6],
    }
}

/// A test packet must begin with an Ethernet header.
pub const EXPLAIN_OFFSET: u32 = 14;
