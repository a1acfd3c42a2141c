//! What is behind this peer: an application, or the next tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use waysteer_hbone::copy::Leg;
use waysteer_hbone::stream::HboneStream;

#[derive(Debug)]
pub(crate) enum Upstream {
    Tcp(TcpStream),
    Tunnel(HboneStream),
}

impl Upstream {
    fn leg(self: Pin<&mut Self>) -> Pin<&mut dyn Leg> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Tunnel(tunnel) => Pin::new(tunnel),
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.leg().poll_read(cx, buf)
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.leg().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leg().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leg().poll_shutdown(cx)
    }
}

impl Leg for Upstream {
    fn abort(&mut self) {
        match self {
            Self::Tcp(tcp) => tcp.abort(),
            Self::Tunnel(tunnel) => tunnel.abort(),
        }
    }

    fn unsent(&self) -> usize {
        match self {
            Self::Tcp(tcp) => tcp.unsent(),
            Self::Tunnel(tunnel) => tunnel.unsent(),
        }
    }

    fn reports_reset_once(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.reports_reset_once(),
            Self::Tunnel(tunnel) => tunnel.reports_reset_once(),
        }
    }
}
