//! Control planes that go and come.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use waysteer::source::xds::proto::workload::GatewayAddress;
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::dial::Dial;
use waysteer_tests::istiod::Resend;
use waysteer_tests::istiod::resources::of_workload;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

use super::{Meshed, PATIENCE};
use crate::adoption::look;

/// A connection through the tunnel that must not notice anything.
struct Stream {
    stream: std::net::TcpStream,
    _server: Server,
}

impl Stream {
    const PORT: u16 = 8081;

    fn open(meshed: &Meshed) -> Result<Self> {
        let netns = &meshed.bed.pod("far").netns;
        let server = Server::start(netns, "echo", Self::PORT, Service::Echo)?;
        let mut to = meshed.pod("far");
        to.set_port(Self::PORT);
        let netns = &meshed.bed.pod("client").netns;
        let connection = Dial::new().timeout(PATIENCE).connect(netns, to)?;
        connection.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: connection.stream,
            _server: server,
        })
    }

    fn check(&mut self) -> Result<()> {
        let mut echo = [0; 4];
        self.stream.write_all(b"here")?;
        self.stream.read_exact(&mut echo)?;
        ensure!(&echo == b"here");
        Ok(())
    }
}

fn connected(source: &Value) -> bool {
    source["xds"]["connected"] == true
}

/// What every class's destination gets at present.
fn verdicts(meshed: &Meshed) -> Result<Vec<[Value; 4]>> {
    let services = [bed::WEB, bed::WEB_LOCAL, bed::SHOP].map(|of| Bed::service(of, false));
    let pods = ["far", "server", "plain", "far-plain", "behind"].map(|name| meshed.pod(name));
    services
        .into_iter()
        .chain(pods)
        .map(|to| {
            // Without names, which an agent that has no mesh yet does not know.
            let verdict = meshed.explain(to)?;
            Ok(["class", "reason", "steered", "next_hop"].map(|key| verdict[key].clone()))
        })
        .collect()
}

/// What the maps of the mesh hold, as the kernel shows it.
fn maps(directory: &Path) -> Result<Vec<String>> {
    let names = [
        "WORKLOADS",
        "SERVICES",
        "SERVICE_PORTS",
        "ENDPOINTS",
        "WAYPOINTS",
        "WAYPOINT_MEMBERS",
        "PODS",
        "SETTINGS",
    ];
    let dump = |name: &str| {
        let mut command = Command::new("bpftool");
        let command_line = ["--json", "map", "dump", "pinned"];
        command.args(command_line).arg(directory.join(name));
        look::output(command)
    };
    names.into_iter().map(dump).collect()
}

/// Looks at the maps again and again while something happens; they must hold the same each time.
fn nothing_blinks(
    meshed: &mut Meshed,
    held: &[String],
    happens: impl FnOnce(&mut Meshed) -> Result<()>,
) -> Result<()> {
    let directory = look::generation(&meshed.bed)?.join("maps");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| -> Result<usize> {
            for looks in 1.. {
                let over = is_over.load(Ordering::Relaxed);
                let now = maps(&directory)?;
                ensure!(now == held, "look {looks}: {now:?} and not {held:?}");
                if over {
                    return Ok(looks);
                }
            }
            unreachable!("without an end");
        });
        let happened = happens(meshed);
        is_over.store(true, Ordering::Relaxed);
        let looks = looking.join().map_err(|_| anyhow!("the look panicked"))??;
        ensure!(looks > 1, "nobody looked while it happened");
        happened
    })
}

/// Waits until all that was told so far has arrived, by telling something that is refused, and
/// taking it back: neither changes a map, and both are reported in order.
fn settle(meshed: &Meshed) -> Result<()> {
    let good = meshed.bed.xds_workload("far-plain")?;
    let mut bad = good.clone();
    bad.waypoint = Some(GatewayAddress::default());
    for (workload, version, is_wrong) in [(bad, "bad", true), (good, "1", false)] {
        meshed.plane.set(vec![of_workload(&workload, version)]);
        let mut last = String::new();
        let waited = wait_until(PATIENCE, &format!("wrong: {is_wrong}"), || {
            let status = admin::get(&meshed.bed.socket(), "/status");
            last = status.map(|(_, body)| body).unwrap_or_default();
            last.contains("neither a host name nor an address") == is_wrong
        });
        waited.with_context(|| last)?;
    }
    Ok(())
}

#[test]
fn what_is_told_again_is_not_written_again() -> Result<()> {
    for resend in [Resend::Everything, Resend::Changes] {
        told_again(resend)?;
    }
    Ok(())
}

