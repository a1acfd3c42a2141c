use proptest::prelude::*;

use super::{
    HeadV4, HeadV6, TUPLE_V4, TUPLE_V6, flags_v4, flags_v6, goes_elsewhere_v4, goes_elsewhere_v6,
    segment_v4, segment_v6,
};
use crate::packet::tests::Bytes;
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Parsed, Segment, parse};

fn parsed(bytes: &[u8], ethertype: u16) -> (Parsed, Segment) {
    let mut segment = Segment::default();
    (parse(&Bytes(bytes), ethertype, &mut segment), segment)
}

/// Random bytes, of which the few that make the shape are often right.
fn head<const N: usize>(right: &'static [(usize, u8)]) -> impl Strategy<Value = [u8; N]> {
    let wrong = proptest::option::weighted(0.4, (0..right.len(), any::<u8>()));
    (proptest::collection::vec(any::<u8>(), N), wrong).prop_map(move |(bytes, wrong)| {
        let mut head: [u8; N] = bytes.try_into().expect("as many");
        for (at, byte) in right {
            head[*at] = *byte;
        }
        if let Some((which, byte)) = wrong {
            head[right[which].0] = byte;
        }
        head
    })
}

proptest! {
    /// Whatever is plain is what the parser makes of it, and the parser's tuple lies where the
    /// kernel will look for it.
    #[test]
    fn plain_v4_is_what_the_parser_says(
        head in head::<34>(&[(0, 0x45), (6, 0x40), (7, 0), (9, 6), (16, 127)]),
    ) {
        let head: HeadV4 = head;
        let (kind, segment) = parsed(&head, ETHERTYPE_IPV4);
        if let Some(flags) = flags_v4(&head) {
            prop_assert_eq!((kind, segment.flags, segment.offset), (Parsed::Tcp, flags, 20));
            prop_assert_eq!(segment_v4(&head, flags), segment);
            let tuple = [
                &segment.tuple.source.v4_octets()[..],
                &segment.tuple.destination.v4_octets(),
                &segment.tuple.source_port.to_bytes(),
                &segment.tuple.destination_port.to_bytes(),
            ]
            .concat();
            prop_assert_eq!(tuple.as_slice(), &head[TUPLE_V4..TUPLE_V4 + 12]);
            if goes_elsewhere_v4(&head) {
                prop_assert!(!segment.tuple.destination.is_loopback());
            }
        } else {
            // Options are the one thing that both know and only the parser follows.
            prop_assert!(kind != Parsed::Tcp || head[0] != 0x45);
        }
    }

    #[test]
    fn plain_v6_is_what_the_parser_says(
        head in head::<54>(&[(0, 0x60), (6, 6), (24, 0)]),
    ) {
        let head: HeadV6 = head;
        let (kind, segment) = parsed(&head, ETHERTYPE_IPV6);
        if let Some(flags) = flags_v6(&head) {
            prop_assert_eq!((kind, segment.flags, segment.offset), (Parsed::Tcp, flags, 40));
            prop_assert_eq!(segment_v6(&head, flags), segment);
            let tuple = [
                &segment.tuple.source.octets()[..],
                &segment.tuple.destination.octets(),
                &segment.tuple.source_port.to_bytes(),
                &segment.tuple.destination_port.to_bytes(),
            ]
            .concat();
            prop_assert_eq!(tuple.as_slice(), &head[TUPLE_V6..TUPLE_V6 + 36]);
            if goes_elsewhere_v6(&head) {
                prop_assert!(!segment.tuple.destination.is_loopback());
            }
        } else {
            prop_assert!(kind != Parsed::Tcp || head[6] != 6);
        }
    }
}

#[test]
fn loopback_does_not_go_elsewhere() {
    let mut v4 = [0; 34];
    v4[TUPLE_V4 + 4..TUPLE_V4 + 8].copy_from_slice(&[127, 0, 0, 1]);
    assert!(!goes_elsewhere_v4(&v4));
    let mut v6 = [0; 54];
    v6[TUPLE_V6 + 31] = 1;
    assert!(!goes_elsewhere_v6(&v6));
    v6[TUPLE_V6 + 26..TUPLE_V6 + 32].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    assert!(!goes_elsewhere_v6(&v6));
}
