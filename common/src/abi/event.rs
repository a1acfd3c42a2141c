//! Records of the ring buffers `EVENTS` and `DROPS`, and the question of the `explain` program.

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
    /// A packet that was held or dropped, or a connection that was refused.
    pub struct DropEvent {
        /// `bpf_ktime_get_ns`.
        pub at: U64,
        /// Of the pod; 0 where neither the hook nor the packet's address says which it is.
        pub netns: U64,
        /// Unspecified where it is not known: at `connect()`, or of a packet that cannot be read.
        pub source: Address,
        /// Unspecified where the packet cannot be read so far.
        pub destination: Address,
        pub source_port: U16,
        pub destination_port: U16,
        /// [`crate::verdict::PacketAction`].
        pub action: u8,
        /// [`crate::verdict::Hook`].
        pub hook: u8,
        pub padding: [u8; 2],
    }
}

wire! {
    /// Stands in the packet that `explain` is run with, behind [`EXPLAIN_OFFSET`] bytes; the
    /// program writes a [`VerdictValue`] to the same place, and a [`TraceEntry`] for each look-up
    /// from [`TRACE_OFFSET`] on.
    pub struct ExplainRequest {
        pub netns: U64,
        pub destination: Address,
        pub port: U16,
        pub padding: [u8; 6],
    }
}

wire! {
    /// A look-up of the classifier, as it was made for `explain`.
    pub struct TraceEntry {
        /// [`crate::verdict::Table`]; 0 where no more were made.
        pub table: u8,
        /// 1 where there was an entry.
        pub found: u8,
        pub padding: [u8; 6],
        /// The key, and zeros behind it.
        pub key: [u8; 24],
        /// The entry, and zeros behind it.
        pub value: [U64; 7],
    }
}

impl TraceEntry {
    /// Where the key is.
    pub const KEY: u32 = 8;
    /// Where the value is.
    pub const VALUE: u32 = 32;
}

/// A test packet must begin with an Ethernet header.
pub const EXPLAIN_OFFSET: u32 = 14;
pub const TRACE_OFFSET: u32 = EXPLAIN_OFFSET + size_of::<VerdictValue>() as u32;
/// More look-ups than a verdict takes; what has no room is not told.
pub const TRACE_ENTRIES: usize = 24;
