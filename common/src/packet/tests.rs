use std::vec::Vec;

use proptest::prelude::*;

use super::{
    AUTHENTICATION, DESTINATION_OPTIONS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ,
    ETHERTYPE_VLAN, FRAGMENT, HOP_BY_HOP, MAX_EXTENSION_HEADERS, Packet, Parsed, ROUTING, Segment,
};
use crate::addr::Address;

pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Packet for Bytes<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut bytes = Vec::from([0x9c, 0x40, 0x00, 0x50]);
    bytes.extend([0; 9]);
    bytes.push(flags);
    bytes.extend([0; 6]);
    bytes
}

fn v4(options: usize, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from([0x45 + options as u8, 0, 0, 0, 0, 0]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(std::vec![1; options * 4]);
    bytes.extend(payload);
    bytes
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from([0x60, 0, 0, 0, 0, 0, next, 64]);
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(rest);
    bytes
}

fn segment_of(bytes: &[u8], ethertype: u16, kind: Parsed) -> Segment {
    let mut segment = Segment::default();
    assert_eq!(super::parse(&Bytes(bytes), ethertype, &mut segment), kind);
    segment
}

fn parse(packet: &Bytes<'_>, ethertype: u16) -> Parsed {
    super::parse(packet, ethertype, &mut Segment::default())
}

#[test]
fn plain_v4_and_v6() {
    let segment = segment_of(
        &v4(0, 0, 6, &tcp(Segment::SYN)),
        ETHERTYPE_IPV4,
        Parsed::Tcp,
    );
    assert_eq!(segment.tuple.source, Address::from_v4([10, 0, 0, 1]));
    assert_eq!(segment.tuple.destination, Address::from_v4([10, 0, 0, 2]));
    assert_eq!(
        (
            segment.tuple.source_port.get(),
            segment.tuple.destination_port.get()
        ),
        (40000, 80)
    );
    assert!(segment.is_syn());

    let segment = segment_of(
        &v6(6, &tcp(Segment::SYN | Segment::ACK)),
        ETHERTYPE_IPV6,
        Parsed::Tcp,
    );
    assert_eq!(segment.tuple.destination_port.get(), 80);
    assert!(!segment.is_syn());
}

#[test]
fn v4_options_are_skipped() {
    for options in 1..=10 {
        let segment = segment_of(
            &v4(options, 0, 6, &tcp(Segment::SYN)),
            ETHERTYPE_IPV4,
            Parsed::Tcp,
        );
        assert_eq!(
            segment.tuple.destination_port.get(),
            80,
            "{options} words of options"
        );
    }
    let mut short = v4(0, 0, 6, &tcp(Segment::SYN));
    short[0] = 0x44;
    assert_eq!(parse(&Bytes(&short), ETHERTYPE_IPV4), Parsed::Unreadable);
}

#[test]
fn fragments() {
    let first = v4(0, 0x2000, 6, &tcp(Segment::SYN));
    assert!(segment_of(&first, ETHERTYPE_IPV4, Parsed::FirstFragment).is_syn());
    let later = v4(0, 0x0010, 6, &tcp(Segment::SYN));
    assert_eq!(parse(&Bytes(&later), ETHERTYPE_IPV4), Parsed::LaterFragment);

    let mut header = Vec::from([6, 0, 0, 1, 0, 0, 0, 0]);
    header.extend(tcp(Segment::SYN));
    assert!(
        segment_of(
            &v6(FRAGMENT, &header),
            ETHERTYPE_IPV6,
            Parsed::FirstFragment
        )
        .is_syn()
    );
    header[3] = 8;
    assert_eq!(
        parse(&Bytes(&v6(FRAGMENT, &header)), ETHERTYPE_IPV6),
        Parsed::LaterFragment
    );
}

#[test]
fn v6_extension_headers_are_walked_to_a_bound() {
    let option = |next: u8| Vec::from([next, 0, 0, 0, 0, 0, 0, 0]);
    let mut chain = option(ROUTING);
    chain.extend(option(DESTINATION_OPTIONS));
    chain.extend(option(6));
    chain.extend(tcp(Segment::SYN));
    assert!(segment_of(&v6(HOP_BY_HOP, &chain), ETHERTYPE_IPV6, Parsed::Tcp).is_syn());

    let mut authentication = Vec::from([6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    authentication.extend(tcp(Segment::SYN));
    assert!(
        segment_of(
            &v6(AUTHENTICATION, &authentication),
            ETHERTYPE_IPV6,
            Parsed::Tcp
        )
        .is_syn()
    );

    let mut long = Vec::new();
    for _ in 0..MAX_EXTENSION_HEADERS {
        long.extend(option(DESTINATION_OPTIONS));
    }
    long.extend(option(6));
    long.extend(tcp(Segment::SYN));
    assert_eq!(
        parse(&Bytes(&v6(DESTINATION_OPTIONS, &long)), ETHERTYPE_IPV6),
        Parsed::Unreadable
    );
}

#[test]
fn vlan_tags_are_seen_through_and_told() {
    let mut tagged = Vec::from([0, 7, 0x08, 0x00]);
    tagged.extend(v4(0, 0, 6, &tcp(Segment::SYN)));
    assert!(segment_of(&tagged, ETHERTYPE_VLAN, Parsed::Tagged).is_syn());
    let mut twice = Vec::from([0, 9, 0x81, 0x00]);
    twice.extend(tagged);
    assert!(segment_of(&twice, ETHERTYPE_QINQ, Parsed::Tagged).is_syn());
}

#[test]
fn what_is_not_tcp_is_not_ours() {
    assert_eq!(
        parse(&Bytes(&v4(0, 0, 17, &[0; 8])), ETHERTYPE_IPV4),
        Parsed::Other
    );
    assert_eq!(
        parse(&Bytes(&v6(58, &[0; 8])), ETHERTYPE_IPV6),
        Parsed::Other
    );
    assert_eq!(parse(&Bytes(&[0; 28]), 0x0806), Parsed::Other);
}

proptest! {
    #[test]
    fn never_panics_and_never_reads_past_the_end(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ethertype in prop_oneof![
            Just(ETHERTYPE_IPV4), Just(ETHERTYPE_IPV6), Just(ETHERTYPE_VLAN), any::<u16>()
        ],
    ) {
        let _ = parse(&Bytes(&bytes), ethertype);
    }

    #[test]
    fn a_truncated_segment_is_unreadable(length in 0usize..34) {
        let whole = v4(0, 0, 6, &tcp(Segment::SYN));
        prop_assert_eq!(parse(&Bytes(&whole[..length]), ETHERTYPE_IPV4), Parsed::Unreadable);
    }
}
