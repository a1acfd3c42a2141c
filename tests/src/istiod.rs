//! A control plane that says what a test tells it to: istiod, as far as a node can tell.
//!
//! [`Istiod`] leaves every message to the test; [`Plane`] serves a mesh to whoever comes.

mod plane;
pub mod resources;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use waysteer::source::xds::proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

pub use plane::{Plane, Resend};

/// Nothing takes longer, on however busy a machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A listening control plane; it ends when dropped.
#[derive(Debug)]
pub struct Istiod {
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    _stop: oneshot::Sender<()>,
}

/// One stream of a client; it ends when dropped.
#[derive(Debug)]
pub struct Session {
    pub metadata: MetadataMap,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

/// An address that refuses connections while nobody listens there, and that nobody else gets.
#[derive(Debug)]
pub struct Reserved {
    pub address: SocketAddr,
    _bound: TcpSocket,
}

impl Reserved {
    pub fn new() -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = shared_socket(any)?;
        Ok(Self {
            address: bound.local_addr()?,
            _bound: bound,
        })
    }

    fn socket(&self) -> Result<TcpSocket> {
        shared_socket(self.address)
    }
}

fn shared_socket(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

struct Service(mpsc::Sender<Session>);

impl Istiod {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Self::serve(listener, None)
    }

    /// On an address that is this test's own.
    pub fn start_at(address: &Reserved) -> Result<Self> {
        Self::serve(address.socket()?.listen(16)?, None)
    }

    pub async fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Self::serve(listener, Some(Identity::from_pem(certificate, key)))
    }

    /// On a listener that is there already.
    pub fn serve(listener: TcpListener, identity: Option<Identity>) -> Result<Self> {
        let address = listener.local_addr()?;
        let (accepted, sessions) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel();
        let mut server = Server::builder();
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let service = AggregatedDiscoveryServiceServer::new(Service(accepted))
            .max_encoding_message_size(usize::MAX);
        let serving = server
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move {
            // Not gracefully: what is open breaks.
            tokio::select! {
                _ = serving => {}
                _ = stopped => {}
            }
        });
        Ok(Self {
            address,
            sessions,
            _stop: stop,
        })
    }

    /// The next stream, whenever somebody opens one.
    pub async fn next(&mut self) -> Option<Session> {
        self.sessions.recv().await
    }

    /// The next stream, soon.
    pub async fn accept(&mut self) -> Result<Session> {
        let session = timeout(DEADLINE, self.sessions.recv()).await;
        session
            .context("no stream was opened")?
            .ok_or_else(|| anyhow!("the server is gone"))
    }
}

impl Session {
    pub async fn request(&mut self) -> Result<DeltaDiscoveryRequest> {
        let request = timeout(DEADLINE, self.requests.message()).await;
        request
            .context("no request came")??
            .ok_or_else(|| anyhow!("the client ended the stream"))
    }

    pub async fn send(&self, response: DeltaDiscoveryResponse) -> Result<()> {
        self.responses
            .send(Ok(response))
            .await
            .map_err(|_| anyhow!("the client is gone"))
    }

    /// Sends, and waits for the answer to just this.
    pub async fn exchange(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<DeltaDiscoveryRequest> {
        let nonce = response.nonce.clone();
        self.send(response).await?;
        let answer = self.request().await?;
        anyhow::ensure!(answer.response_nonce == nonce, "{answer:?} to {nonce}");
        Ok(answer)
    }

    pub async fn fail(self, status: Status) {
        let _ = self.responses.send(Err(status)).await;
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let metadata = request.metadata().clone();
        let (responses, outgoing) = mpsc::channel(1024);
        let session = Session {
            metadata,
            requests: request.into_inner(),
            responses,
        };
        let accepted = self.0.send(session).await;
        accepted.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
