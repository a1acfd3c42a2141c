//! What is decided about a flow, and why.

mod drops;

use zerocopy::network_endian::{U16, U64};

use crate::abi::names::HBONE_PORT;
use crate::abi::value::VerdictValue;
use crate::addr::Address;

/// Makes an enum that crosses the kernel line as a number.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $number:literal => $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])* $variant = $number,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number that crosses the kernel line.
            pub const fn number(self) -> u8 {
                self as u8
            }

            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// As it stands in metrics, events and the documentation.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }

            /// What it means, for people: its documentation.
            pub fn meaning(self) -> &'static str {
                let meaning = match self {
                    $(Self::$variant => concat!($($doc),*),)*
                };
                meaning.trim_start()
            }

            pub fn from_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.label() == label)
            }
        }
    };
}

numbered! {
    /// The class of a flow.
    pub enum Class {
        ToServerWaypoint = 0 => "ToServerWaypoint",
        Direct = 1 => "Direct",
        DirectLocal = 2 => "DirectLocal",
        Passthrough = 3 => "Passthrough",
    }
}

numbered! {
    /// Why a flow has its class: the row of the classification table that applied.
    pub enum Reason {
        /// No complete snapshot of the source is in the maps yet.
        NotSynced = 0 => "NotSynced",
        /// The pod is enrolled but the source does not know its workload.
        SourceUnknown = 1 => "SourceUnknown",
        /// The destination's entry was rejected, or says what this version does not know.
        Invalid = 2 => "Invalid",
        /// A pod dials itself.
        OwnAddress = 3 => "OwnAddress",
        /// The service has a waypoint.
        ServiceWaypoint = 4 => "ServiceWaypoint",
        /// The workload has a waypoint.
        WorkloadWaypoint = 5 => "WorkloadWaypoint",
        /// There is a waypoint, but no way to it is known.
        WaypointUnresolved = 6 => "WaypointUnresolved",
        /// The service's load balancing mode is PASSTHROUGH.
        ServicePassthrough = 7 => "ServicePassthrough",
        /// The service has no usable endpoint on this port.
        NoEndpoint = 8 => "NoEndpoint",
        /// The service does not have this port.
        NoPort = 9 => "NoPort",
        /// The service has only plain TCP endpoints.
        ServicePlain = 10 => "ServicePlain",
        /// The endpoint picked is plain TCP, but others are not: the tunnel dials it.
        ServiceMixed = 11 => "ServiceMixed",
        /// The endpoint picked speaks HBONE and is on another node.
        ServiceHbone = 12 => "ServiceHbone",
        /// The endpoint picked speaks HBONE and is on this node.
        ServiceLocal = 13 => "ServiceLocal",
        /// The workload speaks HBONE and is on another node.
        WorkloadHbone = 14 => "WorkloadHbone",
        /// The workload is reached by plain TCP.
        WorkloadPlain = 15 => "WorkloadPlain",
        /// On this node, and free to go pod to pod.
        LocalBypass = 16 => "LocalBypass",
        /// On this node; `direct_local = "tunnel"`.
        LocalTunnel = 17 => "LocalTunnel",
        /// On this node, but a policy denies it, or none allows it.
        LocalPolicy = 18 => "LocalPolicy",
        /// Said to be on this node, but not a pod that this agent has enrolled.
        LocalNotEnrolled = 19 => "LocalNotEnrolled",
        /// On this node, but its listener expects more than the application's bytes.
        LocalTunnelled = 20 => "LocalTunnelled",
        /// Nothing is known of the destination.
        Unknown = 21 => "Unknown",
        /// Nothing is known of the destination, but it is in `mesh_cidrs`.
        UnknownInMesh = 22 => "UnknownInMesh",
        /// Nothing is known of the destination, but a rejected entry may own it.
        UnknownIncomplete = 23 => "UnknownIncomplete",
        /// The endpoint picked is on another network; the tunnel knows the gateway.
        RemoteNetwork = 24 => "RemoteNetwork",
        /// The endpoint picked has no address; the tunnel resolves its host name.
        EndpointUnresolved = 25 => "EndpointUnresolved",
        /// On this node, but what its policies say of this pod is not known here.
        LocalNotEvaluated = 26 => "LocalNotEvaluated",
        /// The endpoint picked is on this node, and free to be dialled past the tunnel.
        ServiceLocalBypass = 27 => "ServiceLocalBypass",
    }
}

impl Reason {
    /// Whether a connection goes to a pod of this node past the tunnel, so that the pod's own
    /// programs must let it in.
    #[inline(always)]
    pub const fn is_local_bypass(number: u8) -> bool {
        number == Self::LocalBypass as u8 || number == Self::ServiceLocalBypass as u8
    }

    /// Slots a class has in per-reason counters.
    pub const SLOTS: u32 = 32;

