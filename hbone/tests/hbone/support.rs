//! A server with a few built-in applications, and a client of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waysteer_hbone::ca::LocalCa;
use waysteer_hbone::certs::CertSource;
use waysteer_hbone::client::{ConnectError, Dial, Pool, PoolConfig, PoolKey};
use waysteer_hbone::copy::Leg;
use waysteer_hbone::identity::SpiffeId;
use waysteer_hbone::refusal::Refusal;
use waysteer_hbone::server::{Handler, Outcome, Request, ServeError, Server, ServerConfiguration};
use waysteer_hbone::stream::HboneStream;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn client_id() -> SpiffeId {
    SpiffeId::new("cluster.local", "demo", "client").unwrap()
}

pub(crate) fn server_id() -> SpiffeId {
    SpiffeId::new("cluster.local", "demo", "server").unwrap()
}

/// Fails the test instead of hanging it.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it takes too long")
}

/// Waits for a condition that nothing announces.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Where the server side of the tests leads to.
#[derive(Debug)]
pub(crate) enum Upstream {
    Tcp(TcpStream),
    Memory(DuplexStream),
    /// So many bytes and then a reset.
    Breaks(usize),
    /// So many bytes and the end, and it takes nothing.
    Leaves(usize),
}

/// Applications by the authority's host: `echo`, `greet` (speaks first), `flood` (never stops),
/// `break` (300,000 bytes and a reset), `deaf` (never reads), `hang` (never answers), `status-N`; an address is dialled.
#[derive(Debug)]
pub(crate) struct Apps {
    pub(crate) requests: Mutex<Vec<Request>>,
    pub(crate) finished: mpsc::UnboundedSender<(Request, Outcome)>,
    pub(crate) hanging: AtomicUsize,
}

impl Handler for Apps {
    type Upstream = Upstream;

    async fn connect(&self, request: &Request) -> Result<Upstream, Refusal> {
        self.requests.lock().unwrap().push(request.clone());
        if let Some(address) = request.destination() {
            let tcp = TcpStream::connect(address).await;
            return tcp.map(Upstream::Tcp).map_err(|_| Refusal::Unavailable);
        }
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        match request.authority.split(':').next().unwrap_or_default() {
            "echo" => {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(far);
                    tokio::io::copy(&mut read, &mut write).await?;
                    write.shutdown().await
                });
            }
            "greet" => {
                tokio::spawn(async move {
                    far.write_all(b"220 who is there?").await?;
                    let mut answer = String::new();
                    far.read_to_string(&mut answer).await?;
                    far.write_all(format!("221 bye, {answer}").as_bytes()).await
                });
            }
            "flood" => {
                tokio::spawn(async move { while far.write_all(&[7; 16 * 1024]).await.is_ok() {} });
            }
            "deaf" => {
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop(far);
                });
            }
            "break" => return Ok(Upstream::Breaks(300_000)),
            "hang" => {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            other => {
                let status = other.strip_prefix("status-").unwrap_or("400");
                let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
                return Err(Refusal::from_status(status));
            }
        }
        Ok(Upstream::Memory(near))
    }

    fn finished(&self, request: &Request, outcome: Outcome) {
        let _ = self.finished.send((request.clone(), outcome));
    }
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) apps: Arc<Apps>,
    pub(crate) finished: mpsc::UnboundedReceiver<(Request, Outcome)>,
    /// How each connection ended.
    pub(crate) served: mpsc::UnboundedReceiver<Result<(), ServeError>>,
    pub(crate) accepted: Arc<AtomicUsize>,
    shutdown: Arc<Mutex<CancellationToken>>,
    kill: Arc<Mutex<CancellationToken>>,
    _listening: JoinSet<()>,
}

impl TestServer {
    pub(crate) async fn start(certs: Arc<dyn CertSource>) -> Self {
        Self::start_with(certs, ServerConfiguration::default()).await
    }

