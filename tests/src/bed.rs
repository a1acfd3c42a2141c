//! A mesh on the topology, with the agent running: what most kernel tests start from.
//!
//! | workload | where | how it is reached |
//! |---|---|---|
//! | `client`, `server`, `other` | this node, enrolled | HBONE |
//! | `plain` | this node, not enrolled | plain TCP |
//! | `far` | the remote node, enrolled by an agent of that node | HBONE |
//! | `behind` | the same | HBONE, through `gate` |
//! | `far-plain` | the remote node | plain TCP |
//! | `waypoint`, `gate` | the remote node, waypoints: `hbone-peer` or Envoy | HBONE |
//!
//! | service | port 80 leads to |
//! |---|---|
//! | [`WEB`] | `far`, port 8080 |
//! | [`WEB_LOCAL`] | `server`, port 8080; its port [`OPEN_SERVICE_PORT`] to [`OPEN_PORT`] |
//! | [`SHOP`] | `far`, port 80, through `waypoint`; its port [`TCP_PORT`] is not HTTP |
//! | [`LOST`] | `far`, through a waypoint that does not exist |
//! | [`EMPTY`] | nobody |
//! | [`OWN`] | `client`, port 8080 |

mod mesh;
mod programs;
mod waypoints;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer::source::xds::proto::discovery::Resource;
use waysteer::source::xds::proto::workload as proto;

use crate::admin;
use crate::pins::PinDirectory;
use crate::process::{Process, Scratch};
use crate::topology::{Pod, Topology, service_addresses};
use crate::wait::wait_for;

pub use waypoints::Waypoints;

pub const WEB: u8 = 10;
pub const WEB_LOCAL: u8 = 11;
pub const SHOP: u8 = 12;
pub const LOST: u8 = 13;
pub const EMPTY: u8 = 14;
pub const OWN: u8 = 15;
/// Of [`SHOP`] and of `behind`: what an Envoy in between carries as it is.
pub const TCP_PORT: u16 = 2525;
/// A port of [`WEB_LOCAL`].
pub const OPEN_SERVICE_PORT: u16 = 81;
/// Of the applications that may be reached in plaintext.
pub const OPEN_PORT: u16 = 9090;
const WAYPOINT: u8 = 20;
const GATE: u8 = 21;

const ENROLLED: &[&str] = &["client", "server", "other"];
const LOCAL: &[&str] = &["client", "server", "other", "plain"];
const REMOTE: &[&str] = &["far", "behind", "far-plain", "waypoint", "gate"];
const REMOTE_ENROLLED: &[&str] = &["far", "behind"];

const RCU_EXPEDITED: &str = "rcu_expedited";

/// How long anything may take to get ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the agent under test has for a tunnel. The remote node's is always the embedded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelKind {
    Embedded,
    /// ZDS; the bed starts `waysteer-stand-in` in ztunnel's place, together with the agent.
    StandIn,
    /// ZDS; whoever connects is the test's.
    Zds,
}

/// Where the agent under test has its mesh from. The remote node's always has it from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    File,
    /// A [`crate::istiod::Plane`] in the node's namespace, which the test starts.
    Istiod,
}

/// How the agent is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub source: Source,
    pub direct_local: &'static str,
    pub mesh_cidrs: Vec<String>,
    pub waypoints: Waypoints,
    pub tunnel: TunnelKind,
    /// By the kernel's own file, which everybody on the machine shares, grace periods are made short;
    /// else by one of the bed's, [`Bed::rcu_expedited`], and they stay as they are.
    pub expedite_rcu: bool,
    /// Further lines for the top of the agent's configuration file.
    pub extra: String,
    /// Without it the agent is not started, see [`Bed::start_agent`].
    pub start_agent: bool,
    /// The same for the remote node, see [`Bed::start_remote_agent`].
    pub start_remote_agent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: Source::File,
            direct_local: "bypass",
            mesh_cidrs: Vec::new(),
            waypoints: Waypoints::Peers,
            tunnel: TunnelKind::Embedded,
            expedite_rcu: false,
            extra: String::new(),
            start_agent: true,
            start_remote_agent: true,
        }
    }
}

