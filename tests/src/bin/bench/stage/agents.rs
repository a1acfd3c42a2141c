//! The agents, each with hooks of its own, and what they work with.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use waysteer_tests::admin;
use waysteer_tests::pins::PinDirectory;
use waysteer_tests::process::{Process, Scratch, binary};
use waysteer_tests::topology::{Node, Topology};
use waysteer_tests::wait::wait_for;
use waysteer_tests::zds::{Answer, Peer};

use crate::PATIENCE;
use crate::cgroup::{Cgroup, Parent};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Leg,
    Bypass,
    Tunnel,
    Remote,
    Large,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Agent {
    // Dropped in this order.
    process: Process,
    pub(crate) pins: PinDirectory,
    pub(crate) cgroup: Cgroup,
    socket: PathBuf,
    ztunnel: PathBuf,
    pub(crate) kind: Kind,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Leg,
        Self::Bypass,
        Self::Tunnel,
        Self::Remote,
        Self::Large,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leg => "leg",
            Self::Bypass => "bypass",
            Self::Tunnel => "tunnel",
            Self::Remote => "remote",
            Self::Large => "large",
        }
    }

    pub(super) fn pods(self) -> &'static [&'static str] {
        match self {
            Self::Leg => &["leg"],
            Self::Bypass => &["client", "server"],
            Self::Tunnel => &["tclient", "tserver"],
            Self::Remote => &["far"],
            Self::Large => &["lclient"],
        }
    }

    fn node(self, topology: &Topology) -> (&'static str, &Node) {
        match self {
            Self::Leg | Self::Bypass | Self::Tunnel | Self::Large => ("node1", &topology.node),
            Self::Remote => ("node2", &topology.remote),
        }
    }
}

impl Agent {
    pub(super) fn start(
        kind: Kind,
        topology: &Topology,
        parent: &Parent,
        scratch: &Scratch,
    ) -> Result<Self> {
        let name = kind.name();
        let cgroup = parent.child(name, scratch)?;
        let pins = PinDirectory::new(&format!("wsbench-{}-{name}", std::process::id()));
        let path = |file: &str| scratch.path().join(format!("{name}-{file}"));
        let (socket, ztunnel) = (path("admin.sock"), path("zds.sock"));
        let mut pods = String::from("\n");
        for pod in kind.pods() {
            let netns = topology.pod(pod).netns.path();
            writeln!(
                pods,
                "- {{uid: {pod}, name: {pod}, namespace: default, serviceAccount: {pod}, netns: {}}}",
                netns.display()
            )?;
        }
        scratch.write(&format!("{name}-pods.yaml"), pods)?;
        let tunnel = match kind {
            Kind::Leg => format!("kind = \"ztunnel\"\nsocket = {ztunnel:?}"),
            Kind::Bypass | Kind::Tunnel | Kind::Remote | Kind::Large => {
                format!(
                    "kind = \"embedded\"\nca_dir = {:?}",
                    scratch.path().join("ca")
                )
            }
        };
        let direct_local = match kind {
            Kind::Leg | Kind::Tunnel => "tunnel",
            Kind::Bypass | Kind::Remote | Kind::Large => "bypass",
        };
        let mesh = match kind {
            Kind::Leg | Kind::Bypass | Kind::Tunnel | Kind::Remote => "mesh.yaml",
            Kind::Large => "large-mesh.yaml",
        };
        let (node, place) = kind.node(topology);
        let config = format!(
            "node = {node:?}\npin_root = {:?}\ncgroup = {:?}\ndirect_local = {direct_local:?}\n\
             log = \"warn\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\nsocket = {socket:?}\n\
             [source]\nkind = \"file\"\nmesh = {mesh:?}\npods = \"{name}-pods.yaml\"\n\
             [tunnel]\n{tunnel}\n",
            pins.path(),
            cgroup.mounted(),
        );
        let config = scratch.write(&format!("{name}.toml"), config)?;
        let mut command = place.netns.command(binary("waysteer")?);
        command.arg("run").arg("--config").arg(config);
        // On a node the agent is under its own hooks too.
        let process = cgroup.run(|| Process::start(name, command, scratch))?;
        Ok(Self {
            process,
            pins,
            cgroup,
            socket,
            ztunnel,
            kind,
        })
    }

    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let mut last = String::from("it does not answer");
        let waited = wait_for(PATIENCE, "an agent is ready", || {
            let (status, body) = admin::get(&self.socket, "/readyz").ok()?;
            last = body;
            (status == 200).then_some(())
        });
        waited
            .inspect_err(|_| self.process.show_log())
            .with_context(|| format!("agent {}: {last}", self.kind.name()))
    }

    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }
}

/// Says yes to every pod; the listeners are there already.
pub(super) fn be_ztunnel(agent: &Agent) -> Result<Peer> {
    wait_for(PATIENCE, "the agent listens for ztunnels", || {
        Peer::with(&agent.ztunnel, false, Box::new(|_, _| Answer::Ack)).ok()
    })
}

/// `hbone-peer`, before `far`.
pub(super) fn start_waypoint(topology: &Topology, scratch: &Scratch) -> Result<Process> {
    let far = topology.pod("far").addresses.v4;
    let mut command = topology
        .pod("waypoint")
        .netns
        .command(binary("hbone-peer")?);
    command
        .args(["--listen", "0.0.0.0:15008", "--ca"])
        .arg(scratch.path().join("ca"))
        .args([
            "--identity",
            "spiffe://cluster.local/ns/default/sa/waypoint",
        ])
        .args(["--mode", "waypoint", "--map-to", &far.to_string()])
        .args(["--next-hop", &format!("{far}:15008")])
        .args(["--expect", "spiffe://cluster.local/ns/default/sa/far"]);
    let mut process = Process::start("waypoint", command, scratch)?;
    process.wait_for_log(PATIENCE, "listening")?;
    Ok(process)
}
