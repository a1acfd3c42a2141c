//! A netlink route socket in the calling thread's netns.

use std::io;

use rtnetlink::Handle;
use thiserror::Error;
use tokio::runtime;

#[derive(Debug, Error)]
pub enum RouteSocketError {
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    #[error("netlink: cannot {what}")]
    Request {
        what: &'static str,
        #[source]
        source: rtnetlink::Error,
    },
}

/// Runs `work` with a route socket of the netns that the calling thread is in. The thread must be
/// one of [`super::netns::PodNetns::run`]: it blocks, and must not be one of a runtime.
pub(super) fn with_route_socket<R, E: From<RouteSocketError>>(
    work: impl AsyncFnOnce(Handle) -> Result<R, E>,
) -> Result<R, E> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(RouteSocketError::Open)?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(RouteSocketError::Open)?;
        // Ends with the runtime, at the end of this function.
        tokio::spawn(connection);
        work(handle).await
    })
}

/// Names the request that failed.
pub(super) fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> RouteSocketError {
    move |source| RouteSocketError::Request { what, source }
}
