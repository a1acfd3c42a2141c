//! Policies decide which neighbours go past the tunnel.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, TunnelKind};
use waysteer_tests::capture::{Capture, FlowId};
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

const PORT: u16 = 8081;
const SHUT: u16 = 8082;
/// Nobody's.
const STRANGE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    bed: Bed,
    server: Server,
    shut: Server,
    wire: Capture,
}

impl Scene {
    /// With a tunnel that is no part of the agent, and policies that apply to `server`.
    fn new(policies: &str) -> Result<Self> {
        let mut bed = Bed::new(&Options {
            tunnel: TunnelKind::StandIn,
            start_agent: false,
            ..Options::default()
        })?;
        write(&bed, policies)?;
        bed.start_agent()?;
        bed.start_ztunnel()?;
        bed.wait_until_ready()?;
        let netns = &bed.pod("server").netns;
        let server = Server::start(netns, "server", PORT, Service::Http)?;
        let shut = Server::start(netns, "server", SHUT, Service::Http)?;
        let veths = ["client", "other", "server"].map(|pod| bed.pod(pod).veth.as_str());
        let wire = Capture::start(&bed.topology.node.netns, &veths)?;
        Ok(Self {
            bed,
            server,
            shut,
            wire,
        })
    }

    fn to(&self, port: u16, v6: bool) -> SocketAddr {
        SocketAddr::new(self.bed.address("server", v6), port)
    }

    fn explain(&self, from: &str, port: u16, v6: bool) -> Result<(String, String)> {
        let pod = format!("default/{from}");
        admin::explain(&self.bed.socket(), &pod, self.to(port, v6))
    }

    fn wait_for(&self, from: &str, port: u16, reason: &str) -> Result<()> {
        wait_until(PATIENCE, &format!("{from} to {port}: {reason}"), || {
            let said = |v6| {
                self.explain(from, port, v6)
                    .is_ok_and(|said| said.0 == reason)
            };
            said(false) && said(true)
        })
    }

    /// Goes past the tunnel, all the way.
    fn ensure_bypassed(&self, from: &str, port: u16, v6: bool) -> Result<Connection> {
        let to = self.to(port, v6);
        let mark = self.bed.mark()?;
        self.wire.clear();
        let connection = Dial::new().connect(&self.bed.pod(from).netns, to)?;
        let seen = http::get(&connection.stream, "server", "/past")?.seen()?;
        ensure!(seen.client.ip() == self.bed.address(from, v6), "{seen:?}");
        let flow = self.bed.flow_to(to, mark)?;
        ensure!(flow.reason == "LocalBypass" && !flow.steered, "{flow:?}");
        ensure!(!self.wire.seen(b"/past").is_empty());
        ensure!(self.to_tunnel(from, v6) == 0, "HBONE was spoken");
        Ok(connection)
    }

    /// A pod's packets of HBONE, whether of a new connection or of one that is used again.
    fn to_tunnel(&self, from: &str, v6: bool) -> u64 {
        let source = self.bed.address(from, v6);
        let sent = |id: &FlowId| id.source.ip() == source && id.destination.port() == 15008;
        self.wire.sum(sent).packets
    }

    fn request(&self, from: &str, to: SocketAddr) -> Result<http::Response> {
        let found = Dial::new().connect(&self.bed.pod(from).netns, to);
        let found = found.context("connecting")?;
        Ok(http::get(&found.stream, "server", "/secret")?)
    }

    /// The tunnel follows the mesh by itself, and may be later than the agent with a new policy.
    fn wait_for_tunnel(&self, from: &str) -> Result<()> {
        self.wire.clear();
        wait_until(PATIENCE, "the tunnel has the policy too", || {
            let is_refused = |v6| self.request(from, self.to(PORT, v6)).is_err();
            is_refused(false) && is_refused(true)
        })?;
        ensure!(self.wire.seen(b"/secret").is_empty(), "it was on the wire");
        Ok(())
    }

    /// Is left to the tunnel, which enforces no policy and so lets nobody in where one applies.
    fn ensure_tunnelled(&self, from: &str, port: u16, v6: bool, reason: &str) -> Result<()> {
        let (to, server) = (
            self.to(port, v6),
            if port == PORT {
                &self.server
            } else {
                &self.shut
            },
        );
        let (mark, accepted) = (self.bed.mark()?, server.accepted().len());
        self.wire.clear();
        let refused = self.request(from, to);
        ensure!(refused.is_err(), "{refused:?}");
        ensure!(
            server.accepted().len() == accepted,
            "the server was reached"
        );
        let flow = self.bed.flow_to(to, mark)?;
        ensure!(flow.reason == reason && flow.steered, "{flow:?}");
        ensure!(self.wire.seen(b"/secret").is_empty(), "it was on the wire");
        ensure!(self.to_tunnel(from, v6) > 0, "no HBONE was spoken");
        let plain = self.wire.sum_to(to);
        ensure!(plain.packets == 0, "{plain:?}");
        Ok(())
    }
}

