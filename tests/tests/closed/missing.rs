//! A waypoint or an endpoint that is not there: the client hears of it, and nobody hears the client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;

const PORT: u16 = 8080;
const SECRET: &str = "/secret-for-nobody";

struct Watched<'a> {
    bed: &'a Bed,
    capture: Capture,
    /// What a direct connection would reach.
    servers: Vec<Server>,
}

impl<'a> Watched<'a> {
    fn new(bed: &'a Bed) -> Result<Self> {
        let mut servers = Vec::new();
        for (name, port) in [("far", 80), ("far", PORT), ("behind", PORT)] {
            let netns = &bed.pod(name).netns;
            servers.push(Server::start(netns, name, port, Service::Http)?);
        }
        let veth = &bed.pod("client").veth;
        let capture = Capture::start(&bed.topology.node.netns, &[veth, Node::UPLINK])?;
        Ok(Self {
            bed,
            capture,
            servers,
        })
    }

    /// The client gets an error, and nothing of it is to be seen anywhere.
    fn refuses(&self, to: SocketAddr, class: &str, reason: &str) -> Result<()> {
        let mark = self.bed.mark()?;
        // Longer than the tunnel waits for a source that may say more.
        let dial = Dial::new().timeout(Duration::from_secs(13));
        let connection = dial.connect(&self.bed.pod("client").netns, to);
        let answer = connection.and_then(|c| http::get(&c.stream, "any", SECRET));
        ensure!(answer.is_err(), "{to}: {answer:?}");
        let verdict = self.bed.flow_to(to, mark)?;
        ensure!(
            verdict.steered && verdict.class == class && verdict.reason == reason,
            "{verdict:?}"
        );
        for server in &self.servers {
            ensure!(
                server.accepted().is_empty(),
                "{to}: {:?}",
                server.accepted()
            );
        }
        let on_wire = self.capture.sum_to(to);
        ensure!(on_wire.packets == 0, "{to}: {on_wire:?}");
        let seen = self.capture.seen(SECRET.as_bytes());
        ensure!(seen.is_empty(), "{to}: {seen:?}");
        let broken = self.capture.broken_hbone();
        ensure!(broken.is_empty(), "{to}: {broken:?}");
        Ok(())
    }
}

#[test]
fn what_does_not_exist_is_not_gone_around() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let watched = Watched::new(&bed)?;
    for v6 in [false, true] {
        let lost = Bed::service(bed::LOST, v6);
        watched.refuses(lost, "ToServerWaypoint", "WaypointUnresolved")?;
        watched.refuses(Bed::service(bed::EMPTY, v6), "Direct", "NoEndpoint")?;
        let mut other = Bed::service(bed::WEB, v6);
        other.set_port(81);
        watched.refuses(other, "Direct", "NoPort")?;
    }
    Ok(())
}

#[test]
fn what_is_down_is_not_gone_around() -> Result<()> {
    let mut bed = Bed::new(&Options::default())?;
    for peer in &mut bed.peers {
        peer.kill()?;
    }
    // With it go the listeners and programs of `far` and `behind`: a plaintext connection would
    // reach their applications now.
    if let Some(agent) = &mut bed.remote_agent {
        agent.kill()?;
    }
    let watched = Watched::new(&bed)?;
    for v6 in [false, true] {
        let pod = |name: &str| SocketAddr::new(bed.address(name, v6), PORT);
        let shop = Bed::service(bed::SHOP, v6);
        watched.refuses(shop, "ToServerWaypoint", "ServiceWaypoint")?;
        watched.refuses(pod("behind"), "ToServerWaypoint", "WorkloadWaypoint")?;
        watched.refuses(Bed::service(bed::WEB, v6), "Direct", "ServiceHbone")?;
        watched.refuses(pod("far"), "Direct", "WorkloadHbone")?;
    }
    Ok(())
}