fn told_again(resend: Resend) -> Result<()> {
    let mut meshed = Meshed::new(resend)?;
    meshed.start()?;
    let mut stream = Stream::open(&meshed)?;
    let (before, writes) = (verdicts(&meshed)?, meshed.map_writes()?);
    let held = maps(&look::generation(&meshed.bed)?.join("maps"))?;
    ensure!(
        held[..5].iter().all(|map| map.len() > 20),
        "empty: {held:?}"
    );
    for round in 2..5_u64 {
        nothing_blinks(&mut meshed, &held, |meshed| {
            meshed.plane.stop();
            meshed.wait_for_source("the connection is lost", |source| !connected(source))?;
            stream.check()?;
            meshed.restart_plane()?;
            meshed.wait_for_source("another connection", |source| {
                connected(source) && source["xds"]["connections"] == round
            })?;
            settle(meshed)
        })?;
        ensure!(verdicts(&meshed)? == before);
        let more = meshed.map_writes()? - writes;
        ensure!(more == 0, "{more} entries written");
        stream.check()?;
        let known = meshed.plane.versions().pop().context("a connection")?;
        ensure!(known.len() == 17, "{known:?}");
    }
    // One change is few entries, also after all that.
    let mut far_plain = meshed.bed.xds_workload("far-plain")?;
    far_plain.node = "node1".into();
    meshed.plane.set(vec![of_workload(&far_plain, "2")]);
    settle(&meshed)?;
    let more = meshed.map_writes()? - writes;
    ensure!((1..=4).contains(&more), "{more} entries for one workload");
    Ok(())
}

#[test]
fn what_went_while_nobody_listened_is_gone() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Everything)?;
    meshed.start()?;
    let plain = meshed.pod("far-plain");
    let (web, shop) = (
        Bed::service(bed::WEB, false),
        Bed::service(bed::SHOP, false),
    );
    meshed.wait_for_verdict(plain, "WorkloadPlain")?;
    meshed.plane.stop();
    meshed.wait_for_source("the connection is lost", |source| !connected(source))?;
    // By uid, and by namespace and host name.
    meshed.plane.remove(&[
        "cluster1//Pod/default/far-plain",
        "default/web.default.svc.cluster.local",
    ]);
    meshed.wait_for_verdict(plain, "WorkloadPlain")?;
    meshed.restart_plane()?;
    meshed.wait_for_verdict(plain, "Unknown")?;
    meshed.wait_for_verdict(web, "Unknown")?;
    meshed.wait_for_verdict(shop, "ServiceWaypoint")?;
    let source = meshed.source()?;
    ensure!(
        source["workloads"] == 8 && source["services"] == 7,
        "{source}"
    );
    // And while somebody listens.
    meshed
        .plane
        .remove(&["default/shop.default.svc.cluster.local", "nobody/knows"]);
    meshed.wait_for_verdict(shop, "Unknown")?;
    Ok(())
}

#[test]
fn without_istiod_all_goes_on_and_its_age_is_told() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Everything)?;
    meshed.start()?;
    let _servers = meshed.serve(&["far", "far-plain"])?;
    let mut stream = Stream::open(&meshed)?;
    let before = verdicts(&meshed)?;
    ensure!(meshed.bed.metric("waysteer_xds_connected", &[])? == 1);
    ensure!(meshed.bed.metric("waysteer_xds_state_age_seconds", &[])? == 0);
    meshed.plane.stop();
    meshed.wait_for_source("the age grows", |source| {
        !connected(source) && source["xds"]["age_seconds"].as_u64() >= Some(2)
    })?;
    ensure!(meshed.bed.metric("waysteer_xds_connected", &[])? == 0);
    ensure!(meshed.bed.metric("waysteer_xds_state_age_seconds", &[])? >= 2);
    ensure!(
        meshed
            .bed
            .metric("waysteer_xds_disconnections", &[("reason", "connect")])?
            > 0
    );
    let source = meshed.source()?;
    let error = source["xds"]["last_error"].as_str().unwrap_or_default();
    ensure!(error.contains("cannot connect"), "{source}");
    // It is no reason not to be ready.
    meshed.bed.wait_until_ready()?;
    ensure!(verdicts(&meshed)? == before);
    stream.check()?;
    for name in ["far", "far-plain"] {
        ensure!(meshed.ask(meshed.pod(name))? == name);
    }
    Ok(())
}

#[test]
fn an_agent_that_comes_while_istiod_is_away_goes_on_with_what_it_finds() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Changes)?;
    meshed.start()?;
    let _servers = meshed.serve(&["far", "far-plain"])?;
    let before = verdicts(&meshed)?;
    meshed.plane.stop();
    meshed.bed.kill_agent()?;
    meshed.bed.start_agent()?;
    look::wait_for_pods(&meshed.bed, &["client", "other", "server"])?;
    let (status, body) = admin::get(&meshed.bed.socket(), "/readyz")?;
    ensure!(
        status == 503 && body.contains("no connection to istiod"),
        "{body}"
    );
    let source = meshed.source()?;
    ensure!(
        source["synced"] == false && source["xds"]["connections"] == 0,
        "{source}"
    );
    ensure!(verdicts(&meshed)? == before, "judged as before");
    // Past the tunnel, which knows nothing yet: what needs it waits.
    ensure!(meshed.ask(meshed.pod("far-plain"))? == "far-plain");
    meshed.restart_plane()?;
    meshed.bed.wait_until_ready()?;
    ensure!(verdicts(&meshed)? == before);
    ensure!(meshed.ask(meshed.pod("far"))? == "far");
    Ok(())
}
