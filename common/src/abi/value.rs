//! Map values.

use zerocopy::network_endian::{U16, U32, U64};

use super::key::TupleKey;
use super::{flag, wire};
use crate::addr::Address;

wire! {
    /// Value of `WORKLOADS`.
    pub struct WorkloadValue {
        pub id: U64,
        /// Id of the workload's waypoint; meaningful with [`WorkloadValue::WAYPOINT`].
        pub waypoint: U64,
        pub flags: U32,
        /// Which policies apply; meaningful with [`WorkloadValue::POLICY`], and 0 where nobody has
        /// to know.
        pub policies: U32,
    }
}

impl WorkloadValue {
    flag!(/** Reached by HBONE; plain TCP without it. */ HBONE = 0);
    flag!(/** Runs on this node. */ LOCAL = 1);
    flag!(/** Is an enrolled pod of this agent. */ ENROLLED = 2);
    flag!(/** Of this node, and some policy applies, or may apply, to it. */ POLICY = 3);
    flag!(WAYPOINT = 4);
    flag!(/** The waypoint's endpoints depend on the source's locality group. */ WAYPOINT_GROUPED = 5);
    flag!(/** Its own listener expects something in front of the application's bytes. */ TUNNELLED = 6);
    flag!(/** The source's entry was rejected: never bypassed. */ INVALID = 7);
}

wire! {
    /// Value of `POLICIES`: the ports that policies let a pod connect to.
    pub struct PolicyValue {
        pub flags: U32,
        /// Ports with the other answer; 0 is none.
        pub exceptions: [U16; 26],
    }
}

impl PolicyValue {
    /// How many exceptions an entry holds.
    pub const EXCEPTIONS: usize = 26;

    flag!(/** All ports are allowed but the exceptions; without it none but they. */ ALLOWED = 0);

    #[inline(always)]
    pub fn allows(&self, port: U16) -> bool {
        let mut exceptions = 0;
        for exception in &self.exceptions {
            // Without a branch, of which the verifier would follow each.
            let difference = u32::from(exception.get() ^ port.get());
            exceptions |= difference.wrapping_sub(1) >> 31;
        }
        port != U16::ZERO && (exceptions != 0) != (self.flags.get() & Self::ALLOWED != 0)
    }
}

wire! {
    /// Value of `SERVICES` and `SERVICE_CIDRS`.
    pub struct ServiceValue {
        pub id: U64,
        /// Id of the waypoint set; meaningful with [`ServiceValue::WAYPOINT`].
        pub waypoint: U64,
        pub flags: U32,
        pub padding: [u8; 4],
    }
}

impl ServiceValue {
    flag!(WAYPOINT = 0);
    flag!(/** The waypoint's endpoints depend on the source's locality group. */ WAYPOINT_GROUPED = 1);
    flag!(/** Load balancing mode PASSTHROUGH. */ PASSTHROUGH = 2);
    flag!(/** The ports' endpoints depend on the source's locality group. */ GROUPED = 3);
    flag!(/** Some namespaces have an entry of their own for this address. */ NAMESPACED = 4);
    flag!(/** Nothing is visible here to clients of other namespaces. */ HIDDEN = 5);
    flag!(/** The source's entry was rejected, or says what this version does not know. */ INVALID = 6);
    flag!(/** A block of IPv6 that has the v4-mapped addresses within, which are not meant. */ V6_ONLY = 7);

    /// Whether an entry of `SERVICE_CIDRS` is meant for an address that it was found by.
    #[inline(always)]
    pub fn is_for(&self, address: &Address) -> bool {
        self.flags.get() & Self::V6_ONLY == 0 || !address.is_v4()
    }
}

/// Values of `MESH_CIDRS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshCidr;

impl MeshCidr {
    pub const ALL: u8 = 1;
    /// As [`ServiceValue::V6_ONLY`].
    pub const V6_ONLY: u8 = 2;

    /// Whether an entry is meant for an address that it was found by.
    #[inline(always)]
    pub fn is_for(value: u8, address: &Address) -> bool {
        value != Self::V6_ONLY || !address.is_v4()
    }
}

wire! {
    /// Value of `SERVICE_PORTS`, and of `WAYPOINTS`: a set of endpoints.
    pub struct EndpointSetValue {
        pub set: U64,
        pub generation: U32,
        /// Number of endpoints, keyed 0 to `count - 1`.
        pub count: U32,
        pub flags: U32,
        pub padding: [u8; 4],
    }
}

impl EndpointSetValue {
    flag!(/** Every endpoint is plain TCP on our network. */ ALL_PLAIN = 0);
}

wire! {
    /// Value of `ENDPOINTS`. Endpoints are drawn by the alias method: a slot is picked uniformly,
    /// then `threshold` decides between the slot itself and its alias. One or two look-ups,
    /// whatever the number of endpoints and their weights.
    pub struct EndpointValue {
        /// Id of the workload; 0 for the share of a waypoint that cannot be resolved.
        pub workload: U64,
        /// Of 2^32: how often the slot stands for itself.
        pub threshold: U32,
        pub alias: U32,
        pub flags: U32,
        /// Target port, and for a waypoint its HBONE port.
        pub port: U16,
        pub padding: [u8; 2],
        /// Meaningful with [`EndpointValue::V4`].
        pub v4: [u8; 4],
        pub padding_v6: [u8; 4],
        /// Meaningful with [`EndpointValue::V6`].
        pub v6: Address,
    }
}