/// Policies, by lines, that `server` names.
fn write(bed: &Bed, policies: &str) -> Result<()> {
    let mesh = bed.mesh();
    let name = "name: server,";
    ensure!(mesh.matches(name).count() == 1);
    let names = policies
        .lines()
        .filter_map(|line| line.split(['{', ',']).nth(1)?.strip_prefix("name: "));
    let names: BTreeSet<String> = names.map(|name| format!("\"default/{name}\"")).collect();
    let names: Vec<String> = names.into_iter().collect();
    let with = format!("{name} authorizationPolicies: [{}],", names.join(", "));
    let mesh = mesh.replace(name, &with);
    // One that is not there, to be named.
    let there = policies.lines().filter(|line| !line.contains("missing"));
    let there: String = there.map(|line| format!("{line}\n")).collect();
    bed.write_mesh(&format!("{mesh}policies:\n{there}"))
}

/// Only one pod, and not on the other port.
fn only(pod: &str) -> String {
    format!(
        "- {{name: allow, namespace: default, scope: WorkloadSelector, action: Allow, dryRun: false, \
         rules: [[[{{principals: [!Exact cluster.local/ns/default/sa/{pod}]}}]]]}}\n\
         - {{name: deny, namespace: default, scope: WorkloadSelector, action: Deny, dryRun: false, \
         rules: [[[{{destinationPorts: [{SHUT}]}}]]]}}\n"
    )
}

#[test]
fn what_they_allow_goes_past_the_tunnel_and_nothing_else() -> Result<()> {
    let scene = Scene::new(&only("client"))?;
    for v6 in [false, true] {
        scene.ensure_bypassed("client", PORT, v6)?;
        scene.ensure_tunnelled("client", SHUT, v6, "LocalPolicy")?;
        scene.ensure_tunnelled("other", PORT, v6, "LocalPolicy")?;
        let why = |from, port| scene.explain(from, port, v6).map(|said| said.1);
        ensure!(why("client", PORT)? == "allowed by default/allow");
        ensure!(why("client", SHUT)? == "denied by default/deny");
        ensure!(why("other", PORT)? == "denied: no policy allows it");
    }
    let counted = |reason| {
        let labels = [("class", "DirectLocal"), ("reason", reason)];
        scene.bed.metric("waysteer_verdicts", &labels)
    };
    ensure!(counted("LocalBypass")? == 2 && counted("LocalPolicy")? == 4);
    Ok(())
}

#[test]
fn a_policy_that_changes_counts_for_the_next_connection() -> Result<()> {
    let scene = Scene::new(&only("client"))?;
    let mut open = Vec::new();
    for v6 in [false, true] {
        open.push(scene.ensure_bypassed("client", PORT, v6)?);
    }
    write(&scene.bed, &only("other"))?;
    scene.wait_for("client", PORT, "LocalPolicy")?;
    scene.wait_for_tunnel("client")?;
    for v6 in [false, true] {
        scene.ensure_tunnelled("client", PORT, v6, "LocalPolicy")?;
        scene.ensure_bypassed("other", PORT, v6)?;
    }
    // What is open stays open.
    for connection in open {
        http::get(&connection.stream, "server", "/still")?.seen()?;
    }
    // None applies any more.
    scene.bed.write_mesh(&scene.bed.mesh())?;
    scene.wait_for("client", PORT, "LocalBypass")?;
    for v6 in [false, true] {
        scene.ensure_bypassed("client", SHUT, v6)?;
    }
    // One that never arrives.
    let missing = "- {name: missing, namespace: default}\n";
    write(&scene.bed, missing)?;
    scene.wait_for("client", PORT, "LocalNotEvaluated")?;
    scene.wait_for_tunnel("client")?;
    for v6 in [false, true] {
        scene.ensure_tunnelled("client", PORT, v6, "LocalNotEvaluated")?;
        let (_, why) = scene.explain("client", PORT, v6)?;
        ensure!(
            why == "not evaluated: policy default/missing has not arrived",
            "{why}"
        );
    }
    Ok(())
}

/// Nobody but the kernel knows the source's address before it connects.
#[test]
fn a_source_address_that_is_not_known_is_not_exempted() -> Result<()> {
    let scene = Scene::new("")?;
    let netns = &scene.bed.pod("client").netns;
    scene.ensure_bypassed("client", PORT, false)?;
    let add = ["addr", "add", &format!("{STRANGE}/32"), "dev", "lo"];
    ensure!(netns.command("ip").args(add).status()?.success());
    let strange = SocketAddr::new(STRANGE.into(), 0);
    let before = (scene.server.accepted().len(), refused(&scene)?);
    scene.wire.clear();
    let dial = Dial::new().timeout(Duration::from_secs(2)).source(strange);
    let connected = dial.connect(netns, scene.to(PORT, false));
    ensure!(connected.is_err(), "{connected:?}");
    ensure!(scene.server.accepted().len() == before.0);
    ensure!(refused(&scene)? == before.1 + 1);
    Ok(())
}

fn refused(scene: &Scene) -> Result<u64> {
    let labels = [("action", "local_flow_refused")];
    scene.bed.metric("waysteer_packet_actions", &labels)
}
