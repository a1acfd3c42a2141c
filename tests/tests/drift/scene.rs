//! A bed on which something is broken, and what must come of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::foreign::Direction;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::traces::difference;
use waysteer_tests::wait::wait_until;

use crate::adoption::look;

pub(crate) const PORT: u16 = 8080;

/// Kinds, with how often each has been found, see [`least`].
pub(crate) type Kinds<'a> = &'a [(&'a str, u64)];

pub(crate) struct Scene {
    pub(crate) bed: Bed,
    capture: Capture,
    servers: Vec<Server>,
    asked: u64,
}

impl Scene {
    /// With so many seconds between two looks at what nothing was heard of.
    pub(crate) fn new(verify_interval: u32) -> Result<Self> {
        let bed = Bed::new(&Options {
            extra: format!("verify_interval = {verify_interval}\n"),
            ..Options::default()
        })?;
        Self::on(bed)
    }

    /// For traffic of the test's own.
    pub(crate) fn without_servers(verify_interval: u32) -> Result<Self> {
        let mut scene = Self::new(verify_interval)?;
        scene.servers.clear();
        Ok(scene)
    }

    pub(crate) fn on(bed: Bed) -> Result<Self> {
        let capture = Capture::start(&bed.topology.node.netns, &[Node::UPLINK])?;
        let mut scene = Self {
            bed,
            capture,
            servers: Vec::new(),
            asked: 0,
        };
        for pod in ["client", "server", "far", "far-plain"] {
            scene.serve(pod)?;
        }
        Ok(scene)
    }

    pub(crate) fn serve(&mut self, pod: &str) -> Result<()> {
        let netns = &self.bed.pod(pod).netns;
        let server = Server::start(netns, pod, PORT, Service::Http)?;
        self.servers.push(server);
        Ok(())
    }

    /// Breaks something of the client, and waits until exactly these drifts were found, and each
    /// was repaired; then the client's flows work, encrypted where they must be.
    pub(crate) fn broken(
        &mut self,
        what: &str,
        expected: Kinds<'_>,
        within: Duration,
        breaking: impl FnOnce(&mut Bed) -> Result<()>,
    ) -> Result<()> {
        self.repaired(what, expected, &[], within, breaking)?;
        self.ask_all().with_context(|| format!("after {what}"))
    }

    /// The same, with kinds that may be found besides, as a consequence, and without the flows.
    pub(crate) fn repaired(
        &mut self,
        what: &str,
        expected: Kinds<'_>,
        besides: &[&str],
        within: Duration,
        breaking: impl FnOnce(&mut Bed) -> Result<()>,
    ) -> Result<()> {
        let before = self.counts()?;
        let redirection = redirection(&self.bed)?;
        let start = Instant::now();
        breaking(&mut self.bed).with_context(|| what.to_owned())?;
        let mut last = String::new();
        let waited = wait_until(within, what, || {
            match self.is_repaired(&before, expected, &redirection) {
                Ok(problem) => last = problem,
                Err(error) => last = format!("{error:#}"),
            }
            last.is_empty()
        });
        waited.with_context(|| last)?;
        let took = start.elapsed();
        for kind in KINDS {
            let wanted = expected.iter().find(|(name, _)| *name == kind);
            let wanted = wanted.map_or(0, |(_, count)| *count);
            let found = self.found(kind)? - before[index(kind)];
            let is_right = (least(kind, wanted)..=wanted).contains(&found)
                || found > wanted && besides.contains(&kind);
            ensure!(is_right, "{what}: {kind} {found} times, not {wanted}");
        }
        eprintln!("{what}: repaired within {took:?}");
        Ok(())
    }

    /// What is not there yet, in words.
    fn is_repaired(
        &self,
        before: &[u64],
        expected: Kinds<'_>,
        redirection: &[String],
    ) -> Result<String> {
        // The last step of a break may not have been noticed yet.
        let now = self::redirection(&self.bed)?;
        if now != redirection {
            return Ok(difference(redirection, &now));
        }
        for (kind, count) in expected {
            let found = self.found(kind)? - before[index(kind)];
            if found < least(kind, *count) {
                return Ok(format!("{kind} was found {found} times, not {count}"));
            }
        }
        let standing = self.bed.metric("waysteer_drift_standing", &[])?;
        if standing > 0 {
            let (_, status) = admin::get(&self.bed.socket(), "/status")?;
            return Ok(format!("{standing} stand: {status}"));
        }
        match admin::get(&self.bed.socket(), "/readyz")? {
            (200, _) => {}
            (_, problem) => return Ok(problem),
        }
        let known = self.addresses()?;
        let all = [false, true].map(|v6| self.bed.address("client", v6).to_string());
        let unknown = all.iter().find(|address| !known.contains(address));
        Ok(unknown.map_or(String::new(), |address| format!("{address} is not known")))
    }

    /// Of the client, as the agent knows them.
    fn addresses(&self) -> Result<Vec<String>> {
        let (_, status) = admin::get(&self.bed.socket(), "/status")?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let pods = status["pods"].as_array().context("a list of pods")?;
        let client = pods.iter().find(|pod| pod["uid"] == "client");
        let addresses = client.and_then(|pod| pod["addresses"].as_array());
        let addresses = addresses.into_iter().flatten();
        let text = addresses.filter_map(|address| address.as_str());
        Ok(text.map(str::to_owned).collect())
    }

    pub(crate) fn found(&self, kind: &str) -> Result<u64> {
        self.bed.metric("waysteer_drift", &[("kind", kind)])
    }

    fn counts(&self) -> Result<Vec<u64>> {
        KINDS.iter().map(|kind| self.found(kind)).collect()
    }

    /// A flow of each direction of the client, in both families, and one that is not steered.
    pub(crate) fn ask_all(&mut self) -> Result<()> {
        for v6 in [false, true] {
            let to = |pod: &str| SocketAddr::new(self.bed.address(pod, v6), PORT);
            let (far, plain, client) = (to("far"), to("far-plain"), to("client"));
            self.ask("client", far, true)?;
            self.ask("client", plain, false)?;
            self.ask("far", client, true)?;
        }
        Ok(())
    }

    /// A request, whose path is on the wire between the nodes only if it may be.
    pub(crate) fn ask(&mut self, from: &str, to: SocketAddr, is_secret: bool) -> Result<()> {
        self.asked += 1;
        let path = format!("/drift-{}", self.asked);
        let dial = Dial::new().timeout(Duration::from_secs(10));
        let connection = dial.connect(&self.bed.pod(from).netns, to);
        let connection = connection.with_context(|| format!("{from} to {to}"))?;
        http::get(&connection.stream, "drift", &path)?;
        let seen = self.capture.seen(path.as_bytes());
        ensure!(seen.is_empty() == is_secret, "{from} to {to}: {seen:?}");
        Ok(())
    }

    /// A command in the client's namespace.
    pub(crate) fn client(bed: &Bed, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let program = words.next().context("a program")?;
        let mut command = bed.pod("client").netns.command(program);
        run(command.args(words))
    }

    /// Where the agent has pinned something.
    pub(crate) fn pin(bed: &Bed, name: &str) -> Result<PathBuf> {
        let all = bed.pins.list()?;
        let mut found = all.iter().filter(|path| path.ends_with(name));
        let pin = found.next().with_context(|| format!("{name} in {all:?}"))?;
        Ok(bed.pins.path().join(pin))
    }
}

/// These are broken one after the other, and a repair puts back, uncounted, what goes away while it
/// is made: at least one of them is found.
fn least(kind: &str, count: u64) -> u64 {
    match kind {
        "rule" | "sysctl" | "map" => count.min(1),
        _ => count,
    }
}

/// The client's rules, routes and parameters, as far as they are ours.
fn redirection(bed: &Bed) -> Result<Vec<String>> {
    look::redirection(&bed.pod("client").netns)
}

pub(crate) fn run(command: &mut std::process::Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ids of the tcx programs of a device of the calling thread's namespace, in order.
pub(crate) fn programs(device: &str, direction: Direction) -> Result<Vec<u32>> {
    let direction = match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    };
    let (_, programs) = SchedClassifier::query_tcx(device, direction)?;
    Ok(programs.iter().map(|program| program.id()).collect())
}

/// `bpftool` with a path at its end.
pub(crate) fn bpftool(line: &str, path: &std::path::Path, more: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new("bpftool");
    command.args(line.split(' ')).arg(path).args(more);
    run(&mut command)
}

const KINDS: [&str; 11] = [
    "program", "order", "rule", "route", "sysctl", "loopback", "device", "address", "map",
    "listener", "netns",
];

fn index(kind: &str) -> usize {
    let found = KINDS.iter().position(|other| *other == kind);
    found.expect("a kind of drift")
}
