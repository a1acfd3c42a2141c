//! What is measured of a way, and how it is said.

use serde::Serialize;

/// What is measured of a way in every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    Connect,
    Whole,
    Request,
    Bulk,
    Bulk16,
    /// Of the threads that dial and answer, with what the kernel does for them.
    ConnectionsOwn,
    /// Of the agents and the waypoint.
    ConnectionsAgents,
    BytesOwn,
    BytesAgents,
}

impl Metric {
    pub(crate) const ALL: [Self; 9] = [
        Self::Connect,
        Self::Whole,
        Self::Request,
        Self::Bulk,
        Self::Bulk16,
        Self::ConnectionsOwn,
        Self::ConnectionsAgents,
        Self::BytesOwn,
        Self::BytesAgents,
    ];

    /// Words and unit.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Connect => ("connect()", "µs"),
            Self::Whole => ("connect, request, close", "µs"),
            Self::Request => ("request on a kept connection", "µs"),
            Self::Bulk => ("1 stream", "GB/s"),
            Self::Bulk16 => ("16 streams", "GB/s"),
            Self::ConnectionsOwn => ("CPU, 1000 connections: ends and kernel", "ms"),
            Self::ConnectionsAgents => ("CPU, 1000 connections: agents", "ms"),
            Self::BytesOwn => ("CPU, 1 GB: ends and kernel", "ms"),
            Self::BytesAgents => ("CPU, 1 GB: agents", "ms"),
        }
    }

    /// From seconds, and bytes a second, to the unit.
    pub(crate) fn in_unit(self, value: f64) -> f64 {
        match self {
            Self::Connect | Self::Whole | Self::Request => value * 1e6,
            Self::Bulk | Self::Bulk16 => value / 1e9,
            Self::ConnectionsOwn | Self::ConnectionsAgents | Self::BytesOwn | Self::BytesAgents => {
                value * 1e3
            }
        }
    }

    /// Whether it is about what works for others.
    pub(crate) fn is_of_agents(self) -> bool {
        matches!(self, Self::ConnectionsAgents | Self::BytesAgents)
    }

    /// Whether more is better.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Bulk | Self::Bulk16)
    }
}
