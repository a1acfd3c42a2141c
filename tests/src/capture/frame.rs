//! Ethernet frames, as far as flows need them. Foreign bytes: every read may find too few.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET_HEADER: usize = 14;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One segment or datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) protocol: Protocol,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: &'a [u8],
    /// SYN without ACK.
    pub(super) is_first: bool,
    /// TCP's flags.
    pub(super) flags: u8,
    /// TCP's sequence number.
    pub(super) sequence: Option<u32>,
}

/// Reads a frame; other protocols and later fragments, which have no ports, are nothing.
pub(super) fn parse(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    match frame.get(12..ETHERNET_HEADER)? {
        [0x08, 0x00] => parse_v4(packet),
        [0x86, 0xdd] => parse_v6(packet),
        _ => None,
    }
}

fn parse_v4(packet: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    // What follows the datagram is padding.
    let packet = packet.get(..usize::from(u16_at(packet, 2)?))?;
    if u16_at(packet, 6)? & 0x1fff != 0 {
        return None;
    }
    let address = |at| Some(IpAddr::V4(Ipv4Addr::from(array_at::<4>(packet, at)?)));
    parse_transport(
        *packet.get(9)?,
        address(12)?,
        address(16)?,
        packet.get(header..)?,
    )
}

fn parse_v6(packet: &[u8]) -> Option<Segment<'_>> {
    let length = usize::from(u16_at(packet, 4)?);
    let mut protocol = *packet.get(6)?;
    let mut rest = packet.get(40..40 + length)?;
    let address = |at| Some(IpAddr::V6(Ipv6Addr::from(array_at::<16>(packet, at)?)));
    loop {
        let size = match protocol {
            // Hop-by-hop, routing and destination options say their length in units of 8.
            0 | 43 | 60 => 8 + usize::from(*rest.get(1)?) * 8,
            44 if u16_at(rest, 2)? & 0xfff8 != 0 => return None,
            44 => 8,
            _ => break,
        };
        protocol = *rest.first()?;
        rest = rest.get(size..)?;
    }
    parse_transport(protocol, address(8)?, address(24)?, rest)
}

fn parse_transport(protocol: u8, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Option<Segment<'_>> {
    let (protocol, header, flags) = match protocol {
        6 => {
            let flags = *bytes.get(13)?;
            let header = usize::from(bytes.get(12)? >> 4) * 4;
            (Protocol::Tcp, header, flags)
        }
        17 => (Protocol::Udp, 8, 0),
        _ => return None,
    };
    Some(Segment {
        protocol,
        source: SocketAddr::new(from, u16_at(bytes, 0)?),
        destination: SocketAddr::new(to, u16_at(bytes, 2)?),
        payload: bytes.get(header..)?,
        is_first: flags & (SYN | ACK) == SYN,
        flags,
        sequence: match protocol {
            Protocol::Tcp => array_at(bytes, 4).map(u32::from_be_bytes),
            Protocol::Udp => None,
        },
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP segment with a hop-by-hop header or IPv4 options in front of it.
    fn frame(v6: bool, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 5 << 4, flags];
        tcp.extend([0; 6]);
        tcp.extend(payload);
        let mut frame = vec![0; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8 + tcp.len() as u8, 0, 64]);
            frame.extend(Ipv6Addr::LOCALHOST.octets());
            frame.extend(Ipv6Addr::UNSPECIFIED.octets());
            frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        } else {
            frame.extend([
                0x08,
                0x00,
                0x46,
                0,
                0,
                24 + tcp.len() as u8,
                0,
                0,
                0,
                0,
                64,
                6,
                0,
                0,
            ]);
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 0]);
        }
        frame.extend(tcp);
        frame.extend([0xee; 3]);
        frame
    }

    #[test]
    fn segments_are_found_behind_options() {
        let v4 = frame(false, SYN, b"abc");
        let segment = parse(&v4).expect("it is a segment");
        assert_eq!(segment.source, "10.0.0.1:40000".parse().expect("valid"));
        assert_eq!(segment.destination, "10.0.0.2:80".parse().expect("valid"));
        assert!(segment.is_first);
        assert_eq!(segment.payload, b"abc", "without the frame's padding");
        let v6 = frame(true, SYN | ACK, b"abc");
        let segment = parse(&v6).expect("it is a segment");
        assert_eq!(segment.destination, "[::]:80".parse().expect("valid"));
        assert!(!segment.is_first);
        assert_eq!(segment.payload, b"abc");
    }

    #[test]
    fn short_frames_are_nothing() {
        for v6 in [false, true] {
            let whole = frame(v6, SYN, b"");
            // The padding at the end is not needed.
            for length in 0..whole.len() - 3 {
                assert_eq!(parse(&whole[..length]), None, "{length} bytes");
            }
        }
    }
}
