//! What can happen between two ends that mean well.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Passes,
    /// So many bytes at once, with pauses.
    Slow(usize),
    /// Takes what is sent, and delivers nothing: the other end is gone, and nobody says so.
    Silent,
    /// The server's direction ends; the client's goes on.
    HalfClosed,
    /// Of each connection the server's first bytes only, then a reset.
    Cut(usize),
}

/// A wire that does what it is told, also to connections that are there already.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    wire: watch::Sender<Wire>,
    _connections: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(to: SocketAddr, wire: Wire) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (wire, state) = watch::channel(wire);
        let connections = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, to, state.clone()));
            }
        });
        Ok(Self {
            address,
            wire,
            _connections: connections,
        })
    }

    pub(super) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self._connections.abort();
    }
}

async fn carry(client: TcpStream, to: SocketAddr, wire: watch::Receiver<Wire>) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    // A reset and not an end, once a cut connection is dropped.
    let reset = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    if reset.is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = forward(from_client, to_server, wire.clone(), false);
    let down = forward(from_server, to_client, wire, true);
    tokio::pin!(up, down);
    // The end of one direction is not that of the other; a cut is the end of both.
    tokio::select! {
        _ = &mut up => {
            let _ = down.await;
        }
        was_cut = &mut down => {
            if !was_cut {
                let _ = up.await;
            }
        }
    }
}

/// Until one end has had enough; whether the wire was cut.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut wire: watch::Receiver<Wire>,
    is_down: bool,
) -> bool {
    let mut buffer = vec![0; 1 << 16];
    let mut carried = 0;
    loop {
        let now = *wire.borrow_and_update();
        let most = match now {
            Wire::Slow(most) => most,
            Wire::HalfClosed if is_down => {
                let _ = to.shutdown().await;
                return false;
            }
            Wire::Cut(after) if is_down && carried >= after => return true,
            Wire::Cut(after) if is_down => after - carried,
            Wire::Passes | Wire::Silent | Wire::HalfClosed | Wire::Cut(_) => buffer.len(),
        };
        let part = buffer.len().min(most);
        let read = tokio::select! {
            read = from.read(&mut buffer[..part]) => read,
            _ = wire.changed() => continue,
        };
        let Ok(count @ 1..) = read else {
            let _ = to.shutdown().await;
            return false;
        };
        carried += count;
        if now == Wire::Silent {
            continue;
        }
        if let Wire::Slow(_) = now {
            // What being slow is; nothing waits for it.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return false;
        }
    }
}
