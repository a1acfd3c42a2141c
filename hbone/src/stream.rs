//! One CONNECT stream as a byte stream, on either side.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::copy::Leg;

/// The most that one write hands to HTTP/2 at once, in bytes.
const MAX_WRITE: usize = 64 * 1024;

/// What keeps a stream counted on its connection for as long as it exists.
pub(crate) type Held = Box<dyn Any + Send + Sync>;

/// A tunnel that is open both ways.
///
/// `poll_shutdown` sends END_STREAM and leaves the other way open. Dropping it before both ways
/// have ended resets it: an end that nobody asked for never looks like the end of the data.
pub struct HboneStream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Received, and not yet taken by the reader; its window is not yet released.
    unread: Bytes,
    recv_ended: bool,
    send_ended: bool,
    connect_error_ends: bool,
    /// Bytes that `h2` has been given and has not yet sent; a reset discards them.
    queued: Arc<AtomicUsize>,
    /// Last, so that the stream is gone from the connection before it stops being counted.
    _held: Option<Held>,
}

impl HboneStream {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream, held: Option<Held>) -> Self {
        Self {
            send,
            recv,
            unread: Bytes::new(),
            recv_ended: false,
            send_ended: false,
            connect_error_ends: false,
            queued: Arc::default(),
            _held: held,
        }
    }

    /// Takes a reset with CONNECT_ERROR for the end of what is received.
    ///
    /// Meant for tunnels to a waypoint. Envoy (1.40) does not end a tunnel whose inner HTTP
    /// connection it has closed ("Connection: close"), it resets it, exactly as it does where the
    /// application broke off. HTTP's own framing still tells a client whether a reply is whole.
    /// Not for tunnels to a workload: there it is what is left of the application's reset.
    pub fn take_connect_error_for_end(&mut self) {
        self.connect_error_ends = true;
    }

    /// Resets the stream (RST_STREAM) at once, throwing away what is queued. RFC 9113, section
    /// 8.5, wants CONNECT_ERROR for a TCP connection that broke.
    pub fn reset(&mut self) {
        self.send.send_reset(Reason::CONNECT_ERROR);
        self.send_ended = true;
        self.recv_ended = true;
        self.unread.clear();
    }

    /// Why writing failed: `h2` says only that it did, the reason is found in the stream's reset.
    fn write_error(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => reset_error(reason),
            Poll::Ready(Err(error)) => io_error(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncRead for HboneStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() && !this.recv_ended {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) if this.connect_error_ends && is_connect_error(&error) => {
                    this.recv_ended = true;
                }
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => this.recv_ended = true,
            }
        }
        let taken = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        if taken > 0 {
            // It fails only if more is released than was received.
            let _ = this.recv.flow_control().release_capacity(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HboneStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.send_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // Peers count empty DATA frames as abuse.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = buf.len().min(MAX_WRITE);
        this.send.reserve_capacity(wanted);
        // `poll_capacity` reports increases only, so what is there already is asked for first.
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(this.write_error(cx))),
            }
        }
        let length = wanted.min(this.send.capacity());
        let data = Queued::new(&buf[..length], &this.queued);
        match this.send.send_data(Bytes::from_owner(data), false) {
            Ok(()) => Poll::Ready(Ok(length)),
            Err(_) => Poll::Ready(Err(this.write_error(cx))),
        }
    }

    /// The connection's task writes what is queued without being asked.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.send_ended {
            return Poll::Ready(Ok(()));
        }
        this.send_ended = true;
        match this.send.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(this.write_error(cx))),
        }
    }
}

impl Leg for HboneStream {
    fn abort(&mut self) {
        self.reset();
    }

    fn unsent(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn reports_reset_once(&self) -> bool {
        false
    }
}

impl fmt::Debug for HboneStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HboneStream")
            .field("id", &self.send.stream_id())
            .field("recv_ended", &self.recv_ended)
            .field("send_ended", &self.send_ended)
            .finish_non_exhaustive()
    }
}

/// Bytes in the hands of `h2`, which drops them when they are sent. It does not tell how many it
/// has.
struct Queued {
    data: Vec<u8>,
    queued: Arc<AtomicUsize>,
}

impl Queued {
    fn new(data: &[u8], queued: &Arc<AtomicUsize>) -> Self {
        queued.fetch_add(data.len(), Ordering::Relaxed);
        Self {
            data: data.to_vec(),
            queued: queued.clone(),
        }
    }
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.data.len(), Ordering::Relaxed);
    }
}

fn reset_error(reason: Reason) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        format!("the peer reset the stream: {reason}"),
    )
}

fn is_connect_error(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::CONNECT_ERROR)
}

/// A reset stream, whatever its reason, is a reset connection to whoever reads it; so is the end
/// of the connection below it.
fn io_error(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(reason) if error.is_reset() => reset_error(reason),
        _ => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}
