//! Verdicts, or drops, as they come, a line each, until the listener goes.

mod filter;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State as AxumState};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};
use waysteer_common::verdict::PacketAction;

use self::filter::MonitorQuery;
use super::{Shared, Sources};
use crate::feed::{Feed, Heard, Listener};
use crate::state::{DropRecord, FlowRecord, State};

/// How often the kernel's counters are looked at for a listener.
const PERIOD: Duration = Duration::from_secs(1);
/// Lines that are sent at once, where so many wait.
const AT_ONCE: usize = 64;

/// A line, as JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Verdict(&'a FlowRecord),
    /// A packet that was held or dropped, or a connection that was refused.
    Drop(&'a DropRecord),
    /// Events that never came: the kernel's ring was full, its pod had many, or the listener is
    /// slow.
    Lost {
        what: &'static str,
        place: &'static str,
        count: u64,
    },
}

/// What a listener may hear of.
trait Record: Clone + Send + Sync + 'static {
    const WHAT: &'static str;
    /// What the kernel counts where it could not tell.
    const LOST: PacketAction;

    fn feed(state: &State) -> &Feed<Self>;
    fn line(&self) -> Line<'_>;
    fn is_taken(&self, query: &MonitorQuery) -> bool;
}

impl Record for FlowRecord {
    const WHAT: &'static str = "verdicts";
    const LOST: PacketAction = PacketAction::EventLost;

    fn feed(state: &State) -> &Feed<Self> {
        state.verdicts()
    }

    fn line(&self) -> Line<'_> {
        Line::Verdict(self)
    }

    fn is_taken(&self, query: &MonitorQuery) -> bool {
        query.takes_verdict(self)
    }
}

impl Record for DropRecord {
    const WHAT: &'static str = "drops";
    const LOST: PacketAction = PacketAction::DropUntold;

    fn feed(state: &State) -> &Feed<Self> {
        state.drops()
    }

    fn line(&self) -> Line<'_> {
        Line::Drop(self)
    }

    fn is_taken(&self, query: &MonitorQuery) -> bool {
        query.takes_drop(self)
    }
}

struct Session<R> {
    sources: Arc<Sources>,
    query: MonitorQuery,
    listener: Listener<R>,
    clock: Interval,
    /// What the kernel could not tell, as it was counted the last time.
    untold: u64,
    has_begun: bool,
}

pub(super) async fn monitor(
    AxumState(sources): Shared,
    Query(query): Query<MonitorQuery>,
) -> Response {
    let body = if query.drops {
        lines(Session::<DropRecord>::new(sources, query))
    } else {
        lines(Session::<FlowRecord>::new(sources, query))
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn lines<R: Record>(session: Session<R>) -> Body {
    Body::from_stream(stream::unfold(session, |mut session| async move {
        let text = session.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), session))
    }))
}

impl<R: Record> Session<R> {
    fn new(sources: Arc<Sources>, query: MonitorQuery) -> Self {
        let mut clock = interval(PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            listener: R::feed(&sources.state).listen(),
            untold: untold::<R>(&sources).unwrap_or_default(),
            query,
            clock,
            sources,
            has_begun: false,
        }
    }

    /// The next lines, one at least; `None` when the agent ends.
    async fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        if !self.has_begun {
            self.has_begun = true;
            // The head is only sent with the first of the body.
            return Some("\n".to_owned());
        }
        while text.is_empty() {
            tokio::select! {
                () = self.sources.stop.cancelled() => return None,
                heard = self.listener.next() => {
                    self.line(&heard?, &mut text);
                    for _ in 1..AT_ONCE {
                        let Some(heard) = self.listener.take() else { break };
                        self.line(&heard, &mut text);
                    }
                }
                _ = self.clock.tick() => self.count(&mut text),
            }
        }
        Some(text)
    }

    fn line(&self, heard: &Heard<R>, text: &mut String) {
        match heard {
            Heard::Told(it) if it.is_taken(&self.query) => write(text, &it.line()),
            Heard::Told(_) => {}
            Heard::Lost(count) => lost::<R>(text, "agent", *count),
        }
    }

    /// What the kernel could not tell since the last time.
    fn count(&mut self, text: &mut String) {
        let Some(untold) = untold::<R>(&self.sources) else {
            return;
        };
        let count = untold.wrapping_sub(self.untold);
        if count > 0 {
            lost::<R>(text, "kernel", count);
        }
        self.untold = untold;
    }
}

fn untold<R: Record>(sources: &Sources) -> Option<u64> {
    sources.counters.packets().ok()?.get(&R::LOST).copied()
}

fn lost<R: Record>(text: &mut String, place: &'static str, count: u64) {
    let what = R::WHAT;
    write(text, &Line::Lost { what, place, count });
}

fn write(text: &mut String, line: &Line<'_>) {
    // Such values are always JSON.
    if let Ok(line) = serde_json::to_string(line) {
        text.push_str(&line);
        text.push('\n');
    }
}
