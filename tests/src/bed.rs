//! A mesh on the topology, with the agent running: what most kernel tests start from.
//!
//! | workload | where | how it is reached |
//! |---|---|---|
//! | `client`, `server`, `other` | this node, enrolled | HBONE |
//! | `plain` | this node, not enrolled | plain TCP |
//! | `far` | the remote node, enrolled by an agent of that node | HBONE |
//! | `behind` | the same | HBONE, through `gate` |
//! | `far-plain` | the remote node | plain TCP |
//! | `waypoint`, `gate` | the remote node, `hbone-peer` as waypoints | HBONE |
//!
//! | service | port 80 leads to |
//! |---|---|
//! | [`WEB`] | `far`, port 8080 |
//! | [`WEB_LOCAL`] | `server`, port 8080 |
//! | [`SHOP`] | `far`, port 80, through `waypoint` |
//! | [`LOST`] | `far`, through a waypoint that does not exist |
//! | [`EMPTY`] | nobody |
//! | [`OWN`] | `client`, port 8080 |

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::admin;
use crate::process::{Process, Scratch, binary};
use crate::topology::{Pod, Topology, service_addresses};
use crate::wait::wait_for;

pub const WEB: u8 = 10;
pub const WEB_LOCAL: u8 = 11;
pub const SHOP: u8 = 12;
pub const LOST: u8 = 13;
pub const EMPTY: u8 = 14;
pub const OWN: u8 = 15;
const WAYPOINT: u8 = 20;
const GATE: u8 = 21;

const ENROLLED: &[&str] = &["client", "server", "other"];
const LOCAL: &[&str] = &["client", "server", "other", "plain"];
const REMOTE: &[&str] = &["far", "behind", "far-plain", "waypoint", "gate"];
const REMOTE_ENROLLED: &[&str] = &["far", "behind"];

/// How long anything may take to get ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the agent is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub direct_local: &'static str,
    pub mesh_cidrs: Vec<String>,
    /// Without it the agent is not started, see [`Bed::start_agent`].
    pub start_agent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct_local: "bypass",
            mesh_cidrs: Vec::new(),
            start_agent: true,
        }
    }
}

#[derive(Debug)]
pub struct Bed {
    // Dropped in this order: processes before the namespaces they are in.
    pub agent: Option<Process>,
    /// The remote node's agent.
    pub remote_agent: Option<Process>,
    pub peers: Vec<Process>,
    pub topology: Topology,
    pub scratch: Scratch,
}

impl Bed {
    /// Makes all of it, and waits until it is ready.
    pub fn new(options: &Options) -> Result<Self> {
        let topology = Topology::new(LOCAL, REMOTE)?;
        let mut scratch = Scratch::new()?;
        if std::env::var_os("WAYSTEER_KEEP").is_some() {
            scratch.keep();
        }
        let mut bed = Self {
            agent: None,
            remote_agent: None,
            peers: Vec::new(),
            topology,
            scratch,
        };
        bed.write_mesh(&bed.mesh())?;
        bed.write_pods(ENROLLED)?;
        bed.replace("remote-pods.yaml", &bed.pods_file(REMOTE_ENROLLED)?)?;
        bed.scratch
            .write("waysteer.toml", bed.config("node1", "", options))?;
        bed.scratch
            .write("remote.toml", bed.config("node2", "remote-", options))?;
        bed.start_peers()?;
        bed.start_remote_agent()?;
        if options.start_agent {
            bed.start_agent()?;
            bed.wait_until_ready()?;
        }
        Ok(bed)
    }

    pub fn pod(&self, name: &str) -> &Pod {
        self.topology.pod(name)
    }

