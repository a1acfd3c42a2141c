//! The stream of verdicts.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use thiserror::Error;
use waysteer_common::abi::event::VerdictEvent;
use waysteer_common::verdict::{Hook, Verdict};
use zerocopy::FromBytes;

use crate::address;
use crate::kernel::maps::OpenError;

/// One verdict, as it was reported.
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

#[derive(Debug, Error)]
pub enum EventError {
    #[error("an event of {length} bytes, where {} are expected", size_of::<VerdictEvent>())]
    Length { length: usize },
    #[error("an event with hook {hook}, class {class} and reason {reason}, not all of which exist")]
    Unknown { hook: u8, class: u8, reason: u8 },
}

/// The ring buffer that nobody reads yet.
pub struct Events {
    ring: RingBuf<MapData>,
}

/// The ring buffer's one reader. Events that come while it is full are counted as lost.
pub struct EventStream {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(in crate::kernel) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        let map = take("EVENTS").ok_or(OpenError::Missing { map: "EVENTS" })?;
        let ring = map.try_into().map_err(|source| OpenError::Layout {
            map: "EVENTS",
            source,
        })?;
        Ok(Self { ring })
    }

    pub fn into_stream(self) -> EventStream {
        EventStream { ring: self.ring }
    }
}

impl EventStream {
    /// How often the ring is looked at. The kernel wakes nobody for an event: that would cost the
    /// application that connects more than the verdict itself.
    const PERIOD: Duration = Duration::from_millis(20);

    /// The next event; waits for one. Safe to cancel. After an error the stream goes on with the
    /// event after it.
    pub async fn next(&mut self) -> Result<VerdictReport, EventError> {
        loop {
            if let Some(item) = self.ring.next() {
                return decode(&item);
            }
            tokio::time::sleep(Self::PERIOD).await;
        }
    }
}

fn decode(bytes: &[u8]) -> Result<VerdictReport, EventError> {
    let event = VerdictEvent::read_from_bytes(bytes).map_err(|_| EventError::Length {
        length: bytes.len(),
    })?;
    let verdict = Verdict::from_wire(&event.verdict);
    let (Some(hook), Some(verdict)) = (Hook::from_number(event.hook), verdict) else {
        return Err(EventError::Unknown {
            hook: event.hook,
            class: event.verdict.class,
            reason: event.verdict.reason,
        });
    };
    let destination = address::from_wire(event.destination);
    Ok(VerdictReport {
        at: event.at.get(),
        netns: event.netns.get(),
        hook,
        source: address::socket_from_wire(event.source, event.source_port.get()),
        destination: SocketAddr::new(destination, event.destination_port.get()),
        verdict,
    })
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
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
        assert!(matches!(decode(&[]), Err(EventError::Length { length: 0 })));
        let mut unknown = event();
        unknown.hook = 99;
        assert!(matches!(
            decode(unknown.as_bytes()),
            Err(EventError::Unknown { hook: 99, .. })
        ));
        let mut unknown = event();
        unknown.verdict.reason = 200;
        assert!(matches!(
            decode(unknown.as_bytes()),
            Err(EventError::Unknown { reason: 200, .. })
        ));
    }
}
