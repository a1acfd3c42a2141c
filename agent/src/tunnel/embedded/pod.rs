//! One enrolled pod's listeners and the tasks behind them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waysteer_common::abi::names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};

use super::sockets::{self, Workshop};
use super::{PodVerdicts, Shared, inbound, outbound, until_cancelled};
use crate::tunnel::TunnelError;

/// The listeners in one netns.
#[derive(Debug)]
pub struct PodSockets {
    pub(super) outbound: TcpListener,
    pub(super) plaintext: TcpListener,
    pub(super) hbone: TcpListener,
}

impl PodSockets {
    pub(super) async fn open(
        workshop: &Workshop,
        netns: Arc<OwnedFd>,
    ) -> Result<Self, TunnelError> {
        let open = async |port: u16| {
            let error = |source| TunnelError::Listen { port, source };
            let listener = workshop
                .in_netns(netns.clone(), move || sockets::listen(port))
                .await;
            TcpListener::from_std(listener.map_err(error)?).map_err(error)
        };
        Ok(Self {
            outbound: open(OUTBOUND_PORT).await?,
            plaintext: open(INBOUND_PLAINTEXT_PORT).await?,
            hbone: open(HBONE_PORT).await?,
        })
    }
}

pub(super) struct Pod {
    listening: JoinSet<()>,
    context: Context,
}

/// What the tasks of one pod share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) netns: u64,
    pub(super) verdicts: Arc<dyn PodVerdicts>,
    /// Stops the listeners and tells HBONE clients to go elsewhere.
    pub(super) closing: CancellationToken,
    /// Ends the connections.
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Pod {
    pub(super) fn start(
        shared: Arc<Shared>,
        netns: u64,
        verdicts: Arc<dyn PodVerdicts>,
        sockets: PodSockets,
    ) -> Self {
        let context = Context {
            shared,
            netns,
            verdicts,
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        Self {
            listening: accept_all(&context, sockets),
            context,
        }
    }

    /// Goes on with other listeners.
    pub(super) async fn listen(&mut self, sockets: PodSockets) {
        let mut old = std::mem::replace(&mut self.listening, accept_all(&self.context, sockets));
        old.shutdown().await;
    }

    pub(super) async fn stop(mut self, drain: Duration) {
        let Context {
            closing,
            stop,
            connections,
            ..
        } = &self.context;
        closing.cancel();
        self.listening.shutdown().await;
        connections.close();
        if tokio::time::timeout(drain, connections.wait())
            .await
            .is_err()
        {
            stop.cancel();
            connections.wait().await;
        }
    }
}

fn accept_all(context: &Context, sockets: PodSockets) -> JoinSet<()> {
    let PodSockets {
        outbound,
        plaintext,
        hbone,
    } = sockets;
    let mut listening = JoinSet::new();
    listening.spawn(accept(context.clone(), outbound, outbound::serve));
    listening.spawn(accept(context.clone(), plaintext, inbound::serve_plaintext));
    let servers = Arc::new(inbound::Servers::new(context.clone()));
    listening.spawn(accept(context.clone(), hbone, move |context, stream| {
        inbound::serve_hbone(context, stream, servers.clone())
    }));
    listening
}

async fn accept<S, F>(context: Context, listener: TcpListener, serve: S)
where
    S: Fn(Context, TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it small writes wait for the acknowledgement of earlier ones.
                let _ = stream.set_nodelay(true);
                let serving = serve(context.clone(), stream);
                context
                    .connections
                    .spawn(until_cancelled(context.stop.clone(), serving));
            }
            Err(error) => {
                tracing::warn!(%error, netns = context.netns, "cannot accept a connection");
                // Out of file descriptors, most likely: trying again at once would only spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Both ends of an accepted connection; v4-mapped addresses are v4.
pub(super) fn ends(stream: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port());
    Ok((
        canonical(stream.peer_addr()?),
        canonical(stream.local_addr()?),
    ))
}
