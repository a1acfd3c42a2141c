//! The agents of the bed, and what stands in ztunnel's place.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Bed, Options, PATIENCE, Source, TunnelKind};
use crate::admin;
use crate::istiod::Plane;
use crate::pins::PinDirectory;
use crate::process::{Process, binary};
use crate::wait::wait_for;

impl Bed {
    /// Where the agent under test listens for ztunnels.
    pub fn zds_socket(&self) -> PathBuf {
        self.scratch.path().join("zds.sock")
    }

    /// Writes the configuration that the agent is started with the next time.
    pub fn configure(&self, options: &Options) -> Result<()> {
        let text = self.config("node1", "", &self.pins, options);
        self.scratch.write("waysteer.toml", text).map(drop)
    }

    /// Starts one more in ztunnel's place. It connects by itself, now or later.
    pub fn start_ztunnel(&mut self) -> Result<()> {
        let name = format!("ztunnel-{}", self.ztunnels.len());
        let mut command = self
            .topology
            .node
            .netns
            .command(binary("waysteer-stand-in")?);
        command.env("RUST_LOG", "info,waysteer=debug,waysteer_hbone=debug");
        command.args(["--node", "node1"]);
        // As long as a test's streams may last.
        command.args(["--drain", "864000"]);
        command.arg("--socket").arg(self.zds_socket());
        command
            .arg("--mesh")
            .arg(self.scratch.path().join("mesh.yaml"));
        command.arg("--ca").arg(self.ca());
        self.ztunnels
            .push(Process::start(&name, command, &self.scratch)?);
        Ok(())
    }

    /// Waits until the newest in ztunnel's place has the agent's whole snapshot.
    pub fn wait_for_ztunnel(&mut self) -> Result<()> {
        let newest = self.ztunnels.last_mut().context("no ztunnel was started")?;
        newest.wait_for_log(PATIENCE, "snapshot of")
    }

    pub fn start_agent(&mut self) -> Result<()> {
        self.start_agent_with(&[])
    }

    /// Starts the agent with more flags, which win over its file.
    pub fn start_agent_with(&mut self, flags: &[&str]) -> Result<()> {
        let mut command = self.topology.node.netns.command(binary("waysteer")?);
        command
            .arg("run")
            .arg("--config")
            .arg(self.scratch.path().join("waysteer.toml"))
            .args(flags);
        self.agent = Some(Process::start("waysteer", command, &self.scratch)?);
        Ok(())
    }

    /// Starts the remote node's agent, and waits until it is ready.
    pub fn start_remote_agent(&mut self) -> Result<()> {
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

    /// Ends the agent without asking.
    pub fn kill_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent does not run")?;
        agent.kill()
    }

    pub(super) fn config(
        &self,
        node: &str,
        prefix: &str,
        pins: &PinDirectory,
        options: &Options,
    ) -> String {
        let path = |name: &str| self.scratch.path().join(format!("{prefix}{name}"));
        let tunnel = match options.tunnel {
            TunnelKind::Embedded => format!("kind = \"embedded\"\nca_dir = {:?}", self.ca()),
            TunnelKind::StandIn | TunnelKind::Zds => {
                format!("kind = \"ztunnel\"\nsocket = {:?}", self.zds_socket())
            }
        };
        let source = match options.source {
            Source::File => "kind = \"file\"\nmesh = \"mesh.yaml\"".to_owned(),
            Source::Istiod => format!(
                "kind = \"xds\"\naddress = \"127.0.0.1:{}\"\nplaintext = true\n\
                 pod_name = \"waysteer-abcde\"\npod_ip = {:?}",
                Plane::PORT,
                self.topology.node.addresses.v4.to_string(),
            ),
        };
        let expedite = match options.expedite_rcu {
            true => String::new(),
            false => format!("expedite_rcu_file = {:?}\n", self.rcu_expedited()),
        };
        format!(
            "node = {node:?}\npin_root = {:?}\ndirect_local = {:?}\nmesh_cidrs = {:?}\n\
             log = \"info,waysteer=debug\"\n{expedite}{}\n\
             [admin]\nlisten = \"127.0.0.1:15030\"\nsocket = {:?}\n\
             [source]\n{source}\npods = \"{prefix}pods.yaml\"\n\
             [tunnel]\n{tunnel}\n",
            pins.path(),
            options.direct_local,
            options.mesh_cidrs,
            options.extra,
            path("admin.sock"),
        )
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
