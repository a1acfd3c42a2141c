//! The mesh from a control plane, down to what real connections do.

mod away;
mod changes;
mod snapshot;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, Source};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::istiod::{Plane, Resend};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use crate::redirect::classes::check_every_class;

/// Nothing takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 8080;

/// A bed whose agent, not started yet, listens to a control plane with the bed's mesh.
struct Meshed {
    // The agent goes first.
    bed: Bed,
    plane: Plane,
}

impl Meshed {
    fn new(resend: Resend) -> Result<Self> {
        let bed = Bed::new(&Options {
            source: Source::Istiod,
            start_agent: false,
            ..Options::default()
        })?;
        let mut plane = Plane::new(resend);
        plane.set(bed.resources());
        plane.start(&bed.topology.node.netns)?;
        Ok(Self { bed, plane })
    }

    fn start(&mut self) -> Result<()> {
        self.bed.start_agent()?;
        self.bed.wait_until_ready()
    }

    fn restart_plane(&mut self) -> Result<()> {
        self.plane.start(&self.bed.topology.node.netns)
    }

    /// What `waysteer status` shows of the source.
    fn source(&self) -> Result<Value> {
        let (_, body) = admin::get(&self.bed.socket(), "/status")?;
        let status: Value = serde_json::from_str(&body)?;
        Ok(status["source"].clone())
    }

    fn wait_for_source(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = Value::Null;
        wait_until(PATIENCE, what, || {
            last = self.source().unwrap_or_default();
            holds(&last)
        })
        .with_context(|| last.to_string())
    }

    /// The kernel's word on a connection of `client`'s.
    fn explain(&self, to: SocketAddr) -> Result<Value> {
        let page = format!("/explain?pod=default/client&destination={to}");
        let (status, body) = admin::get(&self.bed.socket(), &page)?;
        ensure!(status == 200, "{to}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    fn wait_for_verdict(&self, to: SocketAddr, reason: &str) -> Result<Value> {
        let mut last = Value::Null;
        wait_until(PATIENCE, &format!("{reason} for {to}"), || {
            last = self.explain(to).unwrap_or_default();
            last["reason"] == reason
        })
        .with_context(|| last.to_string())?;
        Ok(last)
    }

    fn pod(&self, name: &str) -> SocketAddr {
        SocketAddr::new(self.bed.address(name, false), PORT)
    }

    fn serve(&self, names: &[&str]) -> Result<Vec<Server>> {
        let start =
            |name: &&str| Server::start(&self.bed.pod(name).netns, name, PORT, Service::Http);
        names.iter().map(start).collect()
    }

    /// Entries written to maps so far, and removed from them.
    fn map_writes(&self) -> Result<u64> {
        let log = self.bed.agent.as_ref().context("an agent")?.log();
        let mut sum = 0;
        for line in log.lines().filter(|line| line.contains("maps written")) {
            let (_, writes) = line.rsplit_once("writes=").context("without a number")?;
            sum += writes
                .trim()
                .parse::<u64>()
                .with_context(|| line.to_owned())?;
        }
        ensure!(sum > 0, "nothing is in the maps");
        Ok(sum)
    }

    /// Which server answers `client` at an address.
    fn ask(&self, to: SocketAddr) -> Result<String> {
        let dial = Dial::new().timeout(PATIENCE);
        let connection = dial.connect(&self.bed.pod("client").netns, to)?;
        let seen = http::get(&connection.stream, "any", "/");
        Ok(seen.with_context(|| to.to_string())?.seen()?.server)
    }
}

#[test]
fn every_class_with_a_mesh_from_istiod() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Changes)?;
    meshed.start()?;
    let source = meshed.source()?;
    ensure!(
        source["kind"] == "xds" && source["synced"] == true,
        "{source}"
    );
    let xds = &source["xds"];
    ensure!(
        xds["connected"] == true && xds["age_seconds"] == 0 && xds["connections"] == 1,
        "{source}"
    );
    ensure!(
        xds["types"]["address"]["resources"] == 17
            && xds["types"]["authorization"]["complete"] == true,
        "{source}"
    );
    check_every_class(&meshed.bed)?;
    let answers = meshed.plane.answers();
    ensure!(
        answers.len() == 2 && answers.iter().all(|answer| answer.error_detail.is_none()),
        "{answers:?}"
    );
    for (kind, result, count) in [
        ("address", "ack", 1),
        ("address", "nack", 0),
        ("authorization", "ack", 1),
    ] {
        let labels = [("type", kind), ("result", result)];
        let counted = meshed.bed.metric("waysteer_xds_responses", &labels)?;
        ensure!(counted == count, "{kind} {result}: {counted}");
    }
    ensure!(
        meshed
            .bed
            .metric("waysteer_xds_received_bytes", &[("type", "address")])?
            > 1000
    );
    Ok(())
}
