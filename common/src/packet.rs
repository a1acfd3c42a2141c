//! From an Ethernet type and bytes to a TCP segment, or to the reason why not.
//!
//! Offsets count from the network header. All loops have constant bounds.

pub mod plain;

use zerocopy::network_endian::U16;

use crate::abi::key::TupleKey;
use crate::addr::Address;

/// Read access to a packet from its network header on.
pub trait Packet {
    /// `N` bytes at `offset`, or `None` past the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const PROTOCOL_TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// More extension headers than any sane stack sends.
const MAX_EXTENSION_HEADERS: usize = 6;
const MAX_VLAN_TAGS: usize = 2;

/// The part of a TCP segment that decides what happens to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub tuple: TupleKey,
    /// Of the TCP header, from the network header.
    pub offset: u32,
    pub flags: u8,
}

impl Segment {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    /// The first segment of a connection.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        Self::is_opening(self.flags)
    }

    /// The same, of nothing but the flags.
    #[inline(always)]
    pub fn is_opening(flags: u8) -> bool {
        flags & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    #[inline(always)]
    pub fn is_rst(&self) -> bool {
        self.flags & Self::RST != 0
    }
}

/// What a packet turned out to be. One value and no flags besides: the verifier follows every
/// combination through all that comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// TCP; the segment is filled in.
    Tcp,
    /// The first of several fragments of a TCP segment; the segment is filled in.
    FirstFragment,
    /// TCP inside one or two VLAN tags; the segment is filled in.
    Tagged,
    /// Not IP, or not TCP: not ours.
    Other,
    /// A fragment after the first; it says nothing of its ports, and is nothing without the first.
    LaterFragment,
    /// Too short, too many headers, or malformed.
    Unreadable,
}

/// Parses from the network header; `ethertype` as the driver or the kernel has it. `segment` is
/// meaningful only where [`Parsed`] says so.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, ethertype: u16, segment: &mut Segment) -> Parsed {
    let mut ethertype = ethertype;
    let mut offset = 0;
    let mut kind = Parsed::Tcp;
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some([_, _, high, low]) = packet.load(offset) else {
            return Parsed::Unreadable;
        };
        ethertype = u16::from_be_bytes([high, low]);
        offset += 4;
        kind = Parsed::Tagged;
    }
    let header = match ethertype {
        ETHERTYPE_IPV4 => parse_v4(packet, offset, segment),
        ETHERTYPE_IPV6 => parse_v6(packet, offset, segment),
        _ => return Parsed::Other,
    };
    match header {
        Ok((offset, false)) => parse_tcp(packet, offset, kind, segment),
        Ok((offset, true)) => parse_tcp(packet, offset, Parsed::FirstFragment, segment),
        Err(parsed) => parsed,
    }
}

/// The offset of the TCP header, and whether this is the first of several fragments.
#[inline(always)]
fn parse_v4<P: Packet>(
    packet: &P,
    offset: u32,
    segment: &mut Segment,
) -> Result<(u32, bool), Parsed> {
    let header = packet.load::<20>(offset).ok_or(Parsed::Unreadable)?;
    let [
        version,
        _,
        _,
        _,
        _,
        _,
        fragment_high,
        fragment_low,
        _,
        protocol,
        _,
        _,
        addresses @ ..,
    ] = header;
    if version >> 4 != 4 {
        return Err(Parsed::Unreadable);
    }
    if protocol != PROTOCOL_TCP {
        return Err(Parsed::Other);
    }
    let header_length = u32::from(version & 0x0f) * 4;
    if header_length < 20 {
        return Err(Parsed::Unreadable);
    }
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    if fragment & 0x1fff != 0 {
        return Err(Parsed::LaterFragment);
    }
    let [a, b, c, d, e, f, g, h] = addresses;
    segment.tuple.source = Address::from_v4([a, b, c, d]);
    segment.tuple.destination = Address::from_v4([e, f, g, h]);
    Ok((offset + header_length, fragment & 0x2000 != 0))
}

/// The offset of the TCP header, and whether this is the first of several fragments.
#[inline(always)]
fn parse_v6<P: Packet>(
    packet: &P,
    offset: u32,
    segment: &mut Segment,
) -> Result<(u32, bool), Parsed> {
    let [version, _, _, _, _, _, mut next, _] = packet.load(offset).ok_or(Parsed::Unreadable)?;
    if version >> 4 != 6 {
        return Err(Parsed::Unreadable);
    }
    segment.tuple.source = Address::from_v6(packet.load(offset + 8).ok_or(Parsed::Unreadable)?);
    segment.tuple.destination =
        Address::from_v6(packet.load(offset + 24).ok_or(Parsed::Unreadable)?);
    let mut offset = offset + 40;
    let mut fragment = false;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let unit = match next {
            PROTOCOL_TCP => return Ok((offset, fragment)),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT => 8,
            AUTHENTICATION => 4,
            _ => return Err(Parsed::Other),
        };
        let [following, length, high, low] = packet.load(offset).ok_or(Parsed::Unreadable)?;
        offset += if next == FRAGMENT {
            let position = u16::from_be_bytes([high, low]);
            if position & 0xfff8 != 0 {
                return Err(Parsed::LaterFragment);
            }
            fragment |= position & 1 != 0;
            8
        } else if unit == 4 {
            (u32::from(length) + 2) * 4
        } else {
            (u32::from(length) + 1) * 8
        };
        next = following;
    }
    Err(Parsed::Unreadable)
}

#[inline(always)]
fn parse_tcp<P: Packet>(packet: &P, offset: u32, kind: Parsed, segment: &mut Segment) -> Parsed {
    let Some([a, b, c, d, _, _, _, _, _, _, _, _, _, flags]) = packet.load(offset) else {
        return Parsed::Unreadable;
    };
    segment.tuple.source_port = U16::from_bytes([a, b]);
    segment.tuple.destination_port = U16::from_bytes([c, d]);
    segment.tuple.padding = [0; 4];
    segment.offset = offset;
    segment.flags = flags;
    kind
}

#[cfg(test)]
mod tests;