    /// The row of the classification table in ARCHITECTURE.md.
    pub const fn row(self) -> u8 {
        match self {
            Self::OwnAddress => 0,
            Self::NotSynced | Self::SourceUnknown => 1,
            // Row 3 for a service.
            Self::Invalid => 2,
            // Also of row 7, for a workload.
            Self::ServiceWaypoint | Self::WaypointUnresolved => 3,
            Self::ServicePassthrough => 4,
            Self::NoPort | Self::NoEndpoint | Self::ServicePlain => 5,
            Self::ServiceMixed
            | Self::ServiceHbone
            | Self::ServiceLocal
            | Self::ServiceLocalBypass
            | Self::RemoteNetwork
            | Self::EndpointUnresolved => 6,
            Self::WorkloadWaypoint => 7,
            Self::WorkloadHbone
            | Self::LocalBypass
            | Self::LocalTunnel
            | Self::LocalPolicy
            | Self::LocalNotEvaluated
            | Self::LocalNotEnrolled
            | Self::LocalTunnelled => 8,
            Self::WorkloadPlain => 9,
            Self::Unknown | Self::UnknownInMesh | Self::UnknownIncomplete => 10,
        }
    }
}

numbered! {
    /// What the classifier looks things up in.
    pub enum Table {
        /// What concerns the whole node.
        Settings = 1 => "SETTINGS",
        /// Whose connections are judged.
        Pods = 2 => "PODS",
        /// Whose address it is, of enrolled pods.
        PodAddresses = 3 => "POD_ADDRESSES",
        /// Who has an address.
        Workloads = 4 => "WORKLOADS",
        /// Which service has an address.
        Services = 5 => "SERVICES",
        /// Which service has a block of addresses.
        ServiceCidrs = 6 => "SERVICE_CIDRS",
        /// The endpoints behind a service's port.
        ServicePorts = 7 => "SERVICE_PORTS",
        /// The endpoints of a waypoint.
        Waypoints = 8 => "WAYPOINTS",
        /// Who is a waypoint.
        WaypointMembers = 9 => "WAYPOINT_MEMBERS",
        /// One endpoint.
        Endpoints = 10 => "ENDPOINTS",
        /// Addresses that are of the mesh.
        MeshCidrs = 11 => "MESH_CIDRS",
        /// What policies say of a pod.
        Policies = 12 => "POLICIES",
    }
}

numbered! {
    /// The hook that decided, or dropped.
    pub enum Hook {
        Connect = 0 => "connect",
        PodEgress = 1 => "pod_egress",
        Explain = 2 => "explain",
        LoIngress = 3 => "lo_ingress",
        PodIngress = 4 => "pod_ingress",
    }
}

numbered! {
    /// What the packet programs did, one counter each.
    pub enum PacketAction {
        /// A marked flow's first packet was handed to the tunnel's outbound listener.
        OutboundAssigned = 0 => "outbound_assigned",
        /// A first packet from outside was handed to the tunnel's plaintext listener.
        InboundAssigned = 1 => "inbound_assigned",
        /// Held: no outbound listener of the tunnel.
        OutboundHeld = 2 => "outbound_held",
        /// Held: no plaintext listener of the tunnel.
        InboundHeld = 3 => "inbound_held",
        /// The kernel refused to assign a packet to the tunnel's socket; dropped.
        AssignFailed = 4 => "assign_failed",
        /// The guard steered a first packet that came without a mark.
        GuardSteered = 5 => "guard_steered",
        /// The guard brought back a packet of a steered flow that was leaving.
        GuardReturned = 6 => "guard_returned",
        /// The guard dropped a packet that it could not steer.
        GuardDropped = 7 => "guard_dropped",
        /// A packet was dropped because it could not be read far enough to be judged.
        UnreadableDropped = 8 => "unreadable_dropped",
        /// The first fragment of a new connection; it cannot be assigned to a socket; dropped.
        FragmentDropped = 9 => "fragment_dropped",
        /// A later fragment; harmless without its first.
        FragmentPassed = 10 => "fragment_passed",
        /// A packet with a VLAN tag, which the pod's own stack does not take from this device.
        VlanPassed = 11 => "vlan_passed",
        /// A connection from the host or a bypassing neighbour was let in.
        ExemptPassed = 12 => "exempt_passed",
        /// A connection could not be recorded because a map was full; it is judged again, or taken
        /// in by the neighbour's tunnel.
        RecordFailed = 13 => "record_failed",
        /// A verdict event was lost because the ring buffer was full.
        EventLost = 14 => "event_lost",
        /// A socket's mark could not be set; the connection was refused.
        MarkFailed = 15 => "mark_failed",
        /// The listening socket on a tunnel port does not carry the tunnel's mark.
        ImpostorListener = 16 => "impostor_listener",
        /// A connection from the host's netns to an enrolled pod was recorded.
        HostFlowRecorded = 17 => "host_flow_recorded",
        /// A bypassing connection to a neighbour was recorded.
        LocalFlowRecorded = 18 => "local_flow_recorded",
        /// A first packet met the tunnel's TIME_WAIT socket of the connection before.
        PortReused = 19 => "port_reused",
        /// A bypassing connection came from an address that is not known as the pod's: the
        /// neighbour's tunnel takes it in.
        LocalFlowRefused = 20 => "local_flow_refused",
        /// Held: the connection before, of the same ports, is in TIME_WAIT and could not be ended.
        TimeWaitHeld = 21 => "time_wait_held",
        /// A drop was only counted: its pod had many in that second, or the ring buffer was full.
        DropUntold = 22 => "drop_untold",
    }
}

