//! What went nowhere.

use super::PacketAction;

impl PacketAction {
    /// Whether a packet or a connection went nowhere, for now or for good: the kernel tells of each.
    pub const fn is_drop(self) -> bool {
        match self {
            Self::OutboundHeld
            | Self::InboundHeld
            | Self::AssignFailed
            | Self::GuardDropped
            | Self::UnreadableDropped
            | Self::FragmentDropped
            | Self::MarkFailed
            | Self::ImpostorListener
            | Self::TimeWaitHeld => true,
            Self::OutboundAssigned
            | Self::InboundAssigned
            | Self::GuardSteered
            | Self::GuardReturned
            | Self::FragmentPassed
            | Self::VlanPassed
            | Self::ExemptPassed
            | Self::RecordFailed
            | Self::EventLost
            | Self::HostFlowRecorded
            | Self::LocalFlowRecorded
            | Self::LocalFlowRefused
            | Self::PortReused
            | Self::DropUntold => false,
        }
    }
}
