//! The shape that nearly all packets have, so that one read tells it: TCP right behind a network
//! header without options, not a fragment. What has another shape is for [`super::parse`].

use super::PROTOCOL_TCP;

/// From the network header to the TCP flags.
pub type HeadV4 = [u8; 34];
/// The same.
pub type HeadV6 = [u8; 54];

/// Where source, destination and both ports lie in a row, as the kernel's look-ups want them.
pub const TUPLE_V4: usize = 12;
/// The same.
pub const TUPLE_V6: usize = 8;

const V4_WITHOUT_OPTIONS: u8 = 0x45;

/// The TCP flags.
#[inline(always)]
pub fn flags_v4(head: &HeadV4) -> Option<u8> {
    let [
        first,
        _,
        _,
        _,
        _,
        _,
        fragment_high,
        fragment_low,
        _,
        protocol,
        ..,
        flags,
    ] = *head;
    // Without the bit that only forbids to take it apart.
    let is_whole = fragment_high & 0x3f == 0 && fragment_low == 0;
    (first == V4_WITHOUT_OPTIONS && is_whole && protocol == PROTOCOL_TCP).then_some(flags)
}

/// The TCP flags.
#[inline(always)]
pub fn flags_v6(head: &HeadV6) -> Option<u8> {
    let [first, _, _, _, _, _, next, .., flags] = *head;
    (first >> 4 == 6 && next == PROTOCOL_TCP).then_some(flags)
}

/// Whether the destination is surely not loopback.
#[inline(always)]
pub fn goes_elsewhere_v4(head: &HeadV4) -> bool {
    head[TUPLE_V4 + 4] != 127
}

/// Whether the destination is surely not loopback, v4-mapped or not.
#[inline(always)]
pub fn goes_elsewhere_v6(head: &HeadV6) -> bool {
    head[TUPLE_V6 + 16] != 0
}

#[cfg(test)]
mod tests;