impl PacketAction {
    /// Size of the counter array.
    pub const SLOTS: u32 = 32;
}

/// Where a flow goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub class: Class,
    pub reason: Reason,
    /// Into the tunnel; without it the application talks to its peer directly.
    pub steer: bool,
    pub next_hop: NextHop,
    /// Id of the destination service, 0 where none.
    pub service: u64,
}

/// Whom the tunnel, or the application itself, dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Unspecified where none is known; then the tunnel must refuse the flow or find out itself.
    pub address: Address,
    pub port: u16,
    /// HBONE, or plain TCP.
    pub hbone: bool,
    /// The HBONE authority; where HBONE is not spoken, what was dialled.
    pub authority: Address,
    pub authority_port: u16,
    /// Id of the workload dialled, 0 where none is known.
    pub workload: u64,
}

impl NextHop {
    /// No next hop is known.
    pub const NONE: Self = Self {
        address: Address::UNSPECIFIED,
        port: 0,
        hbone: false,
        authority: Address::UNSPECIFIED,
        authority_port: 0,
        workload: 0,
    };
}

impl Verdict {
    /// What cannot be remembered of a socket cannot be told by `getpeername()` either: a bypass in a
    /// service's place goes through the tunnel, to the same endpoint.
    #[inline(always)]
    pub fn without_memory(&mut self) {
        if self.reason != Reason::ServiceLocalBypass {
            return;
        }
        self.reason = Reason::ServiceLocal;
        self.steer = true;
        let next_hop = &mut self.next_hop;
        next_hop.authority = next_hop.address;
        next_hop.authority_port = next_hop.port;
        next_hop.port = HBONE_PORT;
        next_hop.hbone = true;
    }

    /// Before anything is decided: steered, to nowhere.
    pub const NONE: Self = Self {
        class: Class::Direct,
        reason: Reason::NotSynced,
        steer: true,
        next_hop: NextHop::NONE,
        service: 0,
    };

    #[inline(always)]
    pub fn to_wire(&self) -> VerdictValue {
        let steer = if self.steer { VerdictValue::STEER } else { 0 };
        let hbone = if self.next_hop.hbone {
            VerdictValue::HBONE
        } else {
            0
        };
        VerdictValue {
            class: self.class.number(),
            reason: self.reason.number(),
            flags: steer | hbone,
            padding: 0,
            next_hop_port: U16::new(self.next_hop.port),
            authority_port: U16::new(self.next_hop.authority_port),
            next_hop: self.next_hop.address,
            authority: self.next_hop.authority,
            workload: U64::new(self.next_hop.workload),
            service: U64::new(self.service),
        }
    }

    /// `None` for numbers that no verdict has.
    pub fn from_wire(value: &VerdictValue) -> Option<Self> {
        Some(Self {
            class: Class::from_number(value.class)?,
            reason: Reason::from_number(value.reason)?,
            steer: value.flags & VerdictValue::STEER != 0,
            next_hop: NextHop {
                address: value.next_hop,
                port: value.next_hop_port.get(),
                hbone: value.flags & VerdictValue::HBONE != 0,
                authority: value.authority,
                authority_port: value.authority_port.get(),
                workload: value.workload.get(),
            },
            service: value.service.get(),
        })
    }
}

/// The slot of a verdict in the counters.
#[inline(always)]
pub fn counter_slot(class: Class, reason: Reason) -> u32 {
    class as u32 * Reason::SLOTS + reason as u32
}

/// Number of slots that [`counter_slot`] names.
pub const COUNTER_SLOTS: u32 = 4 * Reason::SLOTS;

/// The slot of a connection in `TRAFFIC` and `OTHER_TRAFFIC`.
#[inline(always)]
pub fn traffic_slot(class: u8, steer: bool) -> u32 {
    u32::from(class) * 2 + u32::from(steer)
}

/// Number of slots that [`traffic_slot`] names.
pub const TRAFFIC_SLOTS: u32 = 8;

#[cfg(test)]
mod tests;
