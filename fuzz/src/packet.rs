//! Any bytes as a packet.

use waysteer_common::packet::{Packet, Parsed, Segment, parse};

struct Bytes<'a>(&'a [u8]);

impl Packet for Bytes<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// The first two bytes are the Ethernet type, the others what is from the network header on.
pub fn run(data: &[u8]) {
    let Some(([high, low], packet)) = data.split_first_chunk::<2>() else {
        return;
    };
    let ethertype = u16::from_be_bytes([*high, *low]);
    let mut segment = Segment::default();
    let parsed = parse(&Bytes(packet), ethertype, &mut segment);
    // Nothing of what was there before counts.
    let mut again = Segment {
        offset: u32::MAX,
        flags: 0xff,
        ..Segment::default()
    };
    assert_eq!(parse(&Bytes(packet), ethertype, &mut again), parsed);
    match parsed {
        Parsed::Tcp | Parsed::FirstFragment | Parsed::Tagged => {
            assert_eq!(segment, again);
            check(packet, &segment);
        }
        Parsed::Other | Parsed::LaterFragment | Parsed::Unreadable => {}
    }
    // A packet that is cut is the same or unreadable: no decision hangs on what is not there.
    if let Some((_, shorter)) = packet.split_last() {
        let mut cut = Segment::default();
        let of_shorter = parse(&Bytes(shorter), ethertype, &mut cut);
        assert!(of_shorter == parsed || of_shorter == Parsed::Unreadable);
    }
}

/// The segment is what stands in the packet where it says.
fn check(packet: &[u8], segment: &Segment) {
    let header = usize::try_from(segment.offset).expect("an offset");
    let tcp = packet.get(header..header + 14).expect("a TCP header");
    assert_eq!(tcp[..2], segment.tuple.source_port.get().to_be_bytes());
    assert_eq!(
        tcp[2..4],
        segment.tuple.destination_port.get().to_be_bytes()
    );
    assert_eq!(tcp[13], segment.flags);
    assert!(header >= 20, "after an IP header");
}
