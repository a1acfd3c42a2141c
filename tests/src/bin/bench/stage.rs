//! What is measured on: pods with agents, pods with iptables and pods with nothing, all at once, so
//! that every variant is measured in every round.
//!
//! | pods | on | agent | its way |
//! |---|---|---|---|
//! | `leg` | node | `leg`, with a listener and nothing more in the tunnel's place | to the listener |
//! | `rules` | node | none; iptables rules | to the same kind of listener |
//! | `client`, `server` | node | `bypass` | `direct_local = "bypass"` |
//! | `tclient`, `tserver` | node | `tunnel` | `direct_local = "tunnel"` |
//! | `lclient` | node | `large`, if asked for | as `bypass`, and [`EXTRA`] workloads in its maps |
//! | `plain`, `plain2` | node | none | |
//! | `ruled` | node | none | rules and route as an enrolled pod has them |
//! | [`HOOKED`] | node | none; empty programs on an agent's hooks | rules and route likewise |
//! | `far`, `waypoint` | remote | `remote`; a waypoint | HBONE |
//! | `far-plain` | remote | none | plain TCP |
//! | external host | | none | nobody knows it |

mod agents;
mod hooks;
mod iptables;
mod mesh;
mod rules;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use waysteer_tests::process::{Process, Scratch};
use waysteer_tests::topology::{Topology, service_addresses};
use waysteer_tests::zds::Peer;

use crate::cgroup::{Cgroup, Parent};
use crate::server::{Server, StandIn};
use crate::worker::{Place, processor};
use agents::Agent;
pub(crate) use agents::Kind;
use hooks::Empty;

/// Pods, each with a way of its own.
pub(crate) const PODS: [&str; 11] = [
    "leg", "rules", "client", "server", "tclient", "tserver", "lclient", "plain", "plain2",
    "ruled", HOOKED,
];
pub(crate) const REMOTE_PODS: [&str; 3] = ["far", "far-plain", "waypoint"];
const HOOKED: &str = "hooked";

/// Where every server listens.
pub(crate) const PORT: u16 = 8080;
/// Further workloads of the large mesh, which nobody dials.
const EXTRA: usize = 100_000;
/// Services: one behind a waypoint, one whose endpoint is `server`.
const SHOP: u8 = 12;
const NEIGHBOUR: u8 = 13;

#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped in this order: threads and processes before what they are in.
    pub(crate) servers: Vec<(&'static str, Server)>,
    _stand_ins: Vec<StandIn>,
    _ztunnel: Peer,
    pub(crate) agents: Vec<Agent>,
    empty: Empty,
    waypoint: Process,
    pub(crate) topology: Topology,
    _parent: Parent,
    _scratch: Scratch,
    pub(crate) iptables: Result<String, String>,
}

impl Stage {
    /// With an agent that has a large mesh, or without.
    pub(crate) fn new(with_large: bool) -> Result<Self> {
        let scratch = Scratch::new()?;
        let parent = Parent::new()?;
        let topology = Topology::new(&PODS, &REMOTE_PODS)?;
        // So many connections a second leave as many in TIME_WAIT, each of them with a port.
        for pod in topology.pods() {
            pod.netns
                .set_sysctl("net/ipv4/ip_local_port_range", "16000 65000")?;
        }
        scratch.write("mesh.yaml", mesh::file(&topology, 0))?;
        if with_large {
            scratch.write("large-mesh.yaml", mesh::file(&topology, EXTRA))?;
        }
        let waypoint = agents::start_waypoint(&topology, &scratch)?;
        let agents = Kind::ALL
            .into_iter()
            .filter(|kind| with_large || *kind != Kind::Large)
            .map(|kind| Agent::start(kind, &topology, &parent, &scratch))
            .collect::<Result<Vec<_>>>()?;
        let leg = agents.iter().find(|agent| agent.kind == Kind::Leg);
        let leg = leg.context("an agent of this kind")?;
        let stand_ins = ["leg", "rules", "plain"]
            .into_iter()
            .map(|pod| {
                let cgroup = (pod == "leg").then_some(&leg.cgroup);
                StandIn::start(&server_place(&topology, pod, cgroup))
            })
            .collect::<Result<Vec<_>>>()?;
        let ztunnel = agents::be_ztunnel(leg)?;
        for agent in &agents {
            agent.wait_until_ready()?;
        }
        let hooked = &topology.pod(HOOKED).netns;
        for netns in [&topology.pod("ruled").netns, hooked] {
            rules::lay(netns)?;
        }
        let empty = Empty::attach(hooked, &parent, &scratch)?;
        let iptables = iptables::redirect(&topology.pod("rules").netns);
        let mut stage = Self {
            servers: Vec::new(),
            _stand_ins: stand_ins,
            _ztunnel: ztunnel,
            agents,
            empty,
            waypoint,
            topology,
            _parent: parent,
            _scratch: scratch,
            iptables: iptables.map_err(|error| format!("{error:#}")),
        };
        for pod in ["server", "tserver", "plain2", "far", "far-plain"] {
            let place = server_place(&stage.topology, pod, stage.cgroup_of(pod));
            let server = Server::start(&place, PORT)?;
            stage.servers.push((pod, server));
        }
        let external = Place {
            netns: &stage.topology.external.netns,
            cgroup: None,
            processor: processor(),
        };
        let server = Server::start(&external, PORT)?;
        stage.servers.push(("external", server));
        Ok(stage)
    }

    /// The agent that has a pod.
    pub(crate) fn agent_of(&self, pod: &str) -> Option<&Agent> {
        self.agents
            .iter()
            .find(|agent| agent.kind.pods().contains(&pod))
    }

    /// The empty programs that a pod has in place of an agent's.
    pub(crate) fn empty_of(&self, pod: &str) -> Option<&Empty> {
        (pod == HOOKED).then_some(&self.empty)
    }

    /// What works for others: agents and the waypoint.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        let agents = self.agents.iter().map(Agent::process);
        agents.chain([self.waypoint.id()])
    }

    fn cgroup_of(&self, pod: &str) -> Option<&Cgroup> {
        let of_agent = self.agent_of(pod).map(|agent| &agent.cgroup);
        of_agent.or_else(|| self.empty_of(pod).map(|empty| &empty.cgroup))
    }

    /// Where a client in a pod runs: under the pod's hooks, if it has any.
    pub(crate) fn client_place(&self, pod: &str) -> Place<'_> {
        Place {
            netns: &self.topology.pod(pod).netns,
            cgroup: self.cgroup_of(pod),
            processor: processor(),
        }
    }

    /// The server of a pod, or the external one.
    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        let mut all = self.servers.iter();
        all.find(|(of, _)| *of == name).map(|(_, server)| server)
    }

    /// What one dials to get to the server of a pod, or to the external one.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let ip = match name {
            "external" => self.topology.external.addresses.v4,
            "shop" => service_addresses(SHOP).v4,
            "neighbour" => service_addresses(NEIGHBOUR).v4,
            pod => self.topology.pod(pod).addresses.v4,
        };
        SocketAddr::new(ip.into(), PORT)
    }
}

fn server_place<'a>(topology: &'a Topology, pod: &str, cgroup: Option<&'a Cgroup>) -> Place<'a> {
    Place {
        netns: &topology.pod(pod).netns,
        cgroup,
        processor: processor(),
    }
}
