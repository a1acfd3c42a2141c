//! The task of a connection: moves its frames, and decides when it ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::connection::{Connection, Lease};
use super::dial::{Http2, Parts};
use super::shared::{EntryRef, Shared};

/// Puts a new connection into the pool, its first place taken by the caller.
pub(super) fn start(
    shared: &Arc<Shared>,
    entry: EntryRef,
    parts: Parts,
    permit: OwnedSemaphorePermit,
    turn: OwnedMutexGuard<()>,
) -> Result<Lease, super::ConnectError> {
    let Parts {
        sender,
        http2,
        credentials,
    } = parts;
    let streams = shared.config.windows.streams;
    let connection = Arc::new(Connection::new(sender, credentials, streams, permit));
    let lease = connection.lease();
    entry.add(connection.clone());
    // `close` may have looked for connections before this one was there.
    if shared.is_closed() {
        connection.retire();
    }
    let driver = drive(shared.clone(), entry, connection, http2, turn);
    shared.drivers.spawn(driver);
    lease.ok_or(super::ConnectError::Closed)
}

async fn drive(
    shared: Arc<Shared>,
    entry: EntryRef,
    connection: Arc<Connection>,
    mut http2: Http2,
    turn: OwnedMutexGuard<()>,
) {
    let ping_pong = http2.ping_pong();
    let idle = async {
        connection
            .retire_when_idle(shared.config.idle_timeout)
            .await;
        // `h2` ends a retired connection itself, once what its streams had queued is sent.
        pending::<()>().await;
    };
    let result = tokio::select! {
        result = &mut http2 => result,
        () = idle => Ok(()),
        () = lost(&connection, ping_pong, turn, shared.config.keepalive) => Ok(()),
        () = shared.kill.cancelled() => Ok(()),
    };
    connection.retire();
    entry.remove(&connection);
    if let Err(error) = result {
        tracing::debug!(?connection, %error, "connection ended");
    }
}

/// Returns when the peer no longer answers.
///
/// The first PING is also how we learn that the peer's SETTINGS are here: they precede its PONG.
async fn lost(
    connection: &Connection,
    ping_pong: Option<PingPong>,
    turn: OwnedMutexGuard<()>,
    interval: Duration,
) {
    let Some(mut ping_pong) = ping_pong else {
        return pending().await;
    };
    let mut turn = Some(turn);
    loop {
        match timeout(interval * 2, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Err(_) => return,
            Ok(Err(_)) => {
                // The connection is closing by itself; it is only not waited for without end.
                tokio::time::sleep(interval * 2).await;
                return;
            }
        }
        connection.settle();
        turn.take();
        tokio::time::sleep(interval).await;
    }
}
