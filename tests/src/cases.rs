//! The case table of the classification: `fixtures/mesh.yaml`, and what becomes of flows in it.
//!
//! Host tests, `BPF_PROG_TEST_RUN` and live sockets run the same table and must agree.

use waysteer_common::verdict::{Class, Reason};

use Class::{Direct, DirectLocal, Passthrough, ToServerWaypoint};

/// The mesh, in ztunnel's local format.
pub const MESH: &str = include_str!("../fixtures/mesh.yaml");

/// The node that the table is about.
pub const NODE: &str = "node1";

/// Enrolled pods: name, namespace, addresses. Service accounts are named as the pods.
pub const PODS: &[(&str, &str, &[&str])] = &[
    (
        "client",
        "default",
        &["10.1.0.1", "fd00:1::1", "10.1.0.101"],
    ),
    ("server-local", "default", &["10.1.0.2", "fd00:1::2"]),
    ("guarded", "default", &["10.1.0.4", "fd00:1::4"]),
    ("sandwich", "default", &["10.1.0.5"]),
    ("neighbour", "other", &["10.1.0.6", "fd00:1::6"]),
    ("ruled", "strict", &["10.1.0.7", "fd00:1::7"]),
    ("waypoint", "default", &["10.1.0.8", "fd00:1::8"]),
    ("stranger", "default", &["10.1.0.66", "fd00:1::66"]),
    ("single", "default", &["10.1.0.11"]),
];

/// One flow and its fate.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name of the source pod in [`PODS`].
    pub from: &'static str,
    pub to: &'static str,
    pub class: Class,
    pub reason: Reason,
    /// The next hop; empty where none is known, and where it is what was dialled.
    pub next_hop: &'static str,
    /// The HBONE authority; empty where it is what was dialled.
    pub authority: &'static str,
}

impl Case {
    /// Whether the flow goes through the tunnel; `bypass` is `direct_local = "bypass"`.
    pub fn steered(&self) -> bool {
        match self.reason {
            Reason::OwnAddress
            | Reason::ServicePassthrough
            | Reason::ServicePlain
            | Reason::WorkloadPlain
            | Reason::LocalBypass
            | Reason::ServiceLocalBypass
            | Reason::Unknown => false,
            Reason::NotSynced
            | Reason::SourceUnknown
            | Reason::Invalid
            | Reason::ServiceWaypoint
            | Reason::WorkloadWaypoint
            | Reason::WaypointUnresolved
            | Reason::NoEndpoint
            | Reason::NoPort
            | Reason::ServiceMixed
            | Reason::ServiceHbone
            | Reason::ServiceLocal
            | Reason::WorkloadHbone
            | Reason::LocalTunnel
            | Reason::LocalPolicy
            | Reason::LocalNotEvaluated
            | Reason::LocalNotEnrolled
            | Reason::LocalTunnelled
            | Reason::UnknownInMesh
            | Reason::UnknownIncomplete
            | Reason::RemoteNetwork
            | Reason::EndpointUnresolved => true,
        }
    }

    /// The next hop, which is what was dialled for flows past the tunnel, unless an endpoint was
    /// picked.
    pub fn expected_next_hop(&self) -> &'static str {
        if self.steered() || self.reason == Reason::ServiceLocalBypass {
            self.next_hop
        } else {
            self.to
        }
    }

    /// The HBONE authority, which is what was dialled unless an endpoint was picked.
    pub fn expected_authority(&self) -> &'static str {
        match (self.expected_next_hop(), self.authority) {
            ("", _) => "",
            (_, "") => self.to,
            (_, authority) => authority,
        }
    }
}

const fn case(
    from: &'static str,
    to: &'static str,
    class: Class,
    reason: Reason,
    next_hop: &'static str,
    authority: &'static str,
) -> Case {
    Case {
        from,
        to,
        class,
        reason,
        next_hop,
        authority,
    }
}

