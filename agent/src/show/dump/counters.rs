//! `COUNTERS`, `PACKET_COUNTERS`, `TRAFFIC` and `OTHER_TRAFFIC`: what has been counted since the maps were made.

use std::collections::BTreeMap;

use serde::Serialize;
use waysteer_common::verdict::{Class, PacketAction, Reason};

use super::traffic::path;
use super::{Dump, Facts, Filter, Row};
use crate::kernel::observe::{ClassTraffic, Traffic};
use crate::show::table::Cell;

#[derive(Debug, Serialize)]
struct Counter {
    map: &'static str,
    class: Option<&'static str>,
    /// Of a verdict, what a packet program did, or what connections did.
    what: &'static str,
    /// `tunnel` or `bypass`, where they are counted apart.
    path: Option<&'static str>,
    count: u64,
}

/// What has never happened is left out.
pub fn counters(
    verdicts: &BTreeMap<(Class, Reason), u64>,
    packets: &BTreeMap<PacketAction, u64>,
    traffic: &ClassTraffic,
    other: &ClassTraffic,
    width: Option<usize>,
) -> Dump {
    let verdicts = verdicts.iter().map(|((class, reason), count)| Counter {
        map: "COUNTERS",
        class: Some(class.label()),
        what: reason.label(),
        path: None,
        count: *count,
    });
    let packets = packets.iter().map(|(action, count)| Counter {
        map: "PACKET_COUNTERS",
        class: None,
        what: action.label(),
        path: None,
        count: *count,
    });
    let connections = [("TRAFFIC", traffic), ("OTHER_TRAFFIC", other)];
    let connections = connections
        .into_iter()
        .flat_map(|(map, traffic)| of_connections(map, traffic));
    let all = verdicts.chain(packets).chain(connections);
    let happened = all.filter(|counter| counter.count > 0).collect();
    Dump::of(happened, &Filter::default(), width)
}

fn of_connections(map: &'static str, traffic: &ClassTraffic) -> impl Iterator<Item = Counter> {
    traffic.iter().flat_map(move |((class, steered), traffic)| {
        let Traffic {
            opened,
            closed,
            bytes_sent,
            bytes_received,
            duration_ns,
        } = *traffic;
        let counts = [
            ("opened", opened),
            ("closed", closed),
            ("sent_bytes", bytes_sent),
            ("received_bytes", bytes_received),
            ("duration_milliseconds", duration_ns / 1_000_000),
        ];
        counts.map(|(what, count)| Counter {
            map,
            class: Some(class.label()),
            what,
            path: Some(path(*steered)),
            count,
        })
    })
}

impl Row for Counter {
    const HEADERS: &'static [&'static str] = &["MAP", "CLASS", "WHAT", "PATH", "COUNT"];
    const NONE: &'static str = "nothing was counted so far";

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.map.into(),
            self.class.unwrap_or_default().into(),
            self.what.into(),
            self.path.unwrap_or_default().into(),
            self.count.to_string().into(),
        ]
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}
