//! The source under test, and what becomes of what it says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use waysteer::compile::{Changes, Compiler, EnrolledPod, Node};
use waysteer::model::Mesh;
use waysteer::source::Event;
use waysteer::source::xds::{NodeIdentity, XdsLimits, XdsOptions, XdsSource, XdsStats, XdsTls};

use waysteer_tests::istiod::DEADLINE;

pub(super) struct Listener {
    events: mpsc::Receiver<Event>,
    pub(super) compiler: Compiler,
    /// The last report: resource and error.
    pub(super) errors: Vec<(Option<String>, String)>,
    /// Map writes so far.
    pub(super) writes: usize,
    pub(super) stats: XdsStats,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

pub(super) fn options(address: SocketAddr) -> XdsOptions {
    XdsOptions {
        address: address.to_string(),
        tls: None,
        token: None,
        limits: XdsLimits::default(),
        node: NodeIdentity {
            ip: "10.1.0.100".into(),
            pod: "waysteer-abcde".into(),
            namespace: "istio-system".into(),
            domain: "cluster.local".into(),
            node: "node1".into(),
            cluster_id: "cluster1".into(),
            istio_version: Some("1.31.0".into()),
        },
    }
}

pub(super) fn tls(root_ca: PathBuf, server_name: &str) -> XdsTls {
    XdsTls {
        root_ca,
        server_name: Some(server_name.into()),
    }
}

pub(super) fn node() -> Node {
    Node {
        name: "node1".into(),
        direct_local_bypass: true,
        ..Node::default()
    }
}

pub(super) fn pod() -> EnrolledPod {
    EnrolledPod {
        netns: 1,
        name: "w0".into(),
        namespace: "default".into(),
        service_account: "default".into(),
        addresses: vec!["10.0.0.0".parse().expect("an address")],
    }
}

impl Listener {
    pub(super) fn start(options: XdsOptions) -> Self {
        let (sender, events) = mpsc::channel(1024);
        let stop = CancellationToken::new();
        let stats = XdsStats::default();
        let source = XdsSource::new(options, stats.clone());
        let running = tokio::spawn(source.run(sender, stop.clone()));
        let mut compiler = Compiler::new(node());
        compiler.set_pod(pod());
        compiler.take_changes();
        Self {
            events,
            compiler,
            errors: Vec::new(),
            writes: 0,
            stats,
            stop,
            running,
        }
    }

    pub(super) fn mesh(&self) -> &Mesh {
        self.compiler.mesh()
    }

    /// Takes events until a condition holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        while !holds(self) {
            let event = timeout(DEADLINE, self.events.recv()).await;
            let event = event.with_context(|| format!("waiting: {what}"))?;
            let event = event.context("the source has ended")?;
            let changes = self.take(event);
            let told: std::collections::BTreeSet<_> = changes
                .workloads
                .upserts
                .iter()
                .map(|(key, _)| key)
                .collect();
            ensure!(
                !changes
                    .workloads
                    .removals
                    .iter()
                    .any(|key| told.contains(key)),
                "{changes:?}"
            );
        }
        Ok(())
    }

    /// Takes what comes for a while.
    pub(super) async fn drain(&mut self) {
        while let Ok(Some(event)) = timeout(Duration::from_millis(200), self.events.recv()).await {
            self.take(event);
        }
    }

    /// Takes what is there.
    pub(super) fn drain_now(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        timeout(DEADLINE, async {
            // Its channel may be full.
            while self.events.recv().await.is_some() {}
            self.running.await
        })
        .await
        .context("the source does not stop")??;
        Ok(())
    }

    fn take(&mut self, event: Event) -> Changes {
        match event {
            Event::Mesh(delta) => self.compiler.apply(delta),
            Event::Report(report) => {
                let errors = report.diagnostics.into_iter();
                self.errors = errors.map(|d| (d.entry, d.message)).collect();
            }
            Event::Pods(_) => {}
        }
        let changes = self.compiler.take_changes();
        self.writes += changes.len();
        changes
    }
}