#[derive(Debug)]
pub struct Bed {
    // Dropped in this order: processes before the namespaces they are in.
    pub agent: Option<Process>,
    /// In ztunnel's place, the newest last.
    pub ztunnels: Vec<Process>,
    /// The remote node's agent.
    pub remote_agent: Option<Process>,
    pub peers: Vec<Process>,
    /// Of the agent.
    pub pins: PinDirectory,
    /// Of the remote node's agent.
    pub remote_pins: PinDirectory,
    pub topology: Topology,
    pub scratch: Scratch,
    /// What the mesh file has behind the bed's own: further services, then policies.
    pub further_mesh: String,
}

impl Bed {
    /// Makes all of it, and waits until it is ready.
    pub fn new(options: &Options) -> Result<Self> {
        let topology = Topology::new(LOCAL, REMOTE)?;
        let mut scratch = Scratch::new()?;
        if std::env::var_os("WAYSTEER_KEEP").is_some() {
            scratch.keep();
        }
        let name = scratch.path().file_name().context("a name")?;
        let name = name.to_string_lossy().into_owned();
        let mut bed = Self {
            agent: None,
            ztunnels: Vec::new(),
            remote_agent: None,
            peers: Vec::new(),
            pins: PinDirectory::new(&name),
            remote_pins: PinDirectory::new(&format!("{name}-remote")),
            topology,
            scratch,
            further_mesh: String::new(),
        };
        bed.scratch.write(RCU_EXPEDITED, "0\n")?;
        bed.write_mesh(&bed.mesh())?;
        bed.write_pods(ENROLLED)?;
        bed.replace("remote-pods.yaml", &bed.pods_file(REMOTE_ENROLLED)?)?;
        bed.configure(options)?;
        let embedded = Options {
            source: Source::File,
            tunnel: TunnelKind::Embedded,
            extra: String::new(),
            ..options.clone()
        };
        let remote = bed.config("node2", "remote-", &bed.remote_pins, &embedded);
        bed.scratch.write("remote.toml", remote)?;
        bed.start_waypoints(options.waypoints)?;
        if options.start_remote_agent {
            bed.start_remote_agent()?;
        }
        if options.start_agent {
            bed.start_agent()?;
            if options.tunnel == TunnelKind::StandIn {
                bed.start_ztunnel()?;
            }
            if options.tunnel != TunnelKind::Zds {
                bed.wait_until_ready()?;
            }
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

    /// What stands in the place of `/sys/kernel/rcu_expedited`, for all agents.
    pub fn rcu_expedited(&self) -> PathBuf {
        self.scratch.path().join(RCU_EXPEDITED)
    }

    fn ca(&self) -> PathBuf {
        self.scratch.path().join("ca")
    }

    /// The number of the next verdict, for [`Self::flow_to`].
    pub fn mark(&self) -> Result<u64> {
        // The agent looks for verdicts every 20 ms: those of before must not count as later ones.
        std::thread::sleep(Duration::from_millis(100));
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

    /// The mesh file of this bed.
    pub fn mesh(&self) -> String {
        mesh::file(&self.topology) + &self.further_mesh
    }

    /// The same mesh as istiod tells it.
    pub fn resources(&self) -> Vec<Resource> {
        mesh::resources(&self.topology)
    }

    /// A service of it, by name.
    pub fn xds_service(&self, name: &str) -> Result<proto::Service> {
        mesh::service_of(name).with_context(|| format!("the bed has no service {name}"))
    }

    /// A workload of it, by name.
    pub fn xds_workload(&self, name: &str) -> Result<proto::Workload> {
        let found = mesh::workload_of(&self.topology, name);
        found.with_context(|| format!("the bed has no workload {name}"))
    }

    /// A service as a waypoint, for either of them.
    pub fn xds_waypoint(service: &str) -> proto::GatewayAddress {
        mesh::gateway(service)
    }

    /// Takes a file of the source away.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.scratch.path().join(name))?)
    }
}
