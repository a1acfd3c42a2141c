//! A packet made by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const TCP: u8 = 6;
const SYN: u8 = 2;
const PORT: u16 = 40_000;

/// A SYN without options, in an Ethernet frame. Nobody looks at its checksums.
pub(super) fn syn(from: Ipv4Addr, to: SocketAddr) -> Vec<u8> {
    let destination = match to.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let mut frame = vec![0; 12];
    frame.extend(ETHERTYPE_IPV4);
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0]);
    frame.extend(from.octets());
    frame.extend(destination.octets());
    frame.extend(PORT.to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}
