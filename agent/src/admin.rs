//! The admin pages: for probes and Prometheus on localhost, for the command line on a unix socket
//! that only root can open.

mod destination;
mod explain;
mod model;
mod monitor;
mod names;
mod source;
mod top;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State as AxumState};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use self::source::SourcePage;
use crate::compile::Tables;
use crate::config::{Admin, Config};
use crate::kernel::explain::Explainer;
use crate::kernel::observe::{Counters, OpenConnections};
use crate::kernel::programs::{ProgramReport, programs};
use crate::metrics;
use crate::source::Severity;
use crate::source::xds::XdsStats;
use crate::state::{NodeVerification, PodState, PodStatus, State};
use crate::telemetry;
use crate::traffic::{Counted, Ledger, PodsTraffic};
use crate::tunnel::{Tunnel, TunnelStatus, View};

/// What the pages read.
#[derive(Debug)]
pub struct Sources {
    pub config: Config,
    /// Where the mesh comes from istiod.
    pub xds: Option<XdsStats>,
    pub state: Arc<State>,
    pub counters: Counters,
    pub traffic: Arc<Ledger>,
    pub explainer: Explainer,
    pub connections: OpenConnections,
    pub view: View,
    /// Told to undo everything and end.
    pub cleanup: CancellationToken,
    pub tunnel: Arc<Tunnel>,
    /// The agent ends: so do answers that have no end of their own.
    pub stop: CancellationToken,
}