    pub(crate) async fn start_with(
        certs: Arc<dyn CertSource>,
        config: ServerConfiguration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (finished_tx, finished) = mpsc::unbounded_channel();
        let (served_tx, served) = mpsc::unbounded_channel();
        let apps = Arc::new(Apps {
            requests: Mutex::default(),
            finished: finished_tx,
            hanging: AtomicUsize::new(0),
        });
        let server = Arc::new(Server::new(config, certs, server_id(), apps.clone()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let shutdown = Arc::new(Mutex::new(CancellationToken::new()));
        let kill = Arc::new(Mutex::new(CancellationToken::new()));
        let mut listening = JoinSet::new();
        let (count, token, dead) = (accepted.clone(), shutdown.clone(), kill.clone());
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (server, served) = (server.clone(), served_tx.clone());
                let token = token.lock().unwrap().clone();
                let dead = dead.lock().unwrap().clone();
                connections.spawn(async move {
                    tokio::select! {
                        result = server.serve(tcp, &token) => { let _ = served.send(result); }
                        () = dead.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            apps,
            finished,
            served,
            accepted,
            shutdown,
            kill,
            _listening: listening,
        }
    }

    /// GOAWAY on every connection that exists; later ones are served as before.
    pub(crate) fn go_away(&self) {
        std::mem::take(&mut *self.shutdown.lock().unwrap()).cancel();
    }

    /// Drops every connection that exists, as a crash would.
    pub(crate) fn crash(&self) {
        std::mem::take(&mut *self.kill.lock().unwrap()).cancel();
    }

    pub(crate) fn key(&self) -> PoolKey {
        PoolKey {
            local: client_id(),
            next_hop: self.address,
            expected: Arc::new([server_id()].into()),
            scope: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Direct;

impl Dial for Direct {
    async fn dial(&self, _scope: u64, next_hop: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(next_hop).await
    }
}

pub(crate) fn pool(certs: &Arc<LocalCa>) -> Pool<Direct> {
    pool_with(certs, PoolConfig::default())
}

pub(crate) fn pool_with(certs: &Arc<LocalCa>, config: PoolConfig) -> Pool<Direct> {
    Pool::new(config, certs.clone(), Direct)
}

pub(crate) async fn connect(
    pool: &Pool<Direct>,
    server: &TestServer,
    authority: &str,
) -> Result<HboneStream, ConnectError> {
    soon(pool.connect(&server.key(), authority, HeaderMap::new())).await
}

/// Sends `message`, ends, and returns what came back until the end.
pub(crate) async fn exchange(mut stream: HboneStream, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    soon(async {
        stream.write_all(message).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut reply).await
    })
    .await?;
    Ok(reply)
}

/// An authority, a server that uses it, and a pool that does.
pub(crate) async fn world() -> (Arc<LocalCa>, TestServer, Pool<Direct>) {
    let ca = Arc::new(LocalCa::new().unwrap());
    let server = TestServer::start(ca.clone()).await;
    let pool = pool(&ca);
    (ca, server, pool)
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Memory(memory) => Pin::new(memory).poll_read(cx, buf),
            Self::Breaks(0) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Self::Breaks(left) | Self::Leaves(left) => {
                let length = buf.remaining().min(*left);
                buf.put_slice(&vec![1; length]);
                *left -= length;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Memory(memory) => Pin::new(memory).poll_write(cx, buf),
            Self::Breaks(_) => Poll::Pending,
            Self::Leaves(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
            Self::Breaks(_) | Self::Leaves(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Leg for Upstream {
    fn abort(&mut self) {
        if let Self::Tcp(tcp) = self {
            tcp.abort();
        }
    }

    fn unsent(&self) -> usize {
        0
    }

    fn reports_reset_once(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

/// A directory that goes away with the test.
pub(crate) struct TempDir(pub(crate) std::path::PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("hbone-test-{}-{unique}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
