//! Packets made by hand, in all the shapes that TCP comes in.

use std::net::{IpAddr, SocketAddr};

pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const MORE_FRAGMENTS: u16 = 0x2000;

/// What a program is to make of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP, however it is wrapped.
    Tcp,
    FirstFragment,
    LaterFragment,
    /// With VLAN tags in the packet.
    Tagged,
    /// Cut short, or with more headers than are followed.
    Unreadable,
    /// Not TCP.
    Other,
}

#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) frame: Vec<u8>,
}

/// A segment without options and data, in its plainest shape.
pub(super) fn plain(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let segment = tcp(from, to, flags);
    let packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(_), _) => v4(from.ip(), to.ip(), 0, 0, TCP, &segment),
        (IpAddr::V6(_), _) => v6(from.ip(), to.ip(), TCP, &segment),
    };
    ethernet(ethertype(from), &packet)
}

/// The same segment in every shape of its family.
pub(super) fn shapes(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<Shape> {
    let mut shapes = match from.ip() {
        IpAddr::V4(_) => v4_shapes(from, to, flags),
        IpAddr::V6(_) => v6_shapes(from, to, flags),
    };
    let plain = plain(from, to, flags);
    let packet = plain[14..].to_vec();
    let mut add = |name, kind, frame| shapes.push(Shape { name, kind, frame });
    let tag = |ethertype: u16| {
        let mut tagged = Vec::from([0, 7]);
        tagged.extend(ethertype.to_be_bytes());
        tagged
    };
    let once = [tag(ethertype(from)), packet.clone()].concat();
    add("VLAN", Kind::Tagged, ethernet(VLAN, &once));
    let twice = [tag(VLAN), once].concat();
    add("two VLANs", Kind::Tagged, ethernet(QINQ, &twice));
    add("ARP", Kind::Other, ethernet(0x0806, &packet));
    for missing in [1, 6, 7] {
        let cut = plain[..plain.len() - missing].to_vec();
        // 14 of the 20 bytes of the TCP header are looked at.
        let kind = if missing > 6 {
            Kind::Unreadable
        } else {
            Kind::Tcp
        };
        add("cut in the TCP header", kind, cut);
    }
    // With less than an IP header the kernel does not run a program at all.
    let cut = plain[..plain.len() - 20].to_vec();
    add("cut behind the IP header", Kind::Unreadable, cut);
    add("plain", Kind::Tcp, plain);
    shapes
}

fn v4_shapes(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<Shape> {
    let segment = tcp(from, to, flags);
    let make = |options, fragment, protocol| {
        let packet = v4(from.ip(), to.ip(), options, fragment, protocol, &segment);
        ethernet(IPV4, &packet)
    };
    let mut short = make(0, 0, TCP);
    short[14] = 0x44;
    let mut other_version = make(0, 0, TCP);
    other_version[14] = 0x65;
    [
        ("one word of options", Kind::Tcp, make(1, 0, TCP)),
        ("ten words of options", Kind::Tcp, make(10, 0, TCP)),
        ("do not fragment", Kind::Tcp, make(0, 0x4000, TCP)),
        (
            "first fragment",
            Kind::FirstFragment,
            make(0, MORE_FRAGMENTS, TCP),
        ),
        (
            "first fragment, options",
            Kind::FirstFragment,
            make(3, MORE_FRAGMENTS, TCP),
        ),
        (
            "fragment",
            Kind::LaterFragment,
            make(0, MORE_FRAGMENTS | 3, TCP),
        ),
        ("last fragment", Kind::LaterFragment, make(0, 3, TCP)),
        ("UDP", Kind::Other, make(0, 0, UDP)),
        ("a header length of 16", Kind::Unreadable, short),
        ("another version", Kind::Unreadable, other_version),
    ]
    .map(|(name, kind, frame)| Shape { name, kind, frame })
    .into()
}

fn v6_shapes(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<Shape> {
    let make = |chain: &[u8], fragment: u16, last: u8| {
        let mut packet = Vec::new();
        for (place, kind) in chain.iter().enumerate() {
            let next = chain.get(place + 1).copied().unwrap_or(last);
            packet.extend(extension(*kind, next, fragment));
        }
        packet.extend(tcp(from, to, flags));
        let first = chain.first().copied().unwrap_or(last);
        ethernet(IPV6, &v6(from.ip(), to.ip(), first, &packet))
    };
    let some = [HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION];
    let many = [DESTINATION; 7];
    let [a, b, c, d] = some;
    let mut chains: Vec<_> = [
        ("hop-by-hop options", Kind::Tcp, make(&[a], 0, TCP)),
        ("routing header", Kind::Tcp, make(&[b], 0, TCP)),
        ("destination options", Kind::Tcp, make(&[c], 0, TCP)),
        ("authentication header", Kind::Tcp, make(&[d], 0, TCP)),
        ("four headers", Kind::Tcp, make(&some, 0, TCP)),
        ("six headers", Kind::Tcp, make(&many[..6], 0, TCP)),
        ("seven headers", Kind::Unreadable, make(&many, 0, TCP)),
        (
            "first fragment",
            Kind::FirstFragment,
            make(&[FRAGMENT], 1, TCP),
        ),
        (
            "first, behind options",
            Kind::FirstFragment,
            make(&[a, FRAGMENT], 1, TCP),
        ),
        (
            "a fragment that is all",
            Kind::Tcp,
            make(&[FRAGMENT], 0, TCP),
        ),
        (
            "fragment",
            Kind::LaterFragment,
            make(&[FRAGMENT], 8 | 1, TCP),
        ),
        (
            "last fragment",
            Kind::LaterFragment,
            make(&[FRAGMENT], 8, TCP),
        ),
        ("UDP", Kind::Other, make(&[], 0, UDP)),
        ("UDP behind options", Kind::Other, make(&[c], 0, UDP)),
        ("no next header", Kind::Other, make(&[c], 0, 59)),
    ]
    .map(|(name, kind, frame)| Shape { name, kind, frame })
    .into();
    let cut = make(&[a], 0, TCP)[..14 + 40].to_vec();
    chains.push(Shape {
        name: "cut before its options",
        kind: Kind::Unreadable,
        frame: cut,
    });
    chains
}

/// A header of the least size for its kind; `fragment` is for fragment headers.
fn extension(kind: u8, next: u8, fragment: u16) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    match kind {
        FRAGMENT => [next, 0, high, low, 0, 0, 0, 1].into(),
        AUTHENTICATION => [next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1].into(),
        // With one of padding as its only option.
        _ => [next, 0, 1, 4, 0, 0, 0, 0].into(),
    }
}

fn ethertype(address: SocketAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&[0; 12], ethertype.to_be_bytes().as_slice(), packet].concat()
}

fn v4(from: IpAddr, to: IpAddr, options: u8, fragment: u16, protocol: u8, rest: &[u8]) -> Vec<u8> {
    let size = usize::from(options) * 4 + 20;
    let mut packet = Vec::from([0x45 + options, 0]);
    packet.extend(((size + rest.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    // Options that do nothing.
    packet.resize(size, 1);
    packet.extend(rest);
    packet
}

fn v6(from: IpAddr, to: IpAddr, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::from([0x60, 0, 0, 0]);
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(rest);
    packet
}

fn tcp(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        5 << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    segment
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}
