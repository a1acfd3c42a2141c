//! What the agent may say, and when.

use std::collections::BTreeSet;

use super::wire::{self, Request};
use super::{LONGEST, Packet};

/// What a ztunnel ends for, or would get wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection's requests so far.
#[derive(Debug, Default)]
pub struct Rules {
    is_snapshot_over: bool,
    /// What the snapshot has named.
    named: BTreeSet<String>,
}

impl Rules {
    /// Looks at a packet, and reads it.
    pub fn check(&mut self, packet: &Packet) -> Result<Request, Violation> {
        let Packet {
            bytes,
            descriptors,
            is_cut,
        } = packet;
        let fail = |text: String| Err(Violation(text));
        if *is_cut || bytes.len() > LONGEST {
            return fail(format!("a packet of more than {LONGEST} bytes"));
        }
        let request = wire::read_request(bytes)
            .map_err(|error| Violation(format!("not a request: {error}: {bytes:02x?}")))?;
        if request.uid() == Some("") {
            return fail(format!("without uid: {request:?}"));
        }
        let wanted = usize::from(matches!(request, Request::Add { .. }));
        if descriptors.len() != wanted {
            return fail(format!(
                "{} descriptors with {request:?}",
                descriptors.len()
            ));
        }
        match &request {
            Request::Add { info: None, .. } => {
                return fail(format!("an add without workload info: {request:?}"));
            }
            Request::Add { uid, .. } | Request::Keep { uid } if !self.is_snapshot_over => {
                if !self.named.insert(uid.clone()) {
                    return fail(format!("the snapshot names {uid} twice"));
                }
            }
            Request::Keep { uid } => return fail(format!("a keep of {uid} after the snapshot")),
            Request::SnapshotSent if self.is_snapshot_over => {
                return fail("a second snapshot sent".to_owned());
            }
            Request::SnapshotSent => self.is_snapshot_over = true,
            // A pod may go, and come again, while the snapshot is being sent.
            Request::Del { uid } => {
                self.named.remove(uid);
            }
            Request::Add { .. } => {}
        }
        Ok(request)
    }

    pub fn is_snapshot_over(&self) -> bool {
        self.is_snapshot_over
    }

    /// The uids that the snapshot names, so far.
    pub fn named(&self) -> &BTreeSet<String> {
        &self.named
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    const ADD: &[u8] = b"\x0a\x08\x0a\x01u\x12\x03\x0a\x01n";
    const BARE_ADD: &[u8] = b"\x0a\x03\x0a\x01u";
    const KEEP: &[u8] = b"\x2a\x03\x0a\x01k";
    const DEL: &[u8] = b"\x12\x03\x12\x01u";
    const SENT: &[u8] = b"\x1a\x00";

    fn packet(bytes: &[u8], descriptors: usize) -> Packet {
        let open = |_| OwnedFd::from(File::open("/dev/null").expect("it is there"));
        Packet {
            bytes: bytes.to_vec(),
            descriptors: (0..descriptors).map(open).collect(),
            is_cut: false,
        }
    }

    #[test]
    fn the_order_of_a_connection() {
        let mut rules = Rules::default();
        for (bytes, descriptors) in [(ADD, 1), (KEEP, 0), (SENT, 0), (ADD, 1), (DEL, 0)] {
            let checked = rules.check(&packet(bytes, descriptors));
            assert!(checked.is_ok(), "{checked:?}");
        }
    }

    #[test]
    fn what_a_ztunnel_ends_for() {
        let after = |before: &[(&[u8], usize)], bytes: &[u8], descriptors: usize| {
            let mut rules = Rules::default();
            for (bytes, descriptors) in before {
                rules.check(&packet(bytes, *descriptors)).expect("allowed");
            }
            rules.check(&packet(bytes, descriptors))
        };
        assert!(after(&[(SENT, 0)], SENT, 0).is_err(), "a second snapshot");
        assert!(after(&[(SENT, 0)], KEEP, 0).is_err(), "a late keep");
        assert!(after(&[(ADD, 1)], ADD, 1).is_err(), "twice in a snapshot");
        assert!(after(&[], ADD, 0).is_err(), "no descriptor");
        assert!(after(&[], ADD, 2).is_err(), "two descriptors");
        assert!(after(&[], KEEP, 1).is_err(), "a keep with a descriptor");
        assert!(after(&[], BARE_ADD, 1).is_err(), "no info");
        assert!(after(&[], &[0; LONGEST + 1], 0).is_err(), "too long");
    }
}
