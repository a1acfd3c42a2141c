//! `waysteer explain`: what would become of a connection, and what has decided it.

use serde::Deserialize;
use waysteer_common::verdict::Reason;

use super::flows::Flow;
use super::table::{Cell, NOTICE, facts, fitted};
use super::{ShowError, Shown, parse};

/// As the agent tells it.
#[derive(Debug, Deserialize)]
struct Explained {
    #[serde(flatten)]
    flow: Flow,
    connection: Option<Connection>,
    understood: Option<String>,
    #[serde(default)]
    met: Vec<Met>,
}

#[derive(Debug, Deserialize)]
struct Connection {
    from_port: u16,
    remembered: bool,
}

#[derive(Debug, Deserialize)]
struct Met {
    map: String,
    asked: String,
    entry: Option<String>,
}

/// The verdict, a fact a line, then the entries that were met.
///
/// # Errors
/// When the answer cannot be read.
pub fn explain(answer: &str, width: Option<usize>) -> Result<Shown, ShowError> {
    let Explained {
        flow,
        connection,
        understood,
        met,
    } = parse(answer)?;
    let mut lines: Vec<[Cell; 2]> = vec![
        ["pod".into(), flow.pod.as_str().into()],
        ["destination".into(), flow.destination().into()],
    ];
    if let Some(understood) = understood {
        lines.push(["".into(), understood.into()]);
    }
    if let Some(connection) = connection {
        lines.push(["connection".into(), connection.told()]);
    }
    lines.push(["class".into(), flow.class.as_str().into()]);
    lines.push(["reason".into(), flow.reason.as_str().into()]);
    if let Some(reason) = Reason::from_label(&flow.reason) {
        lines.push(["".into(), reason.meaning().into()]);
        lines.push(["row".into(), row(reason, flow.service.is_some()).into()]);
    }
    if let Some(policy) = &flow.policy {
        lines.push(["policy".into(), policy.as_str().into()]);
    }
    lines.push(["way".into(), flow.way()]);
    lines.push(["next hop".into(), flow.next_hop().into()]);
    if let Some(authority) = &flow.authority {
        lines.push(["authority".into(), authority.as_str().into()]);
    }
    let mut text = facts(width, lines);
    if !met.is_empty() {
        text.push_str("\nwhat the program looked up, in this order:\n");
        let rows = met.into_iter().map(Met::cells).collect();
        text.push_str(&fitted(width, &["MAP", "ASKED FOR", "FOUND"], rows));
    }
    Ok(Shown {
        text,
        is_well: true,
    })
}

impl Connection {
    fn told(&self) -> Cell {
        let port = self.from_port;
        if self.remembered {
            format!("from port {port}: this is what it got when it began").into()
        } else {
            let text = format!("none is remembered from port {port}: this is what a new one gets");
            Cell::from(text).styled(NOTICE)
        }
    }
}

impl Met {
    fn cells(self) -> Vec<Cell> {
        let found = self.entry.unwrap_or_else(|| "nothing".to_owned());
        vec![self.map.into(), self.asked.into(), found.into()]
    }
}

