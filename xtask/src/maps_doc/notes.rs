//! What no type says of a map: what it is, and what happens where an entry is not there.

pub(super) struct Note {
    pub(super) map: &'static str,
    pub(super) holds: &'static str,
    /// When an entry is refused, evicted, or not written yet.
    pub(super) lost: &'static str,
}

const fn note(map: &'static str, holds: &'static str, lost: &'static str) -> Note {
    Note { map, holds, lost }
}

pub(super) const NOTES: &[Note] = &[
    note(
        "SETTINGS",
        "what concerns the whole node",
        "all zero until it is written: everything is steered",
    ),
    note(
        "PODS",
        "the enrolled pods, by netns cookie",
        "`connect` does not judge; `pod_egress` steers all connections of the pod (`SourceUnknown`)",
    ),
    note(
        "POD_ADDRESSES",
        "whose address it is",
        "`pod_egress` steers raw senders as unknown; probes of the host are captured",
    ),
    note(
        "WORKLOADS",
        "workloads of this network, by address",
        "`INCOMPLETE` is set: unknown destinations are steered; with CIDR services nothing is bypassed",
    ),
    note(
        "POLICIES",
        "what policies say of a pod, by netns cookie and the policies of a neighbour",
        "steered (`LocalNotEvaluated`)",
    ),
    note(
        "SERVICES",
        "services by virtual address, for everybody and for single namespaces",
        "as `WORKLOADS`; an entry of a single namespace: nothing is bypassed",
    ),
    note(
        "SERVICE_CIDRS",
        "services whose virtual address is a block",
        "as `WORKLOADS`",
    ),
    note(
        "SERVICE_PORTS",
        "the endpoints of a service's port",
        "steered (`NoPort`)",
    ),
    note(
        "ENDPOINTS",
        "one slot of a set of endpoints",
        "steered (`NoEndpoint`, `WaypointUnresolved`)",
    ),
    note(
        "WAYPOINTS",
        "the endpoints of a waypoint, or of weighted waypoints taken together",
        "steered (`WaypointUnresolved`)",
    ),
    note(
        "WAYPOINT_MEMBERS",
        "enrolled pods that are endpoints of a waypoint",
        "the waypoint's own flow is steered to the waypoint",
    ),
    note(
        "MESH_CIDRS",
        "`mesh_cidrs` of the configuration",
        "`INCOMPLETE` is set: unknown destinations are steered",
    ),
    note(
        "SOCKETS",
        "on a socket, its verdict: where its slot of `CONNECTIONS` is another connection's, and of steered sockets that are used again",
        "`pod_egress` judges again, the tunnel makes the verdict again",
    ),
    note(
        "CONNECTIONS",
        "connections that pods have begun, from `connect()` until they are closed, by socket cookie",
        "on the socket, as in `SOCKETS`; the embedded tunnel makes the verdict again, by the same code",
    ),
    note(
        "PACKET_FLOWS",
        "connections of senders without a TCP socket",
        "judged again with the next packet; a lone reset passes",
    ),
    note(
        "LOCAL_CONNECTIONS",
        "bypassing neighbours' connections, which `pod_ingress` must let in, until they are closed",
        "in `LOCAL_FLOWS`",
    ),
    note(
        "LOCAL_FLOWS",
        "others that `pod_ingress` must let in: probes of the host, and what has no slot in `LOCAL_CONNECTIONS`",
        "the connection reaches the tunnel's 15006 like any other",
    ),
    note(
        "SYN_COOKIES",
        "until when packets that are no SYN may belong to a handshake without a socket",
        "it cannot be full",
    ),
    note(
        "COUNTERS",
        "verdicts, by class and reason",
        "counts from the loading of the programs on",
    ),
    note(
        "PACKET_COUNTERS",
        "what the packet programs did",
        "counts from the loading of the programs on",
    ),
    note(
        "TRAFFIC",
        "connections and bytes, by class, steered and bypassed apart",
        "counts from the loading of the programs on",
    ),
    note(
        "POD_TRAFFIC",
        "the same of each pod, by destination",
        "counted in `OTHER_TRAFFIC`",
    ),
    note(
        "OTHER_TRAFFIC",
        "what has no room in `POD_TRAFFIC`, by class, steered and bypassed apart",
        "counts from the loading of the programs on",
    ),
    note(
        "EVENTS",
        "every verdict, while the agent reads them",
        "counted as `event_lost`",
    ),
    note(
        "DROPS",
        "every packet that is held or dropped, and every connection that is refused, while the agent \
         reads them; of each pod 50 a second",
        "counted as `drop_untold`, besides what it is",
    ),
    note(
        "DROPS_TOLD",
        "how many of a pod's drops were told in this second, by netns cookie; 0 is who is not known",
        "counted anew",
    ),
];
