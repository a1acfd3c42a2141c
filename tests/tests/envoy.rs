//! Envoy as the waypoint, the agent in front of it and behind it.

mod serves;
mod stops;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use waysteer_tests::bed::{self, Bed, Options, TCP_PORT, Waypoints};
use waysteer_tests::capture::Capture;
use waysteer_tests::envoy;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::skip;
use waysteer_tests::topology::Node;

const BANNER: &[u8] = b"220 server speaks first\r\n";

/// The bed with Envoys, servers behind them, and every wire watched.
struct Behind {
    /// On the client's node, and on the remote one.
    captures: [Capture; 2],
    /// HTTP of `far` and `behind`, the banner of each.
    servers: Vec<Server>,
    bed: Bed,
}

impl Behind {
    /// Nothing where there is no Envoy.
    fn new() -> Result<Option<Self>> {
        if skip::without("Envoy", envoy::find().is_some())? {
            return Ok(None);
        }
        let bed = Bed::new(&Options {
            waypoints: Waypoints::Envoy,
            ..Options::default()
        })?;
        let mut servers = Vec::new();
        for (pod, port) in [("far", 80), ("behind", 8080)] {
            let netns = &bed.pod(pod).netns;
            servers.push(Server::start(netns, pod, port, Service::Http)?);
            let banner = Service::Banner(BANNER.into());
            servers.push(Server::start(netns, "banner", TCP_PORT, banner)?);
        }
        let capture = |node: &Node| {
            let veths = node.pods.iter().map(|pod| pod.veth.as_str());
            let interfaces: Vec<&str> = veths.chain([Node::UPLINK]).collect();
            Capture::start(&node.netns, &interfaces)
        };
        Ok(Some(Self {
            captures: [capture(&bed.topology.node)?, capture(&bed.topology.remote)?],
            servers,
            bed,
        }))
    }

    /// By the service's address and by the workload's, with the port of HTTP.
    fn ways(&self, v6: bool) -> [Way; 2] {
        [
            Way {
                to: Bed::service(bed::SHOP, v6),
                waypoint: "waypoint",
                server: "far",
            },
            Way {
                to: SocketAddr::new(self.bed.address("behind", v6), 8080),
                waypoint: "gate",
                server: "behind",
            },
        ]
    }

    fn client(&self) -> &waysteer_tests::netns::NetNs {
        &self.bed.pod("client").netns
    }

    /// Connections that servers have accepted so far.
    fn accepted(&self) -> usize {
        self.servers
            .iter()
            .map(|server| server.accepted().len())
            .sum()
    }

    /// Nothing of this stood in the clear on any wire, nothing but TLS went to a port 15008, and
    /// client and server never spoke without the waypoint.
    fn ensure_hidden(&self, needle: &[u8]) -> Result<()> {
        let is_of = |ip: IpAddr, pod: &str| self.bed.pod(pod).addresses.both().contains(&ip);
        for capture in &self.captures {
            let seen = capture.seen(needle);
            ensure!(seen.is_empty(), "in the clear: {seen:?}");
            let broken = capture.broken_hbone();
            ensure!(broken.is_empty(), "not TLS: {broken:?}");
            let direct = capture.sum(|id| {
                let (from, to) = (id.source.ip(), id.destination.ip());
                is_of(from, "client") && (is_of(to, "far") || is_of(to, "behind"))
            });
            ensure!(direct.packets == 0, "past the waypoint: {direct:?}");
            ensure!(capture.lost() == 0, "the capture is not complete");
        }
        Ok(())
    }
}

/// One flow of the client's.
struct Way {
    to: SocketAddr,
    waypoint: &'static str,
    server: &'static str,
}
