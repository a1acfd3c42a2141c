//! Packets that were held or dropped, and connections that were refused.

use std::net::SocketAddr;
use std::time::Duration;

use waysteer_common::abi::event::DropEvent;
use waysteer_common::verdict::{Hook, PacketAction};
use zerocopy::FromBytes;

use super::{Event, EventError};
use crate::address::socket_from_wire;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReport {
    /// On the kernel's monotonic clock, in nanoseconds.
    pub at: u64,
    /// Cookie of the pod's netns; 0 where nothing says which pod it is.
    pub netns: u64,
    pub hook: Hook,
    pub action: PacketAction,
    /// `None` where it is not known: at `connect()`, or of a packet that cannot be read.
    pub source: Option<SocketAddr>,
    /// `None` of a packet that cannot be read; port 0 where it can be read thus far.
    pub destination: Option<SocketAddr>,
}

impl Event for DropReport {
    const MAP: &'static str = "DROPS";
    /// What a hundred pods may tell in this time has room.
    const PERIOD: Duration = Duration::from_millis(100);

    fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        let event = DropEvent::read_from_bytes(bytes).map_err(|_| EventError::Length {
            map: Self::MAP,
            length: bytes.len(),
            expected: size_of::<DropEvent>(),
        })?;
        let action = PacketAction::from_number(event.action).filter(|it| it.is_drop());
        let (Some(hook), Some(action)) = (Hook::from_number(event.hook), action) else {
            return Err(EventError::Drop {
                hook: event.hook,
                action: event.action,
            });
        };
        Ok(Self {
            at: event.at.get(),
            netns: event.netns.get(),
            hook,
            action,
            source: socket_from_wire(event.source, event.source_port.get()),
            destination: socket_from_wire(event.destination, event.destination_port.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use waysteer_common::addr::Address;
    use zerocopy::IntoBytes;
    use zerocopy::network_endian::{U16, U64};

    use super::*;

    fn event() -> DropEvent {
        DropEvent {
            at: U64::new(7),
            netns: U64::new(8),
            source: Address::from_v4([10, 0, 0, 1]),
            destination: Address::from_v4([10, 0, 0, 9]),
            source_port: U16::new(40_000),
            destination_port: U16::new(80),
            action: PacketAction::OutboundHeld.number(),
            hook: Hook::LoIngress.number(),
            padding: [0; 2],
        }
    }

    #[test]
    fn decodes_what_the_kernel_writes() {
        let report = DropReport::decode(event().as_bytes()).expect("a report");
        let expected = DropReport {
            at: 7,
            netns: 8,
            hook: Hook::LoIngress,
            action: PacketAction::OutboundHeld,
            source: Some(SocketAddr::from(([10, 0, 0, 1], 40_000))),
            destination: Some(SocketAddr::from(([10, 0, 0, 9], 80))),
        };
        assert_eq!(report, expected);
        let unread = DropEvent {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            ..event()
        };
        let report = DropReport::decode(unread.as_bytes()).expect("a report");
        assert_eq!((report.source, report.destination), (None, None));
    }

    #[test]
    fn refuses_other_lengths_and_what_is_no_drop() {
        let event = event();
        assert!(matches!(
            DropReport::decode(&event.as_bytes()[1..]),
            Err(EventError::Length {
                length: 55,
                expected: 56,
                ..
            })
        ));
        for action in [PacketAction::OutboundAssigned.number(), 200] {
            let bytes = DropEvent { action, ..event };
            assert!(matches!(
                DropReport::decode(bytes.as_bytes()),
                Err(EventError::Drop { .. })
            ));
        }
        let bytes = DropEvent { hook: 99, ..event };
        assert!(matches!(
            DropReport::decode(bytes.as_bytes()),
            Err(EventError::Drop { hook: 99, .. })
        ));
    }
}
