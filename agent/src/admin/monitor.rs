//! Verdicts as they come, a line each, until the listener goes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State as AxumState};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};
use waysteer_common::verdict::PacketAction;

use super::{Shared, Sources};
use crate::feed::{Heard, Listener};
use crate::state::FlowRecord;

/// How often the kernel's counters are looked at for a listener.
const PERIOD: Duration = Duration::from_secs(1);
/// Lines that are sent at once, where so many wait.
const AT_ONCE: usize = 64;

/// What a listener wants to hear of; all of it without any.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MonitorQuery {
    /// `namespace/name`, or a name.
    pod: Option<String>,
    class: Option<String>,
    reason: Option<String>,
    /// An address, a block of them, with or without a port, or a service's name or its beginning.
    dst: Option<String>,
    /// Only what comes to nothing.
    #[serde(default)]
    drops: bool,
}

/// A line, as JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Verdict(&'a FlowRecord),
    /// Events that never came: the kernel's ring was full, or the listener slow.
    Lost {
        place: &'static str,
        count: u64,
    },
    /// What packet programs have dropped or held since the last such line.
    Packets {
        action: &'static str,
        count: u64,
    },
}

struct Session {
    sources: Arc<Sources>,
    query: MonitorQuery,
    listener: Listener,
    clock: Interval,
    /// The counters as they were.
    packets: BTreeMap<PacketAction, u64>,
    has_begun: bool,
}

pub(super) async fn monitor(
    AxumState(sources): Shared,
    Query(query): Query<MonitorQuery>,
) -> Response {
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let session = Session {
        listener: sources.state.feed().listen(),
        packets: sources.counters.packets().unwrap_or_default(),
        query,
        clock,
        sources,
        has_begun: false,
    };
    let lines = stream::unfold(session, |mut session| async move {
        let text = session.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), session))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

impl Session {
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

    fn line(&self, heard: &Heard, text: &mut String) {
        match heard {
            Heard::Verdict(flow) if self.query.takes(flow) => write(text, &Line::Verdict(flow)),
            Heard::Verdict(_) => {}
            Heard::Lost(count) => write(
                text,
                &Line::Lost {
                    place: "agent",
                    count: *count,
                },
            ),
        }
    }

    /// What the kernel has counted since the last time.
    fn count(&mut self, text: &mut String) {
        let Ok(packets) = self.sources.counters.packets() else {
            return;
        };
        for (action, now) in &packets {
            let before = self.packets.get(action).copied().unwrap_or_default();
            let count = now.wrapping_sub(before);
            if count == 0 {
                continue;
            }
            if *action == PacketAction::EventLost {
                let place = "kernel";
                write(text, &Line::Lost { place, count });
            } else if self.query.drops && is_drop(*action) {
                let action = action.label();
                write(text, &Line::Packets { action, count });
            }
        }
        self.packets = packets;
    }
}

fn write(text: &mut String, line: &Line<'_>) {
    // Such values are always JSON.
    if let Ok(line) = serde_json::to_string(line) {
        text.push_str(&line);
        text.push('\n');
    }
}

/// Whether a packet went nowhere, for now or for good.
fn is_drop(action: PacketAction) -> bool {
    match action {
        PacketAction::OutboundHeld
        | PacketAction::InboundHeld
        | PacketAction::AssignFailed
        | PacketAction::GuardDropped
        | PacketAction::UnreadableDropped
        | PacketAction::FragmentDropped
        | PacketAction::RecordFailed
        | PacketAction::MarkFailed
        | PacketAction::ImpostorListener => true,
        PacketAction::OutboundAssigned
        | PacketAction::InboundAssigned
        | PacketAction::GuardSteered
        | PacketAction::GuardReturned
        | PacketAction::FragmentPassed
        | PacketAction::VlanPassed
        | PacketAction::ExemptPassed
        | PacketAction::EventLost
        | PacketAction::HostFlowRecorded
        | PacketAction::LocalFlowRecorded
        | PacketAction::LocalFlowRefused
        | PacketAction::PortReused => false,
    }
}

