//! Starts the agent's tasks and stops them in order. The only module that sees all others.

mod observe;
mod sources;

mod verdicts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::{CertError, CertSource, FileCerts};

use self::verdicts::KernelVerdicts;
use crate::admin::{AdminError, Listeners, Sources};
use crate::cleanup;
use crate::compile::{Compiler, Node};
use crate::config::{Config, DirectLocal, Identity, OnStop, Tunnel};
use crate::enrol::Enroller;
use crate::kernel::attach::{AttachError, CgroupLinks};
use crate::kernel::cgroup::{self, CgroupError};
use crate::kernel::estate::{Estate, EstateError};
use crate::kernel::expedite::Expediter;
use crate::kernel::features::{self, TooOld};
use crate::kernel::load::{LoadError, LoadOptions, Programs};
use crate::kernel::netns;
use crate::kernel::object::{Object, ObjectError};
use crate::kernel::pins::{Generation, PinError, PinRoot};
use crate::kernel::privileges::{self, PrivilegesError};
use crate::kernel::records::{RecordError, Records};
use crate::reconcile::{ReconcileError, Reconciler};
use crate::source::file::FileSourceError;
use crate::state::State;
use crate::traffic::Ledger;
use crate::tunnel::{self, EmbeddedTunnel, SharedCompiler, TunnelError, Ztunnel};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    #[error(transparent)]
    TooOld(#[from] TooOld),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Estate(#[from] EstateError),
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("cannot read the cookie of the agent's own network namespace")]
    Cookie(#[source] std::io::Error),
    #[error("no certificates for the embedded tunnel")]
    Certificates(#[from] CertError),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Source(#[from] FileSourceError),
    #[error("cannot read the kernel programs' log")]
    KernelLog(#[source] std::io::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    #[error("a task of the agent panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Runs the agent until SIGTERM or SIGINT, and undoes what it did if it is to. `object` takes the
/// place of the embedded programs.
///
/// # Errors
/// When it cannot start, or when a task that everything hangs on fails.
pub async fn run(config: Config, object: Option<&Path>) -> Result<(), AppError> {
    privileges::require()?;
    features::require()?;
    let listeners = Listeners::bind(&config.admin).await?;
    // Early, as the listeners: what is wrong with it is told before anything is attached.
    let prepared = match &config.tunnel {
        Tunnel::Embedded { identity } => Prepared::Embedded(certificates(identity)?),
        Tunnel::Ztunnel { socket } => {
            Prepared::Ztunnel(Ztunnel::start(socket).map_err(TunnelError::from)?)
        }
    };
    let object = Object::find(object)?;
    let options = LoadOptions {
        capacities: BTreeMap::from([("POD_TRAFFIC", config.traffic.entries)]),
        ..LoadOptions::default()
    };
    let Estate {
        root,
        records,
        generation,
        is_adopted,
        elders,
    } = Estate::open(&config.pin_root, &object, &options)?;
    let expediter = Expediter::open(&root, config.expedite_rcu.file());
    let options = LoadOptions {
        pins: Some(generation.clone()),
        elders: elders.clone(),
        ..options
    };
    let mut loaded = Programs::load(&object, &options)?;
    let cgroup = cgroup::root(config.cgroup.given())?;
    let cgroup_links = loaded.programs.attach_cgroup(&cgroup)?;
    let host_netns = netns::current_cookie().map_err(AppError::Cookie)?;
    tracing::info!(
        cgroup = %cgroup.display(),
        host_netns,
        pins = %generation.path().display(),
        adopted = is_adopted,
        older = elders.len(),
        "programs loaded and attached"
    );

    let state = Arc::new(State::default());
    let compiler = SharedCompiler::new(Compiler::new(node(&config)));
    let verdicts = Arc::new(KernelVerdicts::new(loaded.connections.clone()));
    let tunnel = Arc::new(match prepared {
        Prepared::Embedded(certs) => {
            tunnel::Tunnel::Embedded(EmbeddedTunnel::new(certs, verdicts, compiler.view())?)
        }
        Prepared::Ztunnel(ztunnel) => tunnel::Tunnel::Ztunnel(ztunnel),
    });
    let (stop, cleanup) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks: JoinSet<Result<(), AppError>> = JoinSet::new();

    let kernel_log = loaded.log;
    let log_stop = stop.clone();
    tasks.spawn(async move { kernel_log.run(log_stop).await.map_err(AppError::KernelLog) });
    let events = loaded.events;
    let view = compiler.view();
    tasks.spawn(observe::verdicts(events, view, state.clone(), stop.clone()));
    let drops = loaded.drops;
    let view = compiler.view();
    tasks.spawn(observe::drops(drops, view, state.clone(), stop.clone()));
    let (changes, received) = mpsc::channel(16);
    let xds = sources::start(&config, &mut tasks, changes, stop.clone());
    let series = config.traffic.series;
    let traffic = Arc::new(Ledger::new(loaded.pod_traffic, compiler.view(), series));
    let sources = Arc::new(Sources {
        config: config.clone(),
        xds,
        state: state.clone(),
        counters: loaded.counters,
        traffic: traffic.clone(),
        explainer: loaded.explainer,
        connections: loaded.connections,
        view: compiler.view(),
        cleanup: cleanup.clone(),
        tunnel: tunnel.clone(),
        stop: stop.clone(),
    });
    let admin_stop = stop.clone();
    tasks.spawn(async move { Ok(listeners.serve(sources, admin_stop).await?) });

    let reconciler = Reconciler {
        compiler,
        maps: loaded.maps,
        host_netns,
        enroller: Enroller::new(loaded.programs, records, expediter, tunnel.clone()),
        cgroup,
        verify_interval: Duration::from_secs(config.verify_interval.into()),
        state,
        traffic,
        on_stop: config.on_stop,
        cleanup: cleanup.clone(),
    };
    let reconciler_stop = stop.clone();
    tasks.spawn(async move { Ok(reconciler.run(received, reconciler_stop).await?) });

    let result = supervise(&mut tasks, &stop, &cleanup).await;
    // The reconciler has taken every pod out of the maps and its netns, if it is to; then the
    // tunnel, whose connections may still end; the cgroup programs have nothing left to do.
    tunnel.stop().await;
    let closed = match config.on_stop {
        OnStop::Leave if !cleanup.is_cancelled() => Ok(()),
        OnStop::Undo | OnStop::Leave => close(root, &generation, cgroup_links),
    };
    tracing::info!("stopped");
    result.and(closed)
}

/// Removes what is not a pod's.
fn close(root: PinRoot, generation: &Generation, links: CgroupLinks) -> Result<(), AppError> {
    links.detach()?;
    if generation.has_pod_links()? {
        tracing::warn!("programs that guard open connections stay: see waysteer cleanup");
        return Ok(());
    }
    generation.remove()?;
    if let Some(records) = Records::find(&root)? {
        // What could not be undone stays written down, for `waysteer cleanup`.
        if records.all()?.is_empty() {
            records.remove(&root)?;
        }
    }
    root.close()?;
    Ok(())
}

/// What of the tunnel is there before the programs.
enum Prepared {
    Embedded(Arc<dyn CertSource>),
    Ztunnel(Ztunnel),
}

/// Waits for a signal or for the first task to end, then for all of them.
async fn supervise(
    tasks: &mut JoinSet<Result<(), AppError>>,
    stop: &CancellationToken,
    cleanup: &CancellationToken,
) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    let mut result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = cleanup.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => flatten(ended),
    };
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        let ended = flatten(ended);
        if result.is_ok() {
            result = ended;
        }
    }
    result
}

fn flatten(ended: Result<Result<(), AppError>, tokio::task::JoinError>) -> Result<(), AppError> {
    ended?
}

fn node(config: &Config) -> Node {
    Node {
        name: config.node.as_str().into(),
        network: config.network.as_str().into(),
        direct_local_bypass: match config.direct_local {
            DirectLocal::Bypass => true,
            DirectLocal::Tunnel => false,
        },
        mesh_cidrs: config.mesh_cidrs.clone(),
        events: true,
    }
}

fn certificates(identity: &Identity) -> Result<Arc<dyn CertSource>, CertError> {
    Ok(match identity {
        Identity::CaDir(directory) => Arc::new(authority(directory)?),
        Identity::Certs(directory) => Arc::new(FileCerts::from_dir(directory)?),
    })
}

/// What is made here is marked as such, for `waysteer cleanup`.
fn authority(directory: &Path) -> Result<LocalCa, CertError> {
    let is_given = directory.join("ca.key").exists();
    let authority = LocalCa::load_or_create(directory)?;
    if !is_given && let Err(error) = std::fs::write(directory.join(cleanup::MADE), "") {
        tracing::warn!(%error, "the authority's directory cannot be marked as made");
    }
    Ok(authority)
}
