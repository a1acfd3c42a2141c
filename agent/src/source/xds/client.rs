//! One connection to istiod after the other.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use super::identity::NodeIdentity;
use super::proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use super::proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status as ErrorDetail,
};
use super::state::{Refused, Response, TYPES, XdsState};
use super::stats::XdsStats;
use crate::source::{Diagnostic, Event, Report, Severity};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that went away without a word is noticed after both.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// The whole mesh comes in one message.
const LARGEST_MESSAGE: usize = 2 << 30;
/// `INVALID_ARGUMENT` of gRPC.
const INVALID_ARGUMENT: i32 = 3;

/// Where istiod is, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsOptions {
    /// `host:port`.
    pub address: String,
    /// `None` is plaintext, for tests.
    pub tls: Option<XdsTls>,
    /// A file with the bearer token, read again for each connection.
    pub token: Option<PathBuf>,
    pub node: NodeIdentity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsTls {
    /// A file with the authorities to trust, read again for each connection.
    pub root_ca: PathBuf,
    /// The name in istiod's certificate, where it is not that of `address`.
    pub server_name: Option<String>,
}

/// Why a connection ended or never began.
#[derive(Debug, Error)]
enum SessionError {
    #[error("{0:?} is no address")]
    Address(String, #[source] tonic::transport::Error),
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the token in {} is no header value", path.display())]
    Token { path: PathBuf },
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the server refused or broke off: {}: {}", .0.code(), .0.message())]
    Status(#[source] Box<Status>),
    #[error("the server ended the stream")]
    Ended,
}

/// Keeps the mesh as istiod tells it.
#[derive(Debug)]
pub struct XdsSource {
    options: XdsOptions,
    state: XdsState,
    stats: XdsStats,
    /// What was last said to be wrong.
    reported: Vec<Diagnostic>,
}

impl XdsSource {
    pub fn new(options: XdsOptions, stats: XdsStats) -> Self {
        Self {
            options,
            state: XdsState::default(),
            stats,
            reported: Vec::new(),
        }
    }

    /// Runs until `stop`, or until nobody receives any more. What was told stays while there is no
    /// connection.
    pub async fn run(mut self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let started = Instant::now();
            let session = stop.run_until_cancelled(self.session(&events)).await;
            let Some(Err(error)) = session else {
                return;
            };
            self.stats.disconnected();
            let message = chain(&error);
            if !self.report(vec![self.diagnostic(message)], &events).await {
                return;
            }
            if started.elapsed() > LONGEST_BACKOFF {
                backoff = FIRST_BACKOFF;
            }
            // All nodes of a cluster lose their istiod at once.
            let wait = backoff.mul_f64(rand::random_range(0.5..1.0));
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Ok when nobody receives any more.
    async fn session(&mut self, events: &mpsc::Sender<Event>) -> Result<(), SessionError> {
        let (requests, mut responses) = self.open().await?;
        self.stats.connected();
        let mut greeted = false;
        loop {
            let response = responses.message().await;
            let response = response.map_err(|status| SessionError::Status(status.into()))?;
            let response = response.ok_or(SessionError::Ended)?;
            if !greeted {
                greeted = true;
                tracing::info!(address = self.options.address, "connected to istiod");
            }
            let (type_url, nonce) = (response.type_url.clone(), response.nonce.clone());
            // Converting a whole mesh takes a while.
            let taken = tokio::task::block_in_place(|| self.state.take(response));
            let refused = match taken {
                Some(Response { delta, refused }) => {
                    self.stats.received(&type_url, &refused);
                    let sent = events.send(Event::Mesh(delta)).await;
                    if sent.is_err() || !self.report(self.diagnostics(), events).await {
                        return Ok(());
                    }
                    refused
                }
                None => vec![Refused {
                    resource: type_url.clone(),
                    error: "nobody asked for this type".to_owned(),
                }],
            };
            let answer = DeltaDiscoveryRequest {
                type_url,
                response_nonce: nonce,
                error_detail: error_detail(&refused),
                ..DeltaDiscoveryRequest::default()
            };
            if requests.send(answer).await.is_err() {
                return Err(SessionError::Ended);
            }
        }
    }

    async fn open(
        &self,
    ) -> Result<
        (
            mpsc::Sender<DeltaDiscoveryRequest>,
            Streaming<DeltaDiscoveryResponse>,
        ),
        SessionError,
    > {
        let channel = self.connect().await?;
        let (requests, outgoing) = mpsc::channel(TYPES.len() + 1);
        let mut node = Some(self.options.node.to_proto());
        for type_url in TYPES {
            let first = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: type_url.to_owned(),
                initial_resource_versions: self.state.versions(type_url),
                ..DeltaDiscoveryRequest::default()
            };
            // There is room for these.
            let _ = requests.send(first).await;
        }
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        if let Some(token) = self.token().await? {
            request.metadata_mut().insert("authorization", token);
        }
        if let Ok(cluster) = self.options.node.cluster_id.parse() {
            request.metadata_mut().insert("clusterid", cluster);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE);
        let opened = client.delta_aggregated_resources(request).await;
        let responses = opened.map_err(|status| SessionError::Status(status.into()))?;
        Ok((requests, responses.into_inner()))
    }

    async fn connect(&self) -> Result<Channel, SessionError> {
        let XdsOptions { address, tls, .. } = &self.options;
        let invalid = |source| SessionError::Address(address.clone(), source);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(invalid)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            // A mesh of 10⁵ workloads is tens of megabytes.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        if let Some(XdsTls {
            root_ca,
            server_name,
        }) = tls
        {
            let pem = read(root_ca).await?;
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            if let Some(name) = server_name {
                config = config.domain_name(name);
            }
            endpoint = endpoint.tls_config(config).map_err(invalid)?;
        }
        endpoint.connect().await.map_err(SessionError::Connect)
    }

    async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, SessionError> {
        let Some(path) = &self.options.token else {
            return Ok(None);
        };
        let token = read(path).await?;
        let token = String::from_utf8(token).unwrap_or_default();
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| SessionError::Token { path: path.clone() })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Says what is wrong where that has changed; false when nobody receives any more.
    async fn report(&mut self, diagnostics: Vec<Diagnostic>, events: &mpsc::Sender<Event>) -> bool {
        if diagnostics == self.reported {
            return true;
        }
        self.reported.clone_from(&diagnostics);
        let report = Report {
            origin: self.options.address.clone(),
            diagnostics,
        };
        events.send(Event::Report(report)).await.is_ok()
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let errors = self.state.errors().into_iter();
        let diagnostics = errors.map(|(resource, error)| Diagnostic {
            entry: Some(format!("resource {resource}")),
            ..self.diagnostic(error)
        });
        diagnostics.collect()
    }

    fn diagnostic(&self, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: self.options.address.clone(),
            line: None,
            entry: None,
            field: None,
            message,
        }
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, SessionError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|source| SessionError::Unreadable {
        path: path.clone(),
        source,
    })
}

/// `None` acknowledges.
fn error_detail(refused: &[Refused]) -> Option<ErrorDetail> {
    let messages: Vec<String> = refused
        .iter()
        .map(|refused| format!("{}: {}", refused.resource, refused.error))
        .collect();
    (!messages.is_empty()).then(|| ErrorDetail {
        code: INVALID_ARGUMENT,
        message: messages.join("; "),
    })
}

/// An error and all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
