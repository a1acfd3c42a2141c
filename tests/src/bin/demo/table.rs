//! The table.

use std::fmt::Write as _;

use crate::report::{Check, Report, Row};

const HEAD: [&str; 10] = [
    "flow",
    "destination",
    "class",
    "reason",
    "next hop",
    "wire",
    "server saw",
    "connect",
    "request",
    "",
];

const LEGEND: &str = "\
wire        what carried the request on the nodes' veths and uplinks; with a waypoint, both legs
server saw  the client's address; * as the waypoint tells in x-forwarded-for, w the waypoint's own
connect     median of new connections in microseconds, with waysteer / without; a steered connection
            is accepted by the tunnel in the pod itself, so `request` says what the way costs
request     the same from connect() to the answer; the agents are debug builds here
e           without waysteer nothing answers for a service: compared with its endpoint's own address
";

/// Lines of text, the columns as wide as they must be.
pub(crate) fn render(report: &Report, colours: bool) -> String {
    let rows: Vec<[String; 10]> = report.flows.iter().map(cells).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(String::len).max().unwrap_or(0);
            widest.max(HEAD.get(column).map_or(0, |head| head.len()))
        })
        .collect();
    let mut text = String::new();
    line(&mut text, &HEAD.map(str::to_owned), &widths, None);
    for (row, cells) in report.flows.iter().zip(&rows) {
        line(&mut text, cells, &widths, colours.then_some(row.ok));
        for check in row.checks.iter().filter(|check| !check.ok) {
            complain(&mut text, check);
        }
    }
    let _ = writeln!(text, "\n{LEGEND}\nwaypoint: {}", report.waypoint);
    for check in report.checks.iter().filter(|check| !check.ok) {
        complain(&mut text, check);
    }
    let of_flows = report.flows.iter().flat_map(|row| &row.checks);
    let checks: Vec<&Check> = report.checks.iter().chain(of_flows).collect();
    let failed = checks.iter().filter(|check| !check.ok).count();
    let last = format!("{} flows, {} checks: ", report.flows.len(), checks.len())
        + &if report.ok {
            "all ok".to_owned()
        } else {
            format!("{failed} NOT ok")
        };
    let _ = writeln!(text, "{}", coloured(&last, colours.then_some(report.ok)));
    text
}

fn cells(row: &Row) -> [String; 10] {
    let seen = match (&row.refused, &row.forwarded_for, row.peer_seen) {
        (Some(error), _, _) => format!("nobody: {error}"),
        (None, Some(client), _) => format!("{client}*"),
        (None, None, Some(peer)) if row.class == "ToServerWaypoint" => format!("{peer}w"),
        (None, None, Some(peer)) => peer.to_string(),
        (None, None, None) => "-".to_owned(),
    };
    let times = |with: Option<u64>, without: Option<u64>| {
        let shown = |time: Option<u64>| time.map_or("-".to_owned(), |time| time.to_string());
        let mark = match &row.without_waysteer {
            Some(without) if without.is_endpoint => "e",
            _ => "",
        };
        match (with, without) {
            (None, None) => "-".to_owned(),
            _ => format!("{}/{}{mark}", shown(with), shown(without)),
        }
    };
    let (with, without) = (&row.microseconds, &row.without_waysteer);
    [
        row.flow.to_owned(),
        row.destination.to_string(),
        row.class.clone(),
        row.reason.clone(),
        row.next_hop.clone().unwrap_or_else(|| "-".to_owned()),
        row.wire.clone(),
        seen,
        times(
            with.map(|times| times.connect),
            without.as_ref().map(|it| it.microseconds.connect),
        ),
        times(
            with.map(|times| times.request),
            without.as_ref().map(|it| it.microseconds.request),
        ),
        if row.ok { "ok" } else { "NO" }.to_owned(),
    ]
}

fn line(text: &mut String, cells: &[String; 10], widths: &[usize], ok: Option<bool>) {
    let mut line = String::new();
    let last = cells.len() - 1;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column == last {
            line.push_str(&coloured(cell, ok));
        } else {
            let _ = write!(line, "{cell:<width$} ");
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

fn complain(text: &mut String, check: &Check) {
    let _ = writeln!(
        text,
        "    {}: expected {}, saw {}",
        check.name, check.expected, check.saw
    );
}

fn coloured(text: &str, ok: Option<bool>) -> String {
    match ok {
        None => text.to_owned(),
        Some(true) => format!("\x1b[32m{text}\x1b[0m"),
        Some(false) => format!("\x1b[31m{text}\x1b[0m"),
    }
}