/// Of the classification table.
fn row(reason: Reason, is_service: bool) -> String {
    let row = match (reason, is_service) {
        (Reason::Invalid, true) => 3,
        (Reason::WaypointUnresolved, false) => 7,
        _ => reason.row(),
    };
    format!("{row} of the classification table in ARCHITECTURE.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_said_in_words_with_its_row() {
        let answer = r#"{"number": 0, "at": 0, "hook": "explain", "pod": "default/client",
            "destination": "10.1.1.11:8080", "class": "ToServerWaypoint",
            "reason": "WaypointUnresolved", "steered": true, "hbone": false, "next_hop": null,
            "next_hop_workload": null, "authority": null, "service": null}"#;
        let shown = explain(answer, None).expect("an answer");
        let plain = anstream::adapter::strip_str(&shown.text).to_string();
        let expected = "\
pod          default/client
destination  10.1.1.11:8080
class        ToServerWaypoint
reason       WaypointUnresolved
             There is a waypoint, but no way to it is known.
row          7 of the classification table in ARCHITECTURE.md
way          tunnel
next hop     -
";
        assert_eq!(plain, expected);
    }

    #[test]
    fn what_was_met_follows_at_two_widths() {
        let answer = r#"{"number": 0, "at": 0, "hook": "explain", "pod": "default/client",
            "destination": "10.96.0.10:80", "class": "Direct", "reason": "ServiceHbone",
            "steered": true, "hbone": true, "next_hop": "10.1.2.11:15008",
            "next_hop_workload": "default/far", "authority": "10.1.2.11:8080",
            "service": "default/web.default.svc.cluster.local",
            "understood": "default/web.default.svc.cluster.local, 10.96.0.10:80",
            "connection": {"from_port": 4001, "remembered": true},
            "met": [
                {"map": "WORKLOADS", "asked": "10.96.0.10", "found": false, "entry": null},
                {"map": "SERVICES", "asked": "10.96.0.10 for all", "found": true,
                 "entry": "default/web.default.svc.cluster.local"},
                {"map": "ENDPOINTS", "asked": "number 0 of set 00000000000000aa", "found": true,
                 "entry": "default/far, 10.1.2.11, port 8080, HBONE"}]}"#;
        let plain = |width| {
            let shown = explain(answer, width).expect("an answer");
            anstream::adapter::strip_str(&shown.text).to_string()
        };
        let facts = "\
pod          default/client
destination  10.96.0.10:80 default/web.default.svc.cluster.local
             default/web.default.svc.cluster.local, 10.96.0.10:80
connection   from port 4001: this is what it got when it began
class        Direct
reason       ServiceHbone
             The endpoint picked speaks HBONE and is on another node.
row          6 of the classification table in ARCHITECTURE.md
way          tunnel
next hop     10.1.2.11:15008 default/far
authority    10.1.2.11:8080

what the program looked up, in this order:
";
        let wide = "\
MAP        ASKED FOR                         FOUND
WORKLOADS  10.96.0.10                        nothing
SERVICES   10.96.0.10 for all                default/web.default.svc.cluster.local
ENDPOINTS  number 0 of set 00000000000000aa  default/far, 10.1.2.11, port 8080, HBONE
";
        assert_eq!(plain(Some(200)), format!("{facts}{wide}"));
        let narrow = "\
MAP        ASKED FOR
WORKLOADS  10.96.0.10
    FOUND nothing
SERVICES   10.96.0.10 for all
    FOUND default/web.default.svc.cluster.local
ENDPOINTS  number 0 of set 00000000000000aa
    FOUND default/far, 10.1.2.11, port 8080, HBONE
";
        assert_eq!(plain(Some(80)), format!("{facts}{narrow}"));
    }

    #[test]
    fn what_policies_say_has_a_line() {
        let answer = r#"{"number": 0, "at": 0, "hook": "explain", "pod": "default/client",
            "destination": "10.1.0.2:8080", "class": "DirectLocal", "reason": "LocalPolicy",
            "steered": true, "hbone": true, "next_hop": "10.1.0.2:15008",
            "next_hop_workload": "default/server", "authority": null, "service": null,
            "policy": "denied by shop/only-the-gateway"}"#;
        let shown = explain(answer, None).expect("an answer");
        let plain = anstream::adapter::strip_str(&shown.text).to_string();
        let line = "\npolicy       denied by shop/only-the-gateway\n";
        assert!(plain.contains(line), "{plain}");
    }

    /// The table of ARCHITECTURE.md: rows without a number belong to the one above.
    #[test]
    fn rows_are_those_of_the_document() {
        let document = include_str!("../../../ARCHITECTURE.md");
        let mut number = None;
        let mut found: Vec<(u8, &str)> = Vec::new();
        for line in document.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, row, _, _, reasons, ..] = cells.as_slice() else {
                continue;
            };
            number = row.parse().ok().or(number);
            let labels = reasons.split('`').skip(1).step_by(2);
            found.extend(labels.filter_map(|label| number.map(|number| (number, label))));
        }
        for reason in Reason::ALL {
            for is_service in [false, true] {
                let said = row(*reason, is_service);
                let in_document = |(number, label): &(u8, &str)| {
                    *label == reason.label() && said.starts_with(&format!("{number} of"))
                };
                assert!(found.iter().any(in_document), "{}: {said}", reason.label());
            }
        }
    }
}
