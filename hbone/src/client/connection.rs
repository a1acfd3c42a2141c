//! One pooled connection and the places on it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::request::Sent;
use crate::certs::Credentials;

pub(super) struct Connection {
    credentials: Arc<Credentials>,
    /// Streams that our windows are made for.
    max_streams: usize,
    state: Mutex<State>,
    /// The last stream ended.
    idle: Notify,
    /// Counts this connection against the pool's bound for as long as it exists.
    _permit: OwnedSemaphorePermit,
}

struct State {
    /// Gone when the connection takes no more streams. `h2` closes a connection when all its
    /// senders are gone and its streams have ended.
    sender: Option<SendRequest<Bytes>>,
    live: usize,
    idle_since: Instant,
    /// Whether the peer's SETTINGS have arrived.
    settled: bool,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        credentials: Arc<Credentials>,
        max_streams: u16,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            credentials,
            max_streams: usize::from(max_streams.max(1)),
            state: Mutex::new(State {
                sender: Some(sender),
                live: 0,
                idle_since: Instant::now(),
                settled: false,
            }),
            idle: Notify::new(),
            _permit: permit,
        }
    }

    /// A place for one more stream, if there is one.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state();
        let max_streams = self.max_streams;
        let settled = state.settled;
        let sender = state.sender.as_mut()?;
        // Only asks; a request that were to wait for room inside `h2` could wait for ever.
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                state.sender = None;
                return None;
            }
            Poll::Pending => return None,
        }
        // Until its SETTINGS are here we cannot know how many streams the peer takes; one it must.
        let limit = if settled {
            max_streams.min(sender.current_max_send_streams())
        } else {
            1
        };
        let sender = sender.clone();
        if state.live >= limit {
            return None;
        }
        state.live += 1;
        Some(Lease {
            connection: self.clone(),
            sender: Some(sender),
        })
    }

    pub(super) fn presents(&self, credentials: &Arc<Credentials>) -> bool {
        Arc::ptr_eq(&self.credentials, credentials)
    }

    /// No new streams from now on; it closes when those that it has are gone.
    pub(super) fn retire(&self) {
        self.state().sender = None;
    }

    pub(super) fn is_retired(&self) -> bool {
        self.state().sender.is_none()
    }

    pub(super) fn settle(&self) {
        self.state().settled = true;
    }

    /// Since when it has no streams and could be closed.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.live == 0 && state.sender.is_some()).then_some(state.idle_since)
    }

    /// Retires the connection once it has had no stream for `limit`.
    pub(super) async fn retire_when_idle(&self, limit: Duration) {
        while !self.is_retired() {
            let Some(since) = self.idle_since() else {
                self.idle.notified().await;
                continue;
            };
            tokio::time::sleep_until(since + limit).await;
            let mut state = self.state();
            // A stream may have come and gone while we slept.
            if state.live == 0 && state.idle_since == since {
                state.sender = None;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one stream on a connection; held for as long as the stream exists.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Arc<Connection>,
    sender: Option<SendRequest<Bytes>>,
}

impl Lease {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(super) fn send(&mut self, request: Request<()>) -> Result<Sent, h2::Error> {
        // Kept any longer, the sender would keep a retired connection open.
        match self.sender.take() {
            Some(mut sender) => sender.send_request(request, false),
            None => Err(h2::Reason::REFUSED_STREAM.into()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        state.live = state.live.saturating_sub(1);
        if state.live == 0 {
            state.idle_since = Instant::now();
            self.connection.idle.notify_one();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Connection")
            .field("local", &self.credentials.identity)
            .field("live", &state.live)
            .field("retired", &state.sender.is_none())
            .finish_non_exhaustive()
    }
}
