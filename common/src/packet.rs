//! From an Ethernet type and bytes to a TCP segment, or to the reason why not.
//!
//! Offsets count from the network header. All loops have constant bounds.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub tuple: TupleKey,
    pub flags: u8,
    /// The first fragment of several.
    pub fragment: bool,
    /// Inside one or two VLAN tags.
    pub vlan: bool,
}

impl Segment {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    /// The first segment of a connection.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    #[inline(always)]
    pub fn is_rst(&self) -> bool {
        self.flags & Self::RST != 0
    }
}

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Tcp(Segment),
    /// Not IP, or not TCP: not ours.
    Other,
    /// A fragment after the first; it says nothing of its ports, and is nothing without the first.
    LaterFragment,
    /// Too short, too many headers, or malformed.
    Unreadable,
}

/// Parses from the network header; `ethertype` as the driver or the kernel has it.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, ethertype: u16) -> Parsed {
    let mut ethertype = ethertype;
    let mut offset = 0;
    let mut vlan = false;
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some([_, _, high, low]) = packet.load(offset) else {
            return Parsed::Unreadable;
        };
        ethertype = u16::from_be_bytes([high, low]);
        offset += 4;
        vlan = true;
    }
    match ethertype {
        ETHERTYPE_IPV4 => parse_v4(packet, offset, vlan),
        ETHERTYPE_IPV6 => parse_v6(packet, offset, vlan),
        _ => Parsed::Other,
    }
}

#[inline(always)]
fn parse_v4<P: Packet>(packet: &P, offset: u32, vlan: bool) -> Parsed {
    let Some(header) = packet.load::<20>(offset) else {
        return Parsed::Unreadable;
    };
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
        return Parsed::Unreadable;
    }
    if protocol != PROTOCOL_TCP {
        return Parsed::Other;
    }
    let header_length = u32::from(version & 0x0f) * 4;
    if header_length < 20 {
        return Parsed::Unreadable;
    }
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    if fragment & 0x1fff != 0 {
        return Parsed::LaterFragment;
    }
    let [a, b, c, d, e, f, g, h] = addresses;
    segment(
        packet,
        offset + header_length,
        Address::from_v4([a, b, c, d]),
        Address::from_v4([e, f, g, h]),
        fragment & 0x2000 != 0,
        vlan,
    )
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P, offset: u32, vlan: bool) -> Parsed {
    let Some([version, _, _, _, _, _, mut next, _]) = packet.load(offset) else {
        return Parsed::Unreadable;
    };
    let Some(source) = packet.load::<16>(offset + 8) else {
        return Parsed::Unreadable;
    };
    let Some(destination) = packet.load::<16>(offset + 24) else {
        return Parsed::Unreadable;
    };
    if version >> 4 != 6 {
        return Parsed::Unreadable;
    }
    let mut offset = offset + 40;
    let mut fragment = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        match next {
            PROTOCOL_TCP => {
                return segment(
                    packet,
                    offset,
                    Address::from_v6(source),
                    Address::from_v6(destination),
                    fragment,
                    vlan,
                );
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let Some([following, length]) = packet.load(offset) else {
                    return Parsed::Unreadable;
                };
                next = following;
                offset += (u32::from(length) + 1) * 8;
            }
            AUTHENTICATION => {
                let Some([following, length]) = packet.load(offset) else {
                    return Parsed::Unreadable;
                };
                next = following;
                offset += (u32::from(length) + 2) * 4;
            }
            FRAGMENT => {
                let Some([following, _, high, low]) = packet.load(offset) else {
                    return Parsed::Unreadable;
                };
                let position = u16::from_be_bytes([high, low]);
                if position & 0xfff8 != 0 {
                    return Parsed::LaterFragment;
                }
                fragment |= position & 1 != 0;
                next = following;
                offset += 8;
            }
            _ => return Parsed::Other,
        }
    }
    Parsed::Unreadable
}

#[inline(always)]
fn segment<P: Packet>(
    packet: &P,
    offset: u32,
    source: Address,
    destination: Address,
    fragment: bool,
    vlan: bool,
) -> Parsed {
    let Some([a, b, c, d, _, _, _, _, _, _, _, _, _, flags]) = packet.load(offset) else {
        return Parsed::Unreadable;
    };
    let tuple = TupleKey::new(
        source,
        u16::from_be_bytes([a, b]),
        destination,
        u16::from_be_bytes([c, d]),
    );
    Parsed::Tcp(Segment {
        tuple,
        flags,
        fragment,
        vlan,
    })
}

#[cfg(test)]
mod tests;
