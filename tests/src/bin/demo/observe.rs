//! One flow: a request is sent, and everyone is asked what they saw of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use waysteer_tests::admin;
use waysteer_tests::bed::Waypoints;
use waysteer_tests::dial::Dial;
use waysteer_tests::envoy::VIA;
use waysteer_tests::http::{self, Response, Seen};

use crate::flow::{End, Flow, Way};
use crate::report::{Check, Row, all_ok};
use crate::stage::Stage;
use crate::wire::Wires;

/// What must not arrive may be held for a while before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Observer<'a> {
    stage: &'a Stage,
    wires: Wires,
}

/// What the client got.
struct Outcome {
    peer: Option<SocketAddr>,
    answer: io::Result<Response>,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Result<Self> {
        Ok(Self {
            wires: Wires::new(&stage.bed.topology)?,
            stage,
        })
    }

    pub(crate) fn row(&self, flow: &Flow) -> Result<Row> {
        let bed = &self.stage.bed;
        // Nothing else in the mesh says this, so wherever it stands in the clear it is this request.
        let path = format!("/secret/{}/{}", flow.name.replace(' ', "-"), flow.to);
        let (number, wires) = (bed.mark()?, self.wires.mark());
        let accepted = self.stage.accepted();
        let outcome = self.ask(flow, &path);
        let crossing = self.wires.since(&wires, &path, path.len() as u64);
        let reached = self.stage.accepted() - accepted;
        let verdict = bed.flow_to(flow.to, number)?;
        let seen = outcome
            .answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.seen().ok());
        let wire = crossing.in_words();

        let mut checks = vec![
            Check::same("class", flow.class, &verdict.class),
            Check::same("reason", flow.reason, &verdict.reason),
            self.check_next_hop(flow, &verdict),
            Check::same("steered", flow.way != Way::Plaintext, verdict.steered),
            Check::new(
                "wire",
                crossing.is_right(bed, flow),
                flow.way.in_words(),
                format!("{wire}: {crossing:?}"),
            ),
        ];
        match flow.end {
            End::Server { name, .. } => {
                checks.extend(self.check_answer(flow, name, &path, &outcome, seen.as_ref()));
            }
            End::Nobody => checks.push(Check::new(
                "refused",
                outcome.answer.is_err() && reached == 0,
                "no answer, no connection to any server",
                format!("{:?}, {reached} connections to servers", outcome.answer),
            )),
        }
        Ok(Row {
            flow: flow.name,
            destination: flow.to,
            class: verdict.class,
            reason: verdict.reason,
            steered: verdict.steered,
            next_hop: verdict.next_hop,
            next_hop_workload: verdict.next_hop_workload,
            wire,
            crossing,
            server: seen.as_ref().map(|seen| seen.server.clone()),
            refused: outcome.answer.as_ref().err().map(in_short),
            peer_seen: seen.as_ref().map(|seen| seen.client.ip().to_canonical()),
            forwarded_for: seen
                .as_ref()
                .and_then(|seen| seen.headers.get("x-forwarded-for").cloned()),
            microseconds: None,
            without_waysteer: None,
            ok: all_ok(&checks),
            checks,
        })
    }

    /// What must be true of the whole run.
    pub(crate) fn overall(&self) -> Vec<Check> {
        let (broken, lost) = (self.wires.broken_hbone(), self.wires.lost());
        vec![
            Check::new(
                "nothing but TLS went to a port 15008",
                broken.is_empty(),
                "no other",
                format!("{broken:?}"),
            ),
            Check::new(
                "the captures are complete",
                lost == 0,
                "0 packets lost",
                format!("{lost} packets lost"),
            ),
        ]
    }

    fn ask(&self, flow: &Flow, path: &str) -> Outcome {
        let dial = Dial::new().timeout(PATIENCE);
        match dial.connect(self.stage.client(), flow.to) {
            Ok(connection) => Outcome {
                peer: Some(connection.peer),
                answer: http::get(&connection.stream, "demo", path),
            },
            Err(error) => Outcome {
                peer: None,
                answer: Err(error),
            },
        }
    }

    fn check_next_hop(&self, flow: &Flow, verdict: &admin::Flow) -> Check {
        let saw = match (&verdict.next_hop, verdict.hbone) {
            (Some(next_hop), true) => format!("HBONE to {next_hop}"),
            (Some(_), false) | (None, _) => "no HBONE".to_owned(),
        };
        let expected = match flow.way {
            Way::Hbone(pod) | Way::Waypoint(pod) => {
                let address = self.stage.bed.address(pod, flow.to.is_ipv6());
                format!("HBONE to {}", SocketAddr::new(address, 15008))
            }
            Way::Plaintext | Way::Held => "no HBONE".to_owned(),
        };
        Check::same("next hop", expected, saw)
    }

    fn check_answer(
        &self,
        flow: &Flow,
        name: &str,
        path: &str,
        outcome: &Outcome,
        seen: Option<&Seen>,
    ) -> Vec<Check> {
        let Some((answer, seen)) = outcome.answer.as_ref().ok().zip(seen) else {
            let saw = format!("{:?}", outcome.answer);
            return vec![Check::new("answer", false, 200, saw)];
        };
        let bed = &self.stage.bed;
        let client = bed.address("client", flow.to.is_ipv6());
        let mut checks = vec![
            Check::same("answer", 200, answer.status),
            Check::same("server", name, &seen.server),
            Check::same("path", path, &seen.path),
            Check::same(
                "getpeername",
                flow.to,
                outcome
                    .peer
                    .map_or_else(String::new, |peer| peer.to_string()),
            ),
        ];
        // Behind a waypoint, it is the waypoint who speaks to the server.
        let waypoint = match flow.way {
            Way::Waypoint(pod) => Some(pod),
            Way::Plaintext | Way::Hbone(_) | Way::Held => None,
        };
        let peer = seen.client.ip().to_canonical();
        checks.push(match waypoint {
            Some(pod) => {
                let both = bed.pod(pod).addresses.both();
                Check::new("peer", both.contains(&peer), format!("{both:?}"), peer)
            }
            None => Check::same("peer", client, peer),
        });
        if waypoint.is_some() && self.stage.waypoints == Waypoints::Envoy {
            let (key, value) = VIA;
            let via = answer.headers.get(key).cloned().unwrap_or_default();
            checks.push(Check::same("x-via", value, via));
            let told = seen.headers.get("x-forwarded-for").cloned();
            let told = told.unwrap_or_default();
            checks.push(Check::same("x-forwarded-for", client, told));
        }
        checks
    }
}

fn in_short(error: &io::Error) -> String {
    match error.kind() {
        // Reset before anyone looked.
        io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => "reset".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timed out".to_owned(),
        _ => error.to_string(),
    }
}
