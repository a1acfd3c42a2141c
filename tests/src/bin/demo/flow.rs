//! The flows, and what must become of them.

use std::net::SocketAddr;

use waysteer_tests::bed::{self, Bed};

/// One flow of the client's.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) to: SocketAddr,
    pub(crate) class: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) way: Way,
    pub(crate) end: End,
}

/// How it leaves the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Plaintext,
    /// To port 15008 of this pod.
    Hbone(&'static str),
    /// To port 15008 of a waypoint, and from there over HBONE again.
    Waypoint(&'static str),
    /// Not at all.
    Held,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The server of this name. Without waysteer a service's address leads nowhere; what is
    /// compared with then is the connection to this address.
    Server {
        name: &'static str,
        instead: Option<SocketAddr>,
    },
    /// Nobody may.
    Nobody,
}

impl Way {
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Plaintext => "plaintext, and no HBONE".to_owned(),
            Self::Hbone(pod) => format!("HBONE to {pod}, and nothing in the clear"),
            Self::Waypoint(pod) => {
                format!("HBONE to {pod} and from there on, and nothing in the clear")
            }
            Self::Held => "nothing".to_owned(),
        }
    }
}

/// Every flow, v4 first.
pub(crate) fn all(bed: &Bed) -> Vec<Flow> {
    [false, true]
        .into_iter()
        .flat_map(|v6| of_family(bed, v6))
        .collect()
}

fn of_family(bed: &Bed, v6: bool) -> Vec<Flow> {
    let pod = |name, port| SocketAddr::new(bed.address(name, v6), port);
    let external = bed.topology.external.addresses.both()[usize::from(v6)];
    let service = |number| Bed::service(number, v6);
    let flow = |name, to, (class, reason), way, end| Flow {
        name,
        to,
        class,
        reason,
        way,
        end,
    };
    let server = |name| End::Server {
        name,
        instead: None,
    };
    let behind_vip = |name, port| End::Server {
        name,
        instead: Some(pod(name, port)),
    };
    vec![
        flow(
            "service with waypoint",
            service(bed::SHOP),
            ("ToServerWaypoint", "ServiceWaypoint"),
            Way::Waypoint("waypoint"),
            behind_vip("far", 80),
        ),
        flow(
            "workload with waypoint",
            pod("behind", 8080),
            ("ToServerWaypoint", "WorkloadWaypoint"),
            Way::Waypoint("gate"),
            server("behind"),
        ),
        flow(
            "remote pod",
            pod("far", 8080),
            ("Direct", "WorkloadHbone"),
            Way::Hbone("far"),
            server("far"),
        ),
        flow(
            "remote service",
            service(bed::WEB),
            ("Direct", "ServiceHbone"),
            Way::Hbone("far"),
            behind_vip("far", 8080),
        ),
        flow(
            "local pod",
            pod("server", 8080),
            ("DirectLocal", "LocalBypass"),
            Way::Plaintext,
            server("server"),
        ),
        flow(
            "local service",
            service(bed::WEB_LOCAL),
            ("DirectLocal", "ServiceLocalBypass"),
            Way::Plaintext,
            behind_vip("server", 8080),
        ),
        flow(
            "local plain-TCP pod",
            pod("plain", 8080),
            ("Direct", "WorkloadPlain"),
            Way::Plaintext,
            server("plain"),
        ),
        flow(
            "remote plain-TCP pod",
            pod("far-plain", 8080),
            ("Direct", "WorkloadPlain"),
            Way::Plaintext,
            server("far-plain"),
        ),
        flow(
            "external host",
            SocketAddr::new(external, 80),
            ("Passthrough", "Unknown"),
            Way::Plaintext,
            server("external"),
        ),
        flow(
            "waypoint missing",
            service(bed::LOST),
            ("ToServerWaypoint", "WaypointUnresolved"),
            Way::Held,
            End::Nobody,
        ),
        flow(
            "no endpoints",
            service(bed::EMPTY),
            ("Direct", "NoEndpoint"),
            Way::Held,
            End::Nobody,
        ),
    ]
}
