//! One CONNECT: decide, answer, copy.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Response, StatusCode};

use super::{Handler, Outcome, Request};
use crate::copy::copy;
use crate::refusal::Refusal;
use crate::stream::HboneStream;

pub(super) async fn serve<H: Handler>(
    handler: &H,
    template: Request,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let authority = head.uri.authority().map(ToString::to_string);
    let is_connect = head.method == Method::CONNECT;
    let request = Request {
        authority: authority.unwrap_or_default(),
        headers: head.headers,
        ..template
    };
    let decision = async {
        if !is_connect {
            return Err(Refusal::NotConnect);
        }
        if request.authority.is_empty() {
            return Err(Refusal::BadAuthority);
        }
        handler.connect(&request).await
    };
    let decided = tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => None,
        decided = decision => Some(decided),
    };
    let outcome = match decided {
        None => Outcome::Abandoned,
        Some(Err(refusal)) => {
            // A client that is gone by now does not need the answer.
            let _ = respond.send_response(answer(refusal.status()), true);
            Outcome::Refused(refusal)
        }
        Some(Ok(mut upstream)) => match respond.send_response(answer(StatusCode::OK), false) {
            Ok(send) => {
                let stream = HboneStream::new(send, body, None);
                Outcome::Copied(copy(stream, upstream).await)
            }
            Err(_) => {
                crate::copy::Leg::abort(&mut upstream);
                Outcome::Abandoned
            }
        },
    };
    handler.finished(&request, outcome);
}

fn answer(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
