//! One connection to istiod after the other.

use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::Connection;
use super::error::SessionError;
use super::options::XdsOptions;
use super::proto::discovery::DeltaDiscoveryRequest;
use super::report::{self, Reporter};
use super::state::{Refused, Response, XdsState};
use super::stats::{Received, XdsStats};
use crate::source::Event;

/// Keeps the mesh as istiod tells it.
#[derive(Debug)]
pub struct XdsSource {
    options: XdsOptions,
    state: XdsState,
    stats: XdsStats,
    reporter: Reporter,
}

impl XdsSource {
    pub fn new(options: XdsOptions, stats: XdsStats) -> Self {
        Self {
            reporter: Reporter::new(&options.address),
            options,
            state: XdsState::default(),
            stats,
        }
    }

    /// Runs until `stop`, or until nobody receives any more. What was told stays while there is no
    /// connection.
    pub async fn run(mut self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let session = stop.run_until_cancelled(self.session(&events)).await;
            let Some(Err(error)) = session else {
                return;
            };
            self.stats.disconnected(&error);
            let problem = self.reporter.disconnected(&error, &self.state);
            if !send(problem, &events).await {
                return;
            }
            let wait = backoff.after(started.elapsed(), rand::random_range(0.0..1.0));
            tracing::debug!(?wait, "until the next attempt to connect to istiod");
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Ok when nobody receives any more.
    async fn session(&mut self, events: &mpsc::Sender<Event>) -> Result<(), SessionError> {
        let versions = |type_url: &str| self.state.versions(type_url);
        let connection = Connection::open(&self.options, versions).await?;
        let Connection {
            requests,
            mut opening,
        } = connection;
        // Who refuses does so at once. Who says nothing has nothing to tell.
        let opened = timeout(self.options.limits.answer, &mut opening).await;
        let opened = opened.ok().transpose()?;
        self.stats.connected();
        tracing::info!(address = self.options.address, "connected to istiod");
        let problems = self.reporter.connected(&self.state);
        if !send(problems, events).await {
            return Ok(());
        }
        let mut responses = match opened {
            Some(responses) => responses,
            None => opening.await?,
        };
        loop {
            let response = responses.message().await;
            let response = response.map_err(|status| SessionError::Status(status.into()))?;
            let response = response.ok_or(SessionError::Ended)?;
            let (type_url, nonce) = (response.type_url.clone(), response.nonce.clone());
            let bytes = response.encoded_len();
            // Converting a whole mesh takes a while.
            let taken = tokio::task::block_in_place(|| self.state.take(response));
            let nobody_asked = || Refused {
                resource: type_url.clone(),
                error: "nobody asked for this type".to_owned(),
            };
            let (delta, refused) = match taken {
                Some(Response { delta, refused }) => (Some(delta), refused),
                None => (None, vec![nobody_asked()]),
            };
            let (resources, rejected) = self.state.count(&type_url);
            let received = Received {
                bytes,
                refused: refused.len(),
                resources,
                rejected,
            };
            self.stats.received(&type_url, &received);
            if let Some(delta) = delta {
                let problems = self.reporter.connected(&self.state);
                let sent = events.send(Event::Mesh(delta)).await;
                if sent.is_err() || !send(problems, events).await {
                    return Ok(());
                }
            }
            let answer = DeltaDiscoveryRequest {
                type_url,
                response_nonce: nonce,
                error_detail: report::error_detail(&refused),
                ..DeltaDiscoveryRequest::default()
            };
            if requests.send(answer).await.is_err() {
                return Err(SessionError::Ended);
            }
        }
    }
}

/// False when nobody receives any more.
async fn send(report: Option<Event>, events: &mpsc::Sender<Event>) -> bool {
    match report {
        Some(event) => events.send(event).await.is_ok(),
        None => true,
    }
}