/// With `direct_local = "bypass"`, a complete snapshot, and `mesh_cidrs` of [`MESH_CIDRS`].
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Itself.
    case("client", "10.1.0.1:80", Passthrough, Reason::OwnAddress, "", ""),
    case("client", "[fd00:1::1]:80", Passthrough, Reason::OwnAddress, "", ""),
    case("client", "10.1.0.101:80", Passthrough, Reason::OwnAddress, "", ""),
    // Row 1.
    case("stranger", "10.2.0.1:80", Direct, Reason::SourceUnknown, "", ""),
    case("stranger", "[fd00:2::1]:80", Direct, Reason::SourceUnknown, "", ""),
    case("stranger", "192.0.2.1:80", Direct, Reason::SourceUnknown, "", ""),
    // Row 3: service waypoints.
    case("client", "10.3.0.20:80", ToServerWaypoint, Reason::ServiceWaypoint, "10.2.0.20:15008", ""),
    case("client", "[fd00:3::20]:80", ToServerWaypoint, Reason::ServiceWaypoint, "[fd00:2::20]:15008", ""),
    case("client", "10.3.0.20:9999", ToServerWaypoint, Reason::ServiceWaypoint, "10.2.0.20:15008", ""),
    case("client", "10.3.0.21:80", ToServerWaypoint, Reason::WaypointUnresolved, "", ""),
    case("client", "[fd00:3::21]:80", ToServerWaypoint, Reason::WaypointUnresolved, "", ""),
    case("client", "10.3.0.22:80", ToServerWaypoint, Reason::ServiceWaypoint, "10.2.0.21:15009", ""),
    case("client", "[fd00:3::22]:80", ToServerWaypoint, Reason::ServiceWaypoint, "10.2.0.21:15009", ""),
    case("client", "10.3.0.31:80", ToServerWaypoint, Reason::ServiceWaypoint, "10.2.0.20:15008", ""),
    // Row 4.
    case("client", "10.3.0.30:80", Passthrough, Reason::ServicePassthrough, "", ""),
    case("client", "[fd00:3::30]:80", Passthrough, Reason::ServicePassthrough, "", ""),
    // Row 5.
    case("client", "10.3.0.40:80", Direct, Reason::NoEndpoint, "", ""),
    case("client", "[fd00:3::40]:80", Direct, Reason::NoEndpoint, "", ""),
    case("client", "10.3.0.10:82", Direct, Reason::NoPort, "", ""),
    case("client", "[fd00:3::10]:82", Direct, Reason::NoPort, "", ""),
    case("client", "10.3.0.52:80", Direct, Reason::NoEndpoint, "", ""),
    case("client", "10.3.0.54:80", Direct, Reason::NoEndpoint, "", ""),
    case("client", "10.3.0.55:81", Direct, Reason::NoEndpoint, "", ""),
    case("client", "10.3.0.57:80", Direct, Reason::NoEndpoint, "", ""),
    // Row 6.
    case("client", "10.3.0.10:80", Direct, Reason::ServiceHbone, "10.2.0.1:15008", "10.2.0.1:8080"),
    case("client", "[fd00:3::10]:80", Direct, Reason::ServiceHbone, "[fd00:2::1]:15008", "[fd00:2::1]:8080"),
    case("client", "10.3.0.10:81", Direct, Reason::ServiceHbone, "10.2.0.1:15008", "10.2.0.1:8081"),
    case("client", "10.3.0.11:80", DirectLocal, Reason::ServiceLocalBypass, "10.1.0.2:8080", ""),
    case("client", "[fd00:3::11]:80", DirectLocal, Reason::ServiceLocalBypass, "[fd00:1::2]:8080", ""),
    case("server-local", "10.3.0.11:80", DirectLocal, Reason::ServiceLocal, "10.1.0.2:15008", "10.1.0.2:8080"),
    case("client", "10.3.0.13:80", DirectLocal, Reason::ServiceLocalBypass, "10.1.0.7:80", ""),
    case("client", "10.3.0.13:82", DirectLocal, Reason::ServiceLocalBypass, "10.1.0.7:80", ""),
    case("client", "[fd00:3::13]:82", DirectLocal, Reason::ServiceLocalBypass, "[fd00:1::7]:80", ""),
    case("client", "10.3.0.13:81", DirectLocal, Reason::ServiceLocal, "10.1.0.7:15008", "10.1.0.7:81"),
    case("neighbour", "10.3.0.13:80", DirectLocal, Reason::ServiceLocal, "10.1.0.7:15008", "10.1.0.7:80"),
    case("client", "10.3.0.14:80", DirectLocal, Reason::ServiceLocal, "10.1.0.5:15008", "10.1.0.5:8080"),
    case("client", "[fd00:3::15]:80", DirectLocal, Reason::ServiceLocal, "10.1.0.11:15008", "10.1.0.11:8080"),
    case("client", "10.3.0.15:80", DirectLocal, Reason::ServiceLocalBypass, "10.1.0.11:8080", ""),
    case("client", "10.3.0.12:80", Direct, Reason::ServiceHbone, "[fd00:2::5]:15008", "[fd00:2::5]:8080"),
    case("client", "[fd00:3::12]:80", Direct, Reason::ServiceHbone, "[fd00:2::5]:15008", "[fd00:2::5]:8080"),
    case("client", "10.3.0.50:80", Direct, Reason::ServicePlain, "", ""),
    case("client", "[fd00:3::50]:80", Direct, Reason::ServicePlain, "", ""),
    case("client", "10.3.0.51:80", Direct, Reason::ServiceMixed, "10.2.0.9:8080", "10.2.0.9:8080"),
    case("client", "10.3.0.53:80", Direct, Reason::ServiceHbone, "10.2.0.10:15008", "10.2.0.10:8080"),
    case("client", "10.3.0.55:80", Direct, Reason::ServiceHbone, "10.2.0.1:15008", "10.2.0.1:1234"),
    case("client", "10.3.0.56:80", Direct, Reason::ServiceHbone, "10.2.0.31:15008", "10.2.0.31:8080"),
    case("client", "10.3.0.58:80", Direct, Reason::ServicePlain, "", ""),
    case("client", "10.3.0.59:80", Direct, Reason::RemoteNetwork, "", ""),
    case("client", "10.3.0.60:80", Direct, Reason::EndpointUnresolved, "", ""),
    // Row 3's choice among services of one address.
    case("client", "10.50.9.9:80", Direct, Reason::ServiceHbone, "10.2.0.1:15008", "10.2.0.1:8080"),
    case("client", "10.50.1.9:80", Direct, Reason::ServiceHbone, "10.2.0.1:15008", "10.2.0.1:8081"),
    case("client", "[fd00:50::9]:80", Direct, Reason::ServiceHbone, "[fd00:2::1]:15008", "[fd00:2::1]:8081"),
    case("neighbour", "10.50.1.9:80", Direct, Reason::ServiceHbone, "10.2.0.42:15008", "10.2.0.42:8082"),
    case("client", "10.3.0.70:80", Direct, Reason::ServiceHbone, "10.2.0.43:15008", "10.2.0.43:8080"),
    case("neighbour", "10.3.0.70:80", Direct, Reason::ServiceHbone, "10.2.0.41:15008", "10.2.0.41:8081"),
    case("client", "10.3.0.71:80", Passthrough, Reason::Unknown, "", ""),
    case("neighbour", "10.3.0.71:80", Direct, Reason::ServiceHbone, "10.2.0.41:15008", "10.2.0.41:8080"),
    // Row 7.
    case("client", "10.2.0.2:80", ToServerWaypoint, Reason::WorkloadWaypoint, "10.2.0.20:15008", ""),
    case("client", "[fd00:2::2]:80", ToServerWaypoint, Reason::WorkloadWaypoint, "[fd00:2::20]:15008", ""),
    case("client", "10.2.0.3:80", ToServerWaypoint, Reason::WaypointUnresolved, "", ""),
    case("client", "[fd00:2::3]:80", ToServerWaypoint, Reason::WaypointUnresolved, "", ""),
    case("client", "10.2.0.4:80", ToServerWaypoint, Reason::WorkloadWaypoint, "10.2.0.20:15008", ""),
    case("client", "10.2.0.6:80", ToServerWaypoint, Reason::WorkloadWaypoint, "10.2.0.20:15018", ""),
    case("client", "10.2.0.7:80", ToServerWaypoint, Reason::WorkloadWaypoint, "10.1.0.8:15008", ""),
    case("waypoint", "10.2.0.7:80", Direct, Reason::WorkloadHbone, "10.2.0.7:15008", ""),
    case("waypoint", "10.2.0.2:80", ToServerWaypoint, Reason::WorkloadWaypoint, "10.2.0.20:15008", ""),
    // Row 8.
    case("client", "10.2.0.1:80", Direct, Reason::WorkloadHbone, "10.2.0.1:15008", ""),
    case("client", "[fd00:2::1]:80", Direct, Reason::WorkloadHbone, "[fd00:2::1]:15008", ""),
    case("client", "10.1.0.2:80", DirectLocal, Reason::LocalBypass, "", ""),
    case("client", "[fd00:1::2]:80", DirectLocal, Reason::LocalBypass, "", ""),
    case("client", "10.1.0.3:80", DirectLocal, Reason::LocalNotEnrolled, "10.1.0.3:15008", ""),
    case("client", "10.1.0.4:80", DirectLocal, Reason::LocalNotEvaluated, "10.1.0.4:15008", ""),
    case("client", "[fd00:1::4]:80", DirectLocal, Reason::LocalNotEvaluated, "[fd00:1::4]:15008", ""),
    case("client", "10.1.0.7:80", DirectLocal, Reason::LocalBypass, "", ""),
    case("client", "[fd00:1::7]:80", DirectLocal, Reason::LocalBypass, "", ""),
    case("client", "10.1.0.7:81", DirectLocal, Reason::LocalPolicy, "10.1.0.7:15008", ""),
    case("neighbour", "10.1.0.7:80", DirectLocal, Reason::LocalPolicy, "10.1.0.7:15008", ""),
    case("neighbour", "[fd00:1::7]:80", DirectLocal, Reason::LocalPolicy, "[fd00:1::7]:15008", ""),
    case("client", "10.1.0.5:80", DirectLocal, Reason::LocalTunnelled, "10.1.0.5:15008", ""),
    // Row 9.
    case("client", "10.2.0.9:80", Direct, Reason::WorkloadPlain, "", ""),
    case("client", "[fd00:2::9]:80", Direct, Reason::WorkloadPlain, "", ""),
    case("client", "10.1.0.9:80", Direct, Reason::WorkloadPlain, "", ""),
    // Row 10, among them what is not found by its address.
    case("client", "192.0.2.1:80", Passthrough, Reason::Unknown, "", ""),
    case("client", "[2001:db8::1]:80", Passthrough, Reason::Unknown, "", ""),
    case("client", "10.9.0.1:80", Passthrough, Reason::Unknown, "", ""),
    case("client", "10.77.0.1:80", Passthrough, Reason::Unknown, "", ""),
    case("client", "10.4.5.6:80", Passthrough, Reason::UnknownInMesh, "", ""),
    case("client", "[fd00:4::1]:80", Passthrough, Reason::UnknownInMesh, "", ""),
];

/// `mesh_cidrs` of [`CASES`].
pub const MESH_CIDRS: &[&str] = &["10.4.0.0/16", "fd00:4::/32"];