    /// The path of the agent's admin socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("admin.sock")
    }

    fn ca(&self) -> PathBuf {
        self.scratch.path().join("ca")
    }

    pub fn start_agent(&mut self) -> Result<()> {
        let mut command = self.topology.node.netns.command(binary("waysteer")?);
        command
            .arg("run")
            .arg("--config")
            .arg(self.scratch.path().join("waysteer.toml"));
        self.agent = Some(Process::start("waysteer", command, &self.scratch)?);
        Ok(())
    }

    fn start_remote_agent(&mut self) -> Result<()> {
        let mut command = self.topology.remote.netns.command(binary("waysteer")?);
        command
            .arg("run")
            .arg("--config")
            .arg(self.scratch.path().join("remote.toml"));
        self.remote_agent = Some(Process::start("remote-waysteer", command, &self.scratch)?);
        wait_until_ready(&self.scratch.path().join("remote-admin.sock"))
    }

    /// Waits until the agent says that every pod is captured and the source complete.
    pub fn wait_until_ready(&self) -> Result<()> {
        wait_until_ready(&self.socket())
    }

    /// Stops the agent in the orderly way.
    pub fn stop_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent does not run")?;
        let status = agent.terminate()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    /// The number of the next verdict, for [`Self::flow_to`].
    pub fn mark(&self) -> Result<u64> {
        Ok(admin::flows(&self.socket(), 0)?
            .last()
            .map_or(0, |flow| flow.number + 1))
    }

    /// Waits for a verdict on a flow to `destination` since `mark`.
    pub fn flow_to(&self, destination: SocketAddr, mark: u64) -> Result<admin::Flow> {
        let socket = self.socket();
        wait_for(
            Duration::from_secs(5),
            &format!("a verdict on {destination}"),
            || {
                let flows = admin::flows(&socket, mark).ok()?;
                flows
                    .into_iter()
                    .find(|flow| flow.destination == destination.to_string())
            },
        )
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        admin::metric(&self.socket(), name, labels)
    }

    /// A service's address of one family, with port 80.
    pub fn service(number: u8, v6: bool) -> SocketAddr {
        SocketAddr::new(service_addresses(number).both()[usize::from(v6)], 80)
    }

    /// A pod's address of one family.
    pub fn address(&self, pod: &str, v6: bool) -> IpAddr {
        self.pod(pod).addresses.both()[usize::from(v6)]
    }

    pub fn write_pods(&self, pods: &[&str]) -> Result<()> {
        self.replace("pods.yaml", &self.pods_file(pods)?)
    }

    fn pods_file(&self, pods: &[&str]) -> Result<String> {
        let mut text = String::new();
        for name in pods {
            let netns = self.pod(name).netns.path();
            writeln!(
                text,
                "- {{uid: {name}, name: {name}, namespace: default, serviceAccount: {name}, \
                 netns: {}}}",
                netns.display()
            )?;
        }
        if pods.is_empty() {
            text.push_str("[]\n");
        }
        Ok(text)
    }

    pub fn write_mesh(&self, text: &str) -> Result<()> {
        self.replace("mesh.yaml", text)
    }

    /// In one step, as an operator's tools do it.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let new = self.scratch.write(&format!("{name}.new"), text)?;
        Ok(std::fs::rename(new, self.scratch.path().join(name))?)
    }

    fn config(&self, node: &str, prefix: &str, options: &Options) -> String {
        let path = |name: &str| self.scratch.path().join(format!("{prefix}{name}"));
        format!(
            "node = {node:?}\ndirect_local = {:?}\nmesh_cidrs = {:?}\nlog = \"info,waysteer=debug\"\n\
             [admin]\nlisten = \"127.0.0.1:15030\"\nsocket = {:?}\n\
             [source]\nkind = \"file\"\nmesh = \"mesh.yaml\"\npods = \"{prefix}pods.yaml\"\n\
             [tunnel]\nkind = \"embedded\"\nca_dir = {:?}\n",
            options.direct_local,
            options.mesh_cidrs,
            path("admin.sock"),
            self.ca(),
        )
    }

    /// The mesh file of this bed.
    pub fn mesh(&self) -> String {
        let mut text = String::from("workloads:\n");
        let service = |name: &str| format!("default/{name}.default.svc.cluster.local");
        let gateway = |name: &str| {
            format!(
                "{{destination: \"{}\", hboneMtlsPort: 15008}}",
                service(name)
            )
        };
        for (pod, node, protocol, services) in [
            ("client", "node1", "HBONE", vec!["own"]),
            ("server", "node1", "HBONE", vec!["web-local"]),
            ("other", "node1", "HBONE", vec![]),
            ("plain", "node1", "TCP", vec![]),
            ("far", "node2", "HBONE", vec!["web", "shop", "lost"]),
            ("behind", "node2", "HBONE", vec![]),
            ("far-plain", "node2", "TCP", vec![]),
            ("waypoint", "node2", "HBONE", vec!["waypoint"]),
            ("gate", "node2", "HBONE", vec!["gate"]),
        ] {
            let services: Vec<String> = services
                .into_iter()
                .map(|name| format!("\"{}\": {{}}", service(name)))
                .collect();
            let [v4, v6] = self.pod(pod).addresses.both();
            text += &format!(
                "- {{uid: \"cluster1//Pod/default/{pod}\", name: {pod}, namespace: default, \
                 serviceAccount: {pod}, node: {node}, protocol: {protocol}, \
                 workloadIps: [\"{v4}\", \"{v6}\"], services: {{{}}}",
                services.join(", ")
            );
            if pod == "behind" {
                text += &format!(", waypoint: {}", gateway("gate"));
            }
            text += "}\n";
        }
        text += "services:\n";
        for (name, number, ports, waypoint) in [
            ("web", WEB, "{80: 8080}", None),
            ("web-local", WEB_LOCAL, "{80: 8080}", None),
            ("shop", SHOP, "{80: 80}", Some("waypoint")),
            ("lost", LOST, "{80: 8080}", Some("missing")),
            ("empty", EMPTY, "{80: 8080}", None),
            ("own", OWN, "{80: 8080}", None),
            ("waypoint", WAYPOINT, "{15008: 15008}", None),
            ("gate", GATE, "{15008: 15008}", None),
        ] {
            let [v4, v6] = service_addresses(number).both();
            text += &format!(
                "- {{name: {name}, namespace: default, \
                 hostname: {name}.default.svc.cluster.local, vips: [\"/{v4}\", \"/{v6}\"], \
                 ports: {ports}"
            );
            if let Some(waypoint) = waypoint {
                text += &format!(", waypoint: {}", gateway(waypoint));
            }
            text += "}\n";
        }
        text
    }

    /// `hbone-peer` as waypoints, each with one workload behind it.
    fn start_peers(&mut self) -> Result<()> {
        for (waypoint, behind) in [("waypoint", "far"), ("gate", "behind")] {
            let address = self.pod(behind).addresses.v4;
            let next_hop = format!("{address}:15008");
            let expect = format!("spiffe://cluster.local/ns/default/sa/{behind}");
            self.start_peer(
                waypoint,
                &[
                    "--mode",
                    "waypoint",
                    "--map-to",
                    &address.to_string(),
                    "--next-hop",
                    &next_hop,
                    "--expect",
                    &expect,
                ],
            )?;
        }
        Ok(())
    }

    fn start_peer(&mut self, pod: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.pod(pod).netns.command(binary("hbone-peer")?);
        command
            .args(["--listen", "0.0.0.0:15008", "--listen", "[::]:15008"])
            .arg("--ca")
            .arg(self.ca())
            .args([
                "--identity",
                &format!("spiffe://cluster.local/ns/default/sa/{pod}"),
            ])
            .args(arguments);
        let mut peer = Process::start(pod, command, &self.scratch)?;
        peer.wait_for_log(PATIENCE, "listening")?;
        self.peers.push(peer);
        Ok(())
    }
}

fn wait_until_ready(socket: &Path) -> Result<()> {
    let mut last = String::from("it does not answer");
    wait_for(PATIENCE, "the agent is ready", || {
        match admin::get(socket, "/readyz") {
            Ok((200, _)) => Some(()),
            Ok((_, body)) => {
                last = body;
                None
            }
            Err(_) => None,
        }
    })
    .with_context(|| last.clone())?;
    let enrolled = admin::metric(socket, "waysteer_pods_enrolled", &[])?;
    ensure!(enrolled > 0, "the agent is ready but has no pod");
    Ok(())
}