impl EndpointValue {
    flag!(V4 = 0);
    flag!(V6 = 1);
    flag!(HBONE = 2);
    flag!(/** Runs on this node. */ LOCAL = 3);
    flag!(/** On another network: only the tunnel knows the gateway. */ REMOTE = 4);
}

wire! {
    /// Value of `POD_ADDRESSES`: whose address it is.
    pub struct PodAddressValue {
        pub netns: U64,
    }
}

wire! {
    /// Value of `LOCAL_FLOWS`.
    pub struct LocalFlowValue {
        /// `bpf_ktime_get_ns` at the time of recording.
        pub recorded_at: U64,
    }
}

wire! {
    /// Value of `LOCAL_CONNECTIONS`: one to be let in. Its time is in the order of the machine.
    pub struct LocalConnectionValue {
        /// `bpf_ktime_get_ns` of `connect()`; 0 is nobody's, [`LocalConnectionValue::BUSY`] is being
        /// written.
        pub recorded_at: u64,
        pub tuple: TupleKey,
        pub padding: [u8; 16],
    }
}

impl LocalConnectionValue {
    /// No time.
    pub const BUSY: u64 = u64::MAX;
    pub const SLOTS: u32 = 16_384;

    /// Where a connection's is.
    #[inline(always)]
    pub fn slot(tuple: &TupleKey) -> u32 {
        let mut hash = 0_u64;
        for word in tuple.words() {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        hash as u32 % Self::SLOTS
    }
}

wire! {
    /// A verdict as it stands in `CONNECTIONS` and with a socket, and is read by the tunnel.
    pub struct VerdictValue {
        /// [`crate::verdict::Class`].
        pub class: u8,
        /// [`crate::verdict::Reason`].
        pub reason: u8,
        /// [`VerdictValue::STEER`] and [`VerdictValue::HBONE`].
        pub flags: u8,
        pub padding: u8,
        /// Where HBONE is opened to, or plain TCP without [`VerdictValue::HBONE`].
        pub next_hop_port: U16,
        /// What the HBONE authority is.
        pub authority_port: U16,
        pub next_hop: Address,
        pub authority: Address,
        /// Id of the workload at the next hop, for its identity; 0 where none is known.
        pub workload: U64,
        /// Id of the destination service; 0 where none.
        pub service: U64,
    }
}

impl VerdictValue {
    /// The flow goes into the tunnel.
    pub const STEER: u8 = 1;
    /// The next hop speaks HBONE.
    pub const HBONE: u8 = 2;
}

wire! {
    /// Value of `CONNECTIONS`: a connection that a pod has begun, from `connect()` until it is closed.
    /// Numbers of the machine's are in its order.
    pub struct ConnectionValue {
        /// Whose it is; 0 is nobody's, [`ConnectionValue::BUSY`] is being written.
        pub cookie: u64,
        /// `bpf_ktime_get_ns` of `connect()`.
        pub begun_at: u64,
        /// 1 once the connection has all of its addresses, and is counted.
        pub is_open: u64,
        /// Netns cookie of the pod.
        pub netns: U64,
        pub verdict: VerdictValue,
        /// Meaningful with `is_open`.
        pub tuple: TupleKey,
    }
}

impl ConnectionValue {
    /// No socket has it.
    pub const BUSY: u64 = u64::MAX;
    pub const SLOTS: u32 = 16_384;

    /// Where a socket's is. Cookies are numbered by processor, in blocks of 4096.
    #[inline(always)]
    pub const fn slot(cookie: u64) -> u32 {
        cookie as u32 % Self::SLOTS
    }
}

wire! {
    /// Value of `SYN_COOKIES`, in the order of the machine.
    pub struct SynCookiesValue {
        /// `bpf_ktime_get_ns` from which on no handshake of the tunnel's listeners is without a
        /// socket; 0 where none ever was.
        pub until: u64,
    }
}

impl SynCookiesValue {
    /// The kernel takes cookies that are up to two minutes old (`MAX_SYNCOOKIE_AGE`).
    pub const LIFETIME_NS: u64 = 180_000_000_000;
}

wire! {
    /// What a socket carries, in socket storage `SOCKETS`.
    pub struct SocketValue {
        /// `bpf_ktime_get_ns` when the connection began; 0 where it is not counted, or not any more.
        pub begun_at: U64,
        pub verdict: VerdictValue,
    }
}

wire! {
    /// Value of `TRAFFIC`, `POD_TRAFFIC` and `OTHER_TRAFFIC`: what connections did, steered and
    /// bypassed apart. In the order of the machine, since a program may be interrupted by another
    /// one that counts the same: it adds in one instruction.
    pub struct TrafficValue {
        pub opened: u64,
        pub closed: u64,
        pub bytes_sent: u64,
        pub bytes_received: u64,
        pub duration_ns: u64,
    }
}

wire! {
    /// Value of `DROPS_TOLD`: what of a pod's drops was told lately. Read by programs only.
    pub struct DropsToldValue {
        /// When the second began that is counted, by `bpf_ktime_get_ns`.
        pub since: u64,
        pub count: u64,
    }
}

impl DropsToldValue {
    pub const SECOND_NS: u64 = 1_000_000_000;
    /// Of a pod so many are told in a second; the others are only counted.
    pub const A_SECOND: u64 = 50;
}
