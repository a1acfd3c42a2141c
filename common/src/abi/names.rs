//! Numbers and names that the kernel programs, the agent and the tunnel share.

/// Stands in the pin path; changes whenever a map's key, value or meaning does.
pub const ABI_VERSION: u32 = 7;

/// The bits of a packet or socket mark that waysteer and the tunnel use; the others are kept.
pub const MARK_MASK: u32 = 0xfff;
/// A flow that must reach the tunnel's outbound listener.
pub const STEER_MARK: u32 = 0x57e;
/// The tunnel's own sockets; ztunnel sets it, and so does the embedded tunnel.
pub const TUNNEL_MARK: u32 = 0x539;
/// Replies of the application to connections that the tunnel dialled over `lo`.
pub const RETURN_MARK: u32 = 0x111;

/// The routing table in an enrolled pod's netns that delivers marked packets locally.
pub const ROUTE_TABLE: u32 = 100;

/// The tunnel's listeners in the pod's netns. Fixed by ztunnel.
pub const OUTBOUND_PORT: u16 = 15001;
pub const INBOUND_PLAINTEXT_PORT: u16 = 15006;
pub const HBONE_PORT: u16 = 15008;

/// How long after it was recorded an exempted tuple lets a connection in, in nanoseconds: a SYN
/// with `tcp_syn_retries = 6` is sent for the last time 63 s after the first.
pub const LOCAL_FLOW_TTL_NS: u64 = 130_000_000_000;
