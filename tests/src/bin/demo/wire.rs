//! What crossed the wires: every veth and uplink of both nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;
use waysteer_tests::bed::Bed;
use waysteer_tests::capture::{Capture, FlowId};
use waysteer_tests::topology::{Node, Topology};

use crate::flow::{End, Flow, Way};

const HBONE_PORT: u16 = 15008;

#[derive(Debug)]
pub(crate) struct Wires {
    captures: [(&'static str, Capture); 2],
}

/// How much had gone to ports 15008 at some time.
#[derive(Debug)]
pub(crate) struct Mark(BTreeMap<(&'static str, FlowId), u64>);

/// What crossed since a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Crossing {
    /// The interfaces on which the request stood in the clear.
    pub(crate) plaintext: BTreeSet<String>,
    /// The connections to a port 15008, opened by a TLS ClientHello, that carried at least as many
    /// bytes as the request has.
    pub(crate) hbone: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Wires {
    pub(crate) fn new(topology: &Topology) -> Result<Self> {
        let capture = |node: &Node, more: &[&'static str]| {
            let veths = node.pods.iter().map(|pod| pod.veth.as_str());
            let uplinks = [Node::UPLINK].into_iter().chain(more.iter().copied());
            let interfaces: Vec<&str> = veths.chain(uplinks).collect();
            Capture::start(&node.netns, &interfaces)
        };
        Ok(Self {
            captures: [
                ("node", capture(&topology.node, &[Topology::EXTERNAL_LINK])?),
                ("remote", capture(&topology.remote, &[])?),
            ],
        })
    }

    pub(crate) fn mark(&self) -> Mark {
        let mut bytes = BTreeMap::new();
        for (node, capture) in &self.captures {
            each_hbone(capture, |id, sent, _| {
                bytes.insert((*node, id.clone()), sent);
            });
        }
        Mark(bytes)
    }

    /// What a request was carried by, and where its path was seen.
    pub(crate) fn since(&self, mark: &Mark, path: &str, request: u64) -> Crossing {
        let mut crossing = Crossing::default();
        for (node, capture) in &self.captures {
            for id in capture.seen(path.as_bytes()) {
                crossing
                    .plaintext
                    .insert(format!("{node}/{}", id.interface));
            }
            each_hbone(capture, |id, sent, is_tls| {
                let before = mark.0.get(&(*node, id.clone())).copied().unwrap_or(0);
                if is_tls && sent >= before + request {
                    crossing.hbone.insert((id.source, id.destination));
                }
            });
        }
        crossing
    }

    /// Flows to a port 15008 whose bytes were not TLS; there may be none.
    pub(crate) fn broken_hbone(&self) -> Vec<FlowId> {
        let broken = self.captures.iter();
        broken
            .flat_map(|(_, capture)| capture.broken_hbone())
            .collect()
    }

    /// Packets that the captures did not get; there may be none.
    pub(crate) fn lost(&self) -> u64 {
        self.captures
            .iter()
            .map(|(_, capture)| capture.lost())
            .sum()
    }
}

impl Crossing {
    pub(crate) fn in_words(&self) -> String {
        let plaintext = (!self.plaintext.is_empty()).then_some("plaintext");
        let mut words: Vec<&str> = plaintext.into_iter().collect();
        words.extend(self.hbone.iter().map(|_| "HBONE"));
        if words.is_empty() {
            words.push("nothing");
        }
        words.join(", ")
    }

    /// Whether a flow's request crossed as it must.
    pub(crate) fn is_right(&self, bed: &Bed, flow: &Flow) -> bool {
        match (&flow.way, &flow.end) {
            (Way::Plaintext, _) => !self.plaintext.is_empty() && self.hbone.is_empty(),
            (Way::Held, _) => *self == Self::default(),
            (Way::Hbone(pod), _) => self.went(bed, flow, &["client", pod]),
            (Way::Waypoint(pod), End::Server { name, .. }) => {
                self.went(bed, flow, &["client", pod, name])
            }
            (Way::Waypoint(_), End::Nobody) => false,
        }
    }

    /// From pod to pod over HBONE, and by nothing else.
    fn went(&self, bed: &Bed, flow: &Flow, pods: &[&str]) -> bool {
        let has = |pod: &str, end: SocketAddr| bed.pod(pod).addresses.both().contains(&end.ip());
        let client = bed.address("client", flow.to.is_ipv6());
        // The first leg is of the flow's own family; a waypoint may change it.
        self.plaintext.is_empty()
            && self.hbone.len() == pods.len() - 1
            && self.hbone.iter().any(|(from, _)| from.ip() == client)
            && pods.array_windows().all(|[one, next]| {
                let mut legs = self.hbone.iter();
                legs.any(|(from, to)| has(one, *from) && has(next, *to))
            })
    }
}

/// Calls with the bytes so far, and whether they began as TLS does. Copies no payload.
fn each_hbone(capture: &Capture, mut each: impl FnMut(&FlowId, u64, bool)) {
    capture.flows(|id, traffic| {
        if id.destination.port() == HBONE_PORT {
            each(id, traffic.bytes, traffic.is_client_hello());
        }
        false
    });
}
