//! What of the programs' maps outlives the process.

/// The maps that are pinned, and so outlive the process: all that the programs share with an agent
/// but its log.
pub(in crate::kernel) const PINNED_MAPS: [&str; 26] = [
    "SETTINGS",
    "PODS",
    "POD_ADDRESSES",
    "WORKLOADS",
    "POLICIES",
    "SERVICES",
    "SERVICE_CIDRS",
    "SERVICE_PORTS",
    "ENDPOINTS",
    "WAYPOINTS",
    "WAYPOINT_MEMBERS",
    "MESH_CIDRS",
    "SOCKETS",
    "CONNECTIONS",
    "PACKET_FLOWS",
    "LOCAL_CONNECTIONS",
    "LOCAL_FLOWS",
    "SYN_COOKIES",
    "COUNTERS",
    "PACKET_COUNTERS",
    "TRAFFIC",
    "POD_TRAFFIC",
    "OTHER_TRAFFIC",
    "EVENTS",
    "DROPS",
    "DROPS_TOLD",
];
