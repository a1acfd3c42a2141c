//! Making a connection to istiod, and what is said first.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Streaming};

use super::error::SessionError;
use super::once::Once;
use super::options::{XdsOptions, XdsTls};
use super::proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use super::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use super::state::TYPES;

/// A connection on which both types were asked for.
pub(super) struct Connection {
    pub(super) requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(super) opening: Opening,
}

/// What the server says to being asked. It may wait with that until it has something to tell.
type Opening =
    Pin<Box<dyn Future<Output = Result<Streaming<DeltaDiscoveryResponse>, SessionError>> + Send>>;

impl Connection {
    /// Connects and subscribes. `versions` is what is known of a type.
    pub(super) async fn open(
        options: &XdsOptions,
        versions: impl Fn(&str) -> HashMap<String, String>,
    ) -> Result<Self, SessionError> {
        // TLS included, of which the transport has no limit of its own.
        let within = options.limits.connect;
        let channel = timeout(within, connect(options)).await;
        let channel = channel.map_err(|_| SessionError::Silent { within })??;
        let (requests, outgoing) = mpsc::channel(TYPES.len() + 1);
        let mut node = Some(options.node.to_proto());
        for type_url in TYPES {
            let first = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: type_url.to_owned(),
                initial_resource_versions: versions(type_url),
                ..DeltaDiscoveryRequest::default()
            };
            // There is room for these.
            let _ = requests.send(first).await;
        }
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(path) = &options.token {
            let token = token(path).await?;
            request.metadata_mut().insert("authorization", token);
        }
        if let Ok(cluster) = options.node.cluster_id.parse() {
            request.metadata_mut().insert("clusterid", cluster);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(options.limits.message);
        let opening = Box::pin(async move {
            let opened = client.delta_aggregated_resources(request).await;
            let responses = opened.map_err(|status| SessionError::Status(status.into()))?;
            Ok(responses.into_inner())
        });
        Ok(Self { requests, opening })
    }
}

async fn connect(options: &XdsOptions) -> Result<Channel, SessionError> {
    let XdsOptions {
        address,
        tls,
        limits,
        ..
    } = options;
    let invalid = |source| SessionError::Address(address.clone(), source);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(invalid)?
        .http2_keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(limits.answer)
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
        // Without one, whatever comes would be refused, and nobody would know why.
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            let path = root_ca.clone();
            return Err(SessionError::RootCa { path });
        }
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        if let Some(name) = server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config).map_err(invalid)?;
    }
    let connector = Once::default();
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(SessionError::Connect)
}

async fn token(path: &Path) -> Result<MetadataValue<Ascii>, SessionError> {
    let invalid = || SessionError::Token {
        path: path.to_owned(),
    };
    let token = String::from_utf8(read(path).await?).map_err(|_| invalid())?;
    let token = token.trim();
    if token.is_empty() {
        return Err(invalid());
    }
    let value: Result<MetadataValue<Ascii>, _> = format!("Bearer {token}").parse();
    let mut value = value.map_err(|_| invalid())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(path: &Path) -> Result<Vec<u8>, SessionError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|source| SessionError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
