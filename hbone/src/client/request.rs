//! One CONNECT on one connection.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::connection::Lease;
use crate::refusal::Refusal;
use crate::stream::HboneStream;

pub(super) enum RequestError {
    Refused(Refusal),
    /// The peer did nothing for the request: it may be sent again.
    Unprocessed(h2::Error),
    /// What the peer did is not known.
    Failed(h2::Error),
}

pub(super) async fn send(
    mut lease: Lease,
    uri: Uri,
    headers: HeaderMap,
) -> Result<HboneStream, RequestError> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    let (response, body) = lease.send(request).map_err(RequestError::Unprocessed)?;
    let response = response.await.map_err(classify)?;
    if !response.status().is_success() {
        return Err(RequestError::Refused(Refusal::from_status(
            response.status(),
        )));
    }
    let held = Some(Box::new(lease) as _);
    Ok(HboneStream::new(body, response.into_body(), held))
}

/// The peer says that it did nothing by refusing the stream, or by a GOAWAY whose last stream is
/// below this one, which is when `h2` fails a stream with a remote GOAWAY.
fn classify(error: h2::Error) -> RequestError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        RequestError::Unprocessed(error)
    } else {
        RequestError::Failed(error)
    }
}

pub(super) type Sent = (h2::client::ResponseFuture, h2::SendStream<Bytes>);
