//! Verdicts, as they were reported.

use std::net::SocketAddr;
use std::time::Duration;

use waysteer_common::abi::event::VerdictEvent;
use waysteer_common::verdict::{Hook, Verdict};
use zerocopy::FromBytes;

use super::{Event, EventError};
use crate::address;

/// One verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictReport {
    /// On the kernel's monotonic clock, in nanoseconds.
    pub at: u64,
    /// Cookie of the pod's netns; 0 where the sender's address is no pod's.
    pub netns: u64,
    pub hook: Hook,
    /// `None` where the hook cannot know it: at `connect()` no source is chosen.
    pub source: Option<SocketAddr>,
    pub destination: SocketAddr,
    pub verdict: Verdict,
}

impl Event for VerdictReport {
    const MAP: &'static str = "EVENTS";
    const PERIOD: Duration = Duration::from_millis(20);

    fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        let event = VerdictEvent::read_from_bytes(bytes).map_err(|_| EventError::Length {
            map: Self::MAP,
            length: bytes.len(),
            expected: size_of::<VerdictEvent>(),
        })?;
        let verdict = Verdict::from_wire(&event.verdict);
        let (Some(hook), Some(verdict)) = (Hook::from_number(event.hook), verdict) else {
            return Err(EventError::Verdict {
                hook: event.hook,
                class: event.verdict.class,
                reason: event.verdict.reason,
            });
        };
        let destination = address::from_wire(event.destination);
        Ok(Self {
            at: event.at.get(),
            netns: event.netns.get(),
            hook,
            source: address::socket_from_wire(event.source, event.source_port.get()),
            destination: SocketAddr::new(destination, event.destination_port.get()),
            verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use waysteer_common::addr::Address;
    use zerocopy::IntoBytes;
    use zerocopy::network_endian::{U16, U64};

    use super::*;

    fn event() -> VerdictEvent {
        VerdictEvent {
            at: U64::new(7),
            netns: U64::new(8),
            source: Address::UNSPECIFIED,
            destination: Address::from_v4([10, 0, 0, 9]),
            source_port: U16::ZERO,
            destination_port: U16::new(80),
            hook: Hook::Connect.number(),
            padding: [0; 3],
            verdict: Verdict::NONE.to_wire(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<VerdictReport, EventError> {
        VerdictReport::decode(bytes)
    }

    #[test]
    fn decodes_what_the_kernel_writes() {
        let report = decode(event().as_bytes()).expect("a report");
        assert_eq!(report.destination, SocketAddr::from(([10, 0, 0, 9], 80)));
        assert_eq!((report.at, report.netns, report.source), (7, 8, None));
        assert_eq!(
            (report.hook, report.verdict),
            (Hook::Connect, Verdict::NONE)
        );
    }

    #[test]
    fn refuses_other_lengths_and_numbers() {
        let bytes = event();
        let short = &bytes.as_bytes()[1..];
        assert!(matches!(decode(short), Err(EventError::Length { .. })));
        assert!(matches!(
            decode(&[]),
            Err(EventError::Length { length: 0, .. })
        ));
        let mut unknown = event();
        unknown.hook = 99;
        assert!(matches!(
            decode(unknown.as_bytes()),
            Err(EventError::Verdict { hook: 99, .. })
        ));
        let mut unknown = event();
        unknown.verdict.reason = 200;
        assert!(matches!(
            decode(unknown.as_bytes()),
            Err(EventError::Verdict { reason: 200, .. })
        ));
    }
}