impl MonitorQuery {
    fn takes(&self, flow: &FlowRecord) -> bool {
        let Self {
            pod,
            class,
            reason,
            dst,
            drops,
        } = self;
        let same = |asked: &Option<String>, is: &str| {
            asked
                .as_ref()
                .is_none_or(|asked| asked.eq_ignore_ascii_case(is))
        };
        let is_pod = |asked: &String| {
            let name = flow.pod.split_once('/').map(|(_, name)| name);
            *asked == flow.pod || Some(asked.as_str()) == name
        };
        pod.as_ref().is_none_or(is_pod)
            && same(class, flow.class)
            && same(reason, flow.reason)
            && dst.as_ref().is_none_or(|asked| leads_to(flow, asked))
            && (!drops || flow.steered && flow.next_hop.is_none())
    }
}

fn leads_to(flow: &FlowRecord, asked: &str) -> bool {
    if flow.destination == asked {
        return true;
    }
    let ip = flow.destination.parse::<SocketAddr>().map(|to| to.ip());
    if let (Ok(ip), Ok(asked)) = (&ip, asked.parse::<IpAddr>()) {
        return *ip == asked;
    }
    if let (Ok(ip), Ok(block)) = (&ip, asked.parse::<ipnet::IpNet>()) {
        return block.contains(ip);
    }
    let names = [&flow.service, &flow.next_hop_workload];
    names.into_iter().flatten().any(|name| {
        let short = name
            .split_once('/')
            .map_or(name.as_str(), |(_, short)| short);
        let begins = |of: &str| {
            of.strip_prefix(asked)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        begins(name) || begins(short)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRecord {
        FlowRecord {
            pod: "default/client".into(),
            destination: "10.96.0.10:80".into(),
            class: "Direct",
            reason: "ServiceHbone",
            steered: true,
            next_hop: Some("10.1.2.1:15008".into()),
            next_hop_workload: Some("default/far".into()),
            service: Some("default/web.default.svc.cluster.local".into()),
            ..FlowRecord::default()
        }
    }

    #[test]
    fn filters_are_all_asked() {
        let some = |text: &str| Some(text.to_owned());
        let dst = |text| MonitorQuery {
            dst: some(text),
            ..MonitorQuery::default()
        };
        for (query, takes) in [
            (MonitorQuery::default(), true),
            (
                MonitorQuery {
                    pod: some("client"),
                    ..MonitorQuery::default()
                },
                true,
            ),
            (
                MonitorQuery {
                    pod: some("other/client"),
                    ..MonitorQuery::default()
                },
                false,
            ),
            (
                MonitorQuery {
                    class: some("direct"),
                    ..MonitorQuery::default()
                },
                true,
            ),
            (
                MonitorQuery {
                    reason: some("NoPort"),
                    ..MonitorQuery::default()
                },
                false,
            ),
            (
                MonitorQuery {
                    pod: some("client"),
                    ..dst("10.96.0.11")
                },
                false,
            ),
            (dst("10.96.0.10"), true),
            (dst("10.96.0.10:80"), true),
            (dst("10.96.0.10:81"), false),
            (dst("10.96.0.0/16"), true),
            (dst("10.97.0.0/16"), false),
            (dst("web"), true),
            (dst("web.default"), true),
            (dst("default/far"), true),
            (dst("we"), false),
            (
                MonitorQuery {
                    drops: true,
                    ..MonitorQuery::default()
                },
                false,
            ),
        ] {
            assert_eq!(query.takes(&flow()), takes, "{query:?}");
        }
        let nowhere = FlowRecord {
            next_hop: None,
            ..flow()
        };
        let drops = MonitorQuery {
            drops: true,
            ..MonitorQuery::default()
        };
        assert!(drops.takes(&nowhere));
        assert!(!drops.takes(&FlowRecord {
            steered: false,
            ..nowhere
        }));
    }
}
