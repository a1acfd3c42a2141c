//! One HTTP/2 connection, from its first CONNECT to the end of its last tunnel.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Handler, Request, ServeError, ServerConfiguration, tunnel};

type Http2 = Connection<TlsStream<TcpStream>, Bytes>;

/// Time for the resets of a drain that took too long to reach the client.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) async fn serve<H: Handler>(
    config: &ServerConfiguration,
    handler: &Arc<H>,
    template: Request,
    mut http2: Http2,
    shutdown: &CancellationToken,
) -> Result<(), ServeError> {
    let peer_addr = template.peer_addr;
    // Counts tunnels that hold received bytes, which HTTP/2's own limit does not (see `window`).
    let places = Arc::new(Semaphore::new(usize::from(config.windows.streams.max(1))));
    // Owned here: when this future is dropped, so are the tunnels, and dropping resets them.
    let mut tunnels = JoinSet::new();
    let mut open = true;
    let mut drain_until: Option<Instant> = None;
    let mut result = Ok(());
    while open || !tunnels.is_empty() {
        let drained = async {
            match drain_until {
                Some(instant) => sleep_until(instant).await,
                None => pending().await,
            }
        };
        tokio::select! {
            accepted = http2.accept(), if open => match accepted {
                Some(Ok((request, mut respond))) => {
                    match places.clone().try_acquire_owned() {
                        Ok(place) => {
                            let handler = handler.clone();
                            let template = template.clone();
                            tunnels.spawn(async move {
                                tunnel::serve(&*handler, template, request, respond).await;
                                drop(place);
                            });
                        }
                        // Tells the client that nothing was done: it may try elsewhere.
                        Err(_) => respond.send_reset(Reason::REFUSED_STREAM),
                    }
                }
                Some(Err(source)) => {
                    open = false;
                    result = Err(ServeError::Http2 { peer_addr, source });
                }
                None => open = false,
            },
            Some(ended) = tunnels.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%peer_addr, %error, "a tunnel's task failed");
                }
            }
            () = shutdown.cancelled(), if drain_until.is_none() => {
                http2.graceful_shutdown();
                drain_until = Some(Instant::now() + config.drain_timeout);
            }
            () = drained => {
                tunnels.shutdown().await;
                http2.abrupt_shutdown(Reason::NO_ERROR);
                let _ = timeout(LAST_WORDS, poll_fn(|cx| http2.poll_closed(cx))).await;
                break;
            }
        }
    }
    result
}
