//! One connection, and not another one by itself.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::Service;

/// Connects the first time it is asked. A channel that lost its connection before it could use it
/// would make another one at once, with what was read for the first, and as often as it is closed.
pub(super) struct Once {
    tcp: HttpConnector,
    is_used: bool,
}

impl Default for Once {
    fn default() -> Self {
        let mut tcp = HttpConnector::new();
        // TLS comes after it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self {
            tcp,
            is_used: false,
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        if std::mem::replace(&mut self.is_used, true) {
            let lost = "the connection was lost before anything was asked";
            return Box::pin(async move { Err(Error::new(ErrorKind::NotConnected, lost).into()) });
        }
        let connecting = self.tcp.call(to);
        Box::pin(async move { Ok(connecting.await?) })
    }
}
