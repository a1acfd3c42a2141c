//! A control plane that has one mesh and one listener.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use waysteer::source::xds::proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use waysteer::source::xds::proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use crate::mesh::ADDRESS;

const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    _stop: oneshot::Sender<()>,
}

/// The stream of a listener that has introduced itself.
pub(crate) struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    nonce: u64,
}

struct Service(mpsc::Sender<Stream>);

impl Plane {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (accepted, streams) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let service = AggregatedDiscoveryServiceServer::new(Service(accepted))
            .max_encoding_message_size(usize::MAX);
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move {
            tokio::select! {
                _ = serving => {}
                _ = stopped => {}
            }
        });
        Ok(Self {
            address,
            streams,
            _stop: stop,
        })
    }

    /// Waits until somebody listens and has asked for both types.
    pub(crate) async fn accept(&mut self) -> Result<Stream> {
        let stream = self.streams.recv().await;
        let mut stream = stream.ok_or_else(|| anyhow!("the server is gone"))?;
        for _ in 0..2 {
            stream.request().await?;
        }
        Ok(stream)
    }
}

impl Stream {
    /// Everything there is, and no policies. Who listens has to acknowledge both.
    pub(crate) async fn tell_all(&mut self, resources: Vec<Resource>) -> Result<()> {
        self.send(ADDRESS, resources, Vec::new()).await?;
        self.send(AUTHORIZATION, Vec::new(), Vec::new()).await
    }

    pub(crate) async fn tell(&mut self, resources: Vec<Resource>) -> Result<()> {
        self.send(ADDRESS, resources, Vec::new()).await
    }

    pub(crate) async fn replace(&mut self, old: String, new: Resource) -> Result<()> {
        self.send(ADDRESS, vec![new], vec![old]).await
    }

    /// Waits until so many responses are acknowledged.
    pub(crate) async fn acknowledged(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let answer = self.request().await?;
            ensure!(answer.error_detail.is_none(), "refused: {answer:?}");
        }
        Ok(())
    }

    async fn request(&mut self) -> Result<DeltaDiscoveryRequest> {
        let request = self.requests.message().await?;
        request.context("the agent has ended the stream")
    }

    async fn send(
        &mut self,
        type_url: &str,
        resources: Vec<Resource>,
        removed_resources: Vec<String>,
    ) -> Result<()> {
        self.nonce += 1;
        let response = DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce: self.nonce.to_string(),
            resources,
            removed_resources,
            ..DeltaDiscoveryResponse::default()
        };
        let sent = self.responses.send(Ok(response)).await;
        sent.map_err(|_| anyhow!("the agent is gone"))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, outgoing) = mpsc::channel(16);
        let stream = Stream {
            requests: request.into_inner(),
            responses,
            nonce: 0,
        };
        let accepted = self.0.send(stream).await;
        accepted.map_err(|_| Status::unavailable("the measurement is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
