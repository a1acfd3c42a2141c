//! The test bed with servers: who is there.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use waysteer_tests::bed::{Bed, Options, Waypoints};
use waysteer_tests::envoy;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};

#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped before the namespaces they are in.
    pub(crate) servers: Vec<Server>,
    pub(crate) bed: Bed,
    pub(crate) waypoints: Waypoints,
    /// In words.
    pub(crate) waypoint: String,
}

impl Stage {
    /// Everything but the agents.
    pub(crate) fn new() -> Result<Self> {
        let (waypoints, waypoint) = match envoy::find() {
            Some(path) => (Waypoints::Envoy, format!("Envoy {}", version(&path))),
            None => (
                Waypoints::Peers,
                "the built-in hbone-peer, because Envoy is not installed; \
                 it carries bytes and adds no headers"
                    .to_owned(),
            ),
        };
        eprintln!("making network namespaces and starting waypoints");
        let bed = Bed::new(&Options {
            waypoints,
            start_agent: false,
            start_remote_agent: false,
            ..Options::default()
        })?;
        let mut servers = Vec::new();
        let mut serve = |netns: &NetNs, name, port| -> Result<()> {
            servers.push(Server::start(netns, name, port, Service::Http)?);
            Ok(())
        };
        for (name, port) in [
            ("far", 80),
            ("far", 8080),
            ("behind", 8080),
            ("server", 8080),
            ("plain", 8080),
            ("far-plain", 8080),
        ] {
            serve(&bed.pod(name).netns, name, port)?;
        }
        serve(&bed.topology.external.netns, "external", 80)?;
        Ok(Self {
            servers,
            bed,
            waypoints,
            waypoint,
        })
    }

    pub(crate) fn start_agents(&mut self) -> Result<()> {
        self.bed.start_remote_agent()?;
        self.bed.start_agent()?;
        self.bed.wait_until_ready()
    }

    pub(crate) fn client(&self) -> &NetNs {
        &self.bed.pod("client").netns
    }

    /// Connections that the servers have accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        let accepted = self.servers.iter().map(|server| server.accepted().len());
        accepted.sum()
    }
}

/// `PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL` is what it says.
fn version(envoy: &Path) -> String {
    let output = Command::new(envoy).arg("--version").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text.split("version: ").nth(1);
    let version = version.and_then(|version| version.split('/').nth(1));
    version.unwrap_or("of an unknown version").to_owned()
}
