//! Who talks to whom, and how.

use std::net::{IpAddr, SocketAddr};

use crate::bed::{self, Bed, OPEN_PORT};

/// The port of the applications that must only be reached encrypted; the wire is watched for it.
pub(super) const SECRET_PORT: u16 = 8080;
/// [`bed::SHOP`]'s, which its waypoint leaves as it is, and the port of every service.
pub(super) const SERVICE_PORT: u16 = 80;

/// What becomes of a way's connections on the node under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Into the tunnel, and on through a waypoint.
    ToServerWaypoint,
    /// Into the tunnel, and on to the server's node.
    DirectHbone,
    /// Into the tunnel, and to a pod of this node.
    LocalHbone,
    /// From another node, out of the tunnel.
    InboundHbone,
    /// From outside the mesh, through the tunnel.
    InboundPlain,
    /// Past the tunnel to a pod of this node.
    LocalBypass,
    /// Plain TCP to a workload of the mesh.
    Plain,
    Passthrough,
    /// From the node itself.
    Probe,
}

impl Kind {
    /// Those that end with the node's tunnel.
    pub const TUNNELLED: [Self; 5] = [
        Self::ToServerWaypoint,
        Self::DirectHbone,
        Self::LocalHbone,
        Self::InboundHbone,
        Self::InboundPlain,
    ];

    /// Whether none of it may be on a wire as it is.
    pub fn is_secret(self) -> bool {
        match self {
            Self::ToServerWaypoint | Self::DirectHbone | Self::LocalHbone | Self::InboundHbone => {
                true
            }
            Self::InboundPlain
            | Self::LocalBypass
            | Self::Plain
            | Self::Passthrough
            | Self::Probe => false,
        }
    }
}

/// A source's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum From {
    Pod(&'static str),
    Node,
    External,
}

/// One way, of one family.
#[derive(Debug, Clone)]
pub struct Way {
    pub name: String,
    pub kind: Kind,
    pub from: From,
    pub to: SocketAddr,
    /// The server that must answer.
    pub server: &'static str,
    /// The client as the server must see it.
    pub seen_as: IpAddr,
}

/// Every kind, in both families.
pub fn all(bed: &Bed) -> Vec<Way> {
    let both = [false, true].map(|v6| of_family(bed, v6));
    both.into_iter().flatten().collect()
}

fn of_family(bed: &Bed, v6: bool) -> Vec<Way> {
    let family = usize::from(v6);
    let pod = |name: &str, port| SocketAddr::new(bed.address(name, v6), port);
    let service = |number| Bed::service(number, v6);
    let host = bed.topology.external.addresses.both()[family];
    let node = bed.topology.node.addresses.both()[family];
    let way = |kind, from, to: SocketAddr, server, seen_as| Way {
        name: format!("{kind:?} {from:?} {to}"),
        kind,
        from,
        to,
        server,
        seen_as,
    };
    let client = |kind, to, server| {
        let from = From::Pod("client");
        way(kind, from, to, server, bed.address("client", v6))
    };
    // The waypoints go on from their own addresses, to IPv4.
    let through = |to, waypoint, server| {
        let from = From::Pod("client");
        let seen_as = bed.address(waypoint, false);
        way(Kind::ToServerWaypoint, from, to, server, seen_as)
    };
    let inbound = |kind, from: &'static str, port| {
        let seen_as = bed.address(from, v6);
        way(
            kind,
            From::Pod(from),
            pod("server", port),
            "server",
            seen_as,
        )
    };
    let server = pod("server", OPEN_PORT);
    vec![
        through(service(bed::SHOP), "waypoint", "far"),
        through(pod("behind", SECRET_PORT), "gate", "behind"),
        client(Kind::DirectHbone, pod("far", SECRET_PORT), "far"),
        client(Kind::DirectHbone, service(bed::WEB), "far"),
        client(Kind::LocalHbone, service(bed::OWN), "client"),
        client(Kind::LocalBypass, server, "server"),
        client(
            Kind::LocalBypass,
            SocketAddr::new(service(bed::WEB_LOCAL).ip(), bed::OPEN_SERVICE_PORT),
            "server",
        ),
        client(Kind::Plain, pod("far-plain", OPEN_PORT), "far-plain"),
        client(Kind::Plain, pod("plain", OPEN_PORT), "plain"),
        client(
            Kind::Passthrough,
            SocketAddr::new(host, OPEN_PORT),
            "external",
        ),
        inbound(Kind::InboundHbone, "far", SECRET_PORT),
        inbound(Kind::InboundPlain, "far-plain", OPEN_PORT),
        way(Kind::InboundPlain, From::External, server, "server", host),
        // The node's route to a pod names this source.
        way(Kind::Probe, From::Node, server, "server", node),
    ]
}
