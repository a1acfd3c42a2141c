//! The ways that are compared, with what, and what they must reach.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;
use serde::Serialize;
use waysteer_common::abi::names::OUTBOUND_PORT;

use crate::metric::Metric;
use crate::server::Server;
use crate::stage::Stage;

/// Parts of the benchmark: `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topic {
    /// From the application to the tunnel's listener, and to the same one on loopback
    Leg,
    /// To a destination that nobody knows
    Passthrough,
    /// To a workload without HBONE
    Plain,
    /// To a pod of the same node, past the tunnel and through it
    Local,
    /// To another node, over HBONE, and through a waypoint
    Hbone,
    /// From another node into an enrolled pod, from outside of the mesh and over HBONE
    Inbound,
    /// Memory of ten thousand idle connections
    Idle,
    /// Runs and instructions of the programs for packets of kept connections
    Packets,
    /// The classifier and the packet programs alone, over maps of several sizes
    Micro,
    /// Connections while a mesh of 100,000 workloads is in the maps
    Large,
}

/// Who dials whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    from: &'static str,
    to: &'static str,
    /// Through tunnels, with cryptography: less of it is enough.
    pub(crate) is_slow: bool,
}

/// A way, what it is measured against, and bars: for times at most, for rates at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) topic: Topic,
    pub(crate) way: Way,
    pub(crate) base: Way,
    pub(crate) bars: &'static [(Metric, f64)],
}

const fn way(name: &'static str, from: &'static str, to: &'static str) -> Way {
    Way {
        name,
        from,
        to,
        is_slow: false,
    }
}

const fn slow(name: &'static str, from: &'static str, to: &'static str) -> Way {
    Way {
        name,
        from,
        to,
        is_slow: true,
    }
}

const LOOPBACK: &str = "loopback";
const LISTENER: Way = way("listener on loopback", "leg", LOOPBACK);
const LOCAL: Way = way("plain, same node", "plain", "plain2");
const REMOTE: Way = way("plain, other node", "plain", "far-plain");
const FROM_REMOTE: Way = way("plain, from another node", "far-plain", "plain2");
const EXTERNAL: Way = way("plain, external host", "plain", "external");
const PASSTHROUGH: Way = way("Passthrough", "client", "external");
const PLAIN: Way = way("Direct, plain TCP", "client", "far-plain");
const BYPASS: Way = way("DirectLocal bypass", "client", "server");
const TUNNEL: Way = slow("DirectLocal over HBONE", "tclient", "tserver");

pub(crate) const COMPARISONS: [Comparison; 18] = [
    Comparison {
        topic: Topic::Leg,
        way: way("application to listener, waysteer", "leg", "far"),
        base: LISTENER,
        bars: &[
            (Metric::Request, 1.03),
            (Metric::Whole, 1.05),
            (Metric::Bulk, 0.97),
        ],
    },
    Comparison {
        topic: Topic::Leg,
        way: way("application to listener, iptables", "rules", "far"),
        base: LISTENER,
        bars: &[],
    },
    Comparison {
        topic: Topic::Leg,
        way: way("loopback, pod without agent", "plain", LOOPBACK),
        base: LISTENER,
        bars: &[],
    },
    Comparison {
        topic: Topic::Passthrough,
        way: PASSTHROUGH,
        base: EXTERNAL,
        bars: &[(Metric::Whole, 1.05), (Metric::Bulk, 0.97)],
    },
    Comparison {
        topic: Topic::Passthrough,
        way: way("plain, from another pod", "plain2", "external"),
        base: EXTERNAL,
        bars: &[],
    },
    Comparison {
        topic: Topic::Passthrough,
        way: way("rules and route alone, without agent", "ruled", "external"),
        base: EXTERNAL,
        bars: &[],
    },
    Comparison {
        topic: Topic::Passthrough,
        way: way(
            "rules, route and empty programs, without agent",
            "hooked",
            "external",
        ),
        base: EXTERNAL,
        bars: &[],
    },
    Comparison {
        topic: Topic::Plain,
        way: PLAIN,
        base: REMOTE,
        bars: &[],
    },
    Comparison {
        topic: Topic::Local,
        way: BYPASS,
        base: LOCAL,
        bars: &[(Metric::Whole, 1.1), (Metric::Bulk, 0.95)],
    },
    Comparison {
        topic: Topic::Local,
        way: way("DirectLocal bypass, by a service", "client", "neighbour"),
        base: LOCAL,
        bars: &[(Metric::Whole, 1.1), (Metric::Bulk, 0.95)],
    },
    Comparison {
        topic: Topic::Local,
        way: BYPASS,
        base: TUNNEL,
        bars: &[(Metric::Whole, 0.4), (Metric::Bulk, 3.0)],
    },
    Comparison {
        topic: Topic::Local,
        way: TUNNEL,
        base: LOCAL,
        bars: &[],
    },
    Comparison {
        topic: Topic::Hbone,
        way: slow("Direct over HBONE", "client", "far"),
        base: REMOTE,
        bars: &[],
    },
    Comparison {
        topic: Topic::Hbone,
        way: slow("ToServerWaypoint", "client", "shop"),
        base: REMOTE,
        bars: &[],
    },
    Comparison {
        topic: Topic::Inbound,
        way: slow("inbound plaintext", "far-plain", "server"),
        base: FROM_REMOTE,
        bars: &[],
    },
    Comparison {
        topic: Topic::Inbound,
        way: slow("inbound HBONE", "far", "server"),
        base: FROM_REMOTE,
        bars: &[],
    },
    Comparison {
        topic: Topic::Large,
        way: way("Passthrough, 100,000 workloads", "lclient", "external"),
        base: PASSTHROUGH,
        bars: &[],
    },
    Comparison {
        topic: Topic::Large,
        way: way(
            "Direct, plain TCP, 100,000 workloads",
            "lclient",
            "far-plain",
        ),
        base: PLAIN,
        bars: &[],
    },
];

/// All that some topics compare, each way once.
pub(crate) fn of_topics(topics: &[Topic]) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for comparison in COMPARISONS {
        for way in [comparison.base, comparison.way] {
            if topics.contains(&comparison.topic) && !ways.iter().any(|of| of.name == way.name) {
                ways.push(way);
            }
        }
    }
    ways
}

impl Way {
    /// The pod that dials.
    pub(crate) fn from(&self) -> &'static str {
        self.from
    }

    /// What is dialled.
    pub(crate) fn to(&self, stage: &Stage) -> SocketAddr {
        if self.to == LOOPBACK {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), OUTBOUND_PORT)
        } else {
            stage.address(self.to)
        }
    }

    /// Who answers.
    pub(crate) fn server<'a>(&self, stage: &'a Stage) -> Option<&'a Server> {
        stage.server(match self.to {
            "shop" => "far",
            "neighbour" => "server",
            pod => pod,
        })
    }

    /// Needs what this machine may lack.
    pub(crate) fn needs_iptables(&self) -> bool {
        self.from == "rules"
    }
}
