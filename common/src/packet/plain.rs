//! The shape that nearly all packets have, so that one read tells it: TCP right behind a network
//! header without options, not a fragment. What has another shape is for [`super::parse`].

use zerocopy::network_endian::U16;

use super::{PROTOCOL_TCP, Segment};
use crate::abi::key::TupleKey;
use crate::addr::Address;

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

/// What [`super::parse`] would make of it, once it is known to have flags.
#[inline(always)]
pub fn segment_v4(head: &HeadV4, flags: u8) -> Segment {
    let [_, _, _, _, _, _, _, _, _, _, _, _, rest @ ..] = *head;
    let [a, b, c, d, e, f, g, h, ports @ ..] = rest;
    segment(
        Address::from_v4([a, b, c, d]),
        Address::from_v4([e, f, g, h]),
        ports,
        20,
        flags,
    )
}

/// The same.
#[inline(always)]
pub fn segment_v6(head: &HeadV6, flags: u8) -> Segment {
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&head[TUPLE_V6..TUPLE_V6 + 16]);
    destination.copy_from_slice(&head[TUPLE_V6 + 16..TUPLE_V6 + 32]);
    let [.., a, b, c, d, e, f, g, h, i, j, k, l, m, n] = *head;
    segment(
        Address::from_v6(source),
        Address::from_v6(destination),
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n],
        40,
        flags,
    )
}

/// `tcp` is the beginning of the TCP header.
#[inline(always)]
fn segment(
    source: Address,
    destination: Address,
    tcp: [u8; 14],
    offset: u32,
    flags: u8,
) -> Segment {
    let [a, b, c, d, ..] = tcp;
    Segment {
        tuple: TupleKey {
            source,
            destination,
            source_port: U16::from_bytes([a, b]),
            destination_port: U16::from_bytes([c, d]),
            padding: [0; 4],
        },
        offset,
        flags,
    }
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