impl Sources {
    /// Ours, of all generations; none, and a line in the log, where they cannot be read.
    pub fn programs(&self) -> Vec<ProgramReport> {
        let root = &self.config.pin_root;
        block_in_place(|| programs(root)).unwrap_or_else(|error| {
            tracing::warn!(error = crate::error::chain(&error), "programs not readable");
            Vec::new()
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot listen on {address} for the admin pages")]
    Listen {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("serving the admin pages")]
    Serve(#[source] std::io::Error),
}

/// The listeners, bound before anything else starts so that a taken address is told early.
#[derive(Debug)]
pub struct Listeners {
    tcp: TcpListener,
    unix: UnixListener,
    /// Of the socket.
    path: PathBuf,
}

impl Listeners {
    /// # Errors
    /// When an address is taken or the socket's directory cannot be made.
    pub async fn bind(admin: &Admin) -> Result<Self, AdminError> {
        let tcp = TcpListener::bind(admin.listen)
            .await
            .map_err(|source| AdminError::Listen {
                address: admin.listen.to_string(),
                source,
            })?;
        let unix = bind_unix(&admin.socket).map_err(|source| AdminError::Listen {
            address: admin.socket.display().to_string(),
            source,
        })?;
        let path = admin.socket.clone();
        Ok(Self { tcp, unix, path })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve(
        self,
        sources: Arc<Sources>,
        stop: CancellationToken,
    ) -> Result<(), AdminError> {
        let tcp = axum::serve(self.tcp, router(sources.clone()))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let unix = axum::serve(self.unix, for_root(sources))
            .with_graceful_shutdown(stop.cancelled_owned());
        let (tcp, unix) = tokio::join!(tcp.into_future(), unix.into_future());
        // Whoever finds it knows that an agent was killed.
        let _ = std::fs::remove_file(&self.path);
        tcp.and(unix).map_err(AdminError::Serve)
    }
}

fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // Another agent's, which may listen on another address.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::ErrorKind::AddrInUse.into());
    }
    // What a killed agent left.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// What only root may ask for, too.
fn for_root(sources: Arc<Sources>) -> Router {
    let more = Router::new()
        .route("/cleanup", post(cleanup))
        .route("/log", get(log).post(set_log))
        .route("/monitor", get(monitor::monitor))
        .with_state(sources.clone());
    router(sources).merge(more)
}

/// The filter of what is logged.
async fn log() -> Response {
    match telemetry::filter() {
        Ok(filter) => filter.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Another one, which is answered as it was understood.
async fn set_log(filter: String) -> Response {
    let before = telemetry::filter().unwrap_or_default();
    match telemetry::set_filter(filter.trim()) {
        Ok(()) => {
            let now = telemetry::filter().unwrap_or_default();
            tracing::warn!(before, now, "told to log something else");
            now.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Undoes everything and ends, whatever `on_stop` says.
async fn cleanup(AxumState(sources): Shared) -> &'static str {
    tracing::info!("told to undo everything and end");
    sources.cleanup.cancel();
    "undoing\n"
}

fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/status", get(status))
        .route("/explain", get(explain::explain))
        .route("/debug/config", get(config))
        .route("/debug/flows", get(flows))
        .route("/debug/model", get(model::model))
        .route("/debug/programs", get(programs_page))
        .route("/debug/tables", get(tables))
        .route("/debug/names", get(names::names))
        .route("/debug/top", get(top::top))
        .with_state(sources)
}

type Shared = AxumState<Arc<Sources>>;

/// Ready, or the list of what is not.
async fn readyz(AxumState(sources): Shared) -> Response {
    let mut missing = Vec::new();
    if !sources.state.source().synced {
        let xds = sources.xds.as_ref();
        let why = xds.and_then(|stats| stats.snapshot().missing());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        missing.push(format!("source: no complete snapshot yet{why}"));
    }
    if !sources.state.source().pods_known {
        missing.push("source: the local pods are not known yet".to_owned());
    }
    if let Some(error) = sources.state.map_error() {
        missing.push(format!("maps: {error}"));
    }
    for pod in sources.state.pods() {
        match &pod.state {
            PodState::Enrolled | PodState::Leaving => {}
            PodState::Pending(reason) | PodState::Drifted(reason) | PodState::Failed(reason) => {
                missing.push(format!("pod {}/{}: {reason}", pod.namespace, pod.name));
            }
        }
    }
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics_page(AxumState(sources): Shared) -> Response {
    match metrics::encode(&sources) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What `waysteer status` shows.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    node: String,
    source: SourcePage,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<String>,
    map_error: Option<String>,
    pods: Vec<PodPage>,
    verification: NodeVerification,
    tunnel: TunnelStatus,
    programs: Vec<ProgramReport>,
}

#[derive(Debug, Serialize)]
struct PodPage {
    #[serde(flatten)]
    status: PodStatus,
    /// `None` where it cannot be read.
    traffic: Option<Vec<Counted>>,
}

async fn status(AxumState(sources): Shared) -> Json<Status> {
    let state = &sources.state;
    let traffic = sources.traffic.by_pod();
    let traffic = traffic.inspect_err(|error| {
        tracing::warn!(
            error = crate::error::chain(error),
            "traffic of pods not readable"
        );
    });
    let page = |status: PodStatus| {
        let of_pod = |traffic: &PodsTraffic| {
            let found = status.cookie.and_then(|netns| traffic.get(&netns));
            found.map(Counted::of).unwrap_or_default()
        };
        PodPage {
            traffic: traffic.as_ref().ok().map(of_pod),
            status,
        }
    };
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        node: sources.config.node.clone(),
        source: SourcePage::of(&sources),
        errors: state.count_diagnostics(Severity::Error),
        warnings: state.count_diagnostics(Severity::Warning),
        diagnostics: state.diagnostics(),
        map_error: state.map_error(),
        pods: state.pods().into_iter().map(page).collect(),
        verification: state.node(),
        tunnel: sources.tunnel.status(),
        programs: sources.programs(),
    })
}

async fn programs_page(AxumState(sources): Shared) -> Json<Vec<ProgramReport>> {
    Json(sources.programs())
}

async fn config(AxumState(sources): Shared) -> Json<Config> {
    Json(sources.config.clone())
}

#[derive(Debug, Deserialize)]
struct FlowsQuery {
    /// The first record number wanted.
    #[serde(default)]
    since: u64,
}

async fn flows(AxumState(sources): Shared, Query(query): Query<FlowsQuery>) -> Response {
    Json(sources.state.flows(query.since)).into_response()
}

/// Sizes of the tables that were compiled last.
async fn tables(AxumState(sources): Shared) -> Response {
    let sizes = sources.view.with(|compiler| sizes(compiler.tables()));
    Json(sizes).into_response()
}

fn sizes(tables: &Tables) -> serde_json::Value {
    serde_json::json!({
        "pods": tables.pods.len(),
        "pod_addresses": tables.pod_addresses.len(),
        "workloads": tables.workloads.len(),
        "services": tables.services.len(),
        "service_cidrs": tables.service_cidrs.len(),
        "service_ports": tables.service_ports.len(),
        "endpoints": tables.endpoints.len(),
        "waypoints": tables.waypoints.len(),
        "policies": tables.policies.len(),
        "waypoint_members": tables.waypoint_members.len(),
        "mesh_cidrs": tables.mesh_cidrs.len(),
    })
}
