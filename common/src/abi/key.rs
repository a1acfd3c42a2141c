//! Map keys.

use zerocopy::network_endian::{U16, U32, U64};

use super::value::VerdictValue;
use super::wire;
use crate::addr::Address;

wire! {
    /// Key of `WORKLOADS` and `POD_ADDRESSES`.
    pub struct AddressKey {
        pub address: Address,
    }
}

wire! {
    /// Key of `SERVICES`. Namespace 0 holds the service that clients of every other namespace get.
    pub struct ServiceKey {
        pub namespace: U64,
        pub address: Address,
    }
}

/// Data of the longest-prefix keys of `SERVICE_CIDRS`: a namespace is always matched whole. Not
/// aligned, because it follows the prefix length directly.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    zerocopy::Unaligned,
)]
#[repr(C)]
pub struct CidrKey {
    pub namespace: U64,
    pub address: [u8; 16],
}

impl CidrKey {
    /// Prefix bits in front of the address.
    pub const NAMESPACE_BITS: u32 = 64;
}

wire! {
    /// Key of `SERVICE_PORTS`.
    pub struct ServicePortKey {
        pub service: U64,
        /// The source's locality group; 0 where the service has no routing preference.
        pub group: U32,
        pub port: U16,
        pub padding: [u8; 2],
    }
}

wire! {
    /// Key of `WAYPOINTS`.
    pub struct WaypointKey {
        pub waypoint: U64,
        /// The source's locality group; 0 where the waypoint's service has no routing preference.
        pub group: U32,
        pub padding: [u8; 4],
    }
}

wire! {
    /// Key of `WAYPOINT_MEMBERS`: the workload is an endpoint of the waypoint.
    pub struct WaypointMemberKey {
        pub waypoint: U64,
        pub workload: U64,
    }
}

wire! {
    /// Key of `ENDPOINTS`. The generation is a digest of the whole set, so that a reader never
    /// mixes an old count with new endpoints.
    pub struct EndpointKey {
        pub set: U64,
        pub generation: U32,
        pub index: U32,
    }
}

wire! {
    /// Key of `POLICIES`.
    pub struct PolicyKey {
        /// Netns cookie of the source.
        pub netns: U64,
        /// See [`super::value::WorkloadValue`].
        pub policies: U32,
        pub padding: [u8; 4],
    }
}

wire! {
    /// Key of `PACKET_FLOWS`: a connection as its initiator names it.
    pub struct FlowKey {
        /// Netns cookie of the pod.
        pub netns: U64,
        pub source: Address,
        pub destination: Address,
        pub source_port: U16,
        pub destination_port: U16,
        pub padding: [u8; 4],
    }
}

wire! {
    /// A connection as its initiator names it. Key of `LOCAL_FLOWS`: one that a pod's inbound side must
    /// let through untouched.
    pub struct TupleKey {
        pub source: Address,
        pub destination: Address,
        pub source_port: U16,
        pub destination_port: U16,
        pub padding: [u8; 4],
    }
}

impl TupleKey {
    #[inline(always)]
    pub fn new(
        source: Address,
        source_port: u16,
        destination: Address,
        destination_port: u16,
    ) -> Self {
        Self {
            source,
            destination,
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            padding: [0; 4],
        }
    }

    /// The same connection as the answering side names it.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            padding: [0; 4],
        }
    }

    /// Equality without `memcmp`.
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        self.words() == other.words()
    }

    #[inline(always)]
    pub(super) fn words(&self) -> [u64; 5] {
        zerocopy::transmute!(*self)
    }

    #[inline(always)]
    pub fn in_netns(&self, netns: u64) -> FlowKey {
        FlowKey {
            netns: U64::new(netns),
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            padding: [0; 4],
        }
    }
}

wire! {
    /// Key of `POD_TRAFFIC`: who had connections with whom, and how.
    pub struct TrafficKey {
        /// Netns cookie of the pod; with [`TrafficKey::LEFT`] a digest of the agent's.
        pub source: U64,
        /// Id of the service that was dialled, else of the workload: of a steered connection the one
        /// that the tunnel dials. 0 where nothing is known.
        pub destination: U64,
        /// [`crate::verdict::Class`].
        pub class: u8,
        /// [`TrafficKey::STEER`], [`TrafficKey::SERVICE`] and [`TrafficKey::LEFT`].
        pub flags: u8,
        pub padding: [u8; 6],
    }
}

impl TrafficKey {
    /// Connections that went into the tunnel.
    pub const STEER: u8 = 1;
    /// The destination is a service's id, and not a workload's.
    pub const SERVICE: u8 = 2;
    /// Written by the agent: what pods of one source workload had counted before they left.
    pub const LEFT: u8 = 4;

    #[inline(always)]
    pub fn of(netns: u64, verdict: &VerdictValue) -> Self {
        let is_steered = verdict.flags & VerdictValue::STEER != 0;
        let steer = if is_steered { Self::STEER } else { 0 };
        let (destination, service) = if verdict.service == U64::ZERO {
            (verdict.workload, 0)
        } else {
            (verdict.service, Self::SERVICE)
        };
        Self {
            source: U64::new(netns),
            destination,
            class: verdict.class,
            flags: steer | service,
            padding: [0; 6],
        }
    }
}
