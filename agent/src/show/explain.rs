//! `waysteer explain`: what would become of a connection.

use waysteer_common::verdict::Reason;

use super::flows::Flow;
use super::table::{Cell, facts};
use super::{ShowError, Shown, parse};

/// The verdict, a fact a line.
///
/// # Errors
/// When the answer cannot be read.
pub fn explain(answer: &str) -> Result<Shown, ShowError> {
    let flow: Flow = parse(answer)?;
    let mut lines: Vec<[Cell; 2]> = vec![
        ["pod".into(), flow.pod.as_str().into()],
        ["destination".into(), flow.destination().into()],
        ["class".into(), flow.class.as_str().into()],
        ["reason".into(), flow.reason.as_str().into()],
    ];
    if let Some(reason) = Reason::from_label(&flow.reason) {
        lines.push(["".into(), reason.meaning().into()]);
        lines.push(["row".into(), row(reason, flow.service.is_some()).into()]);
    }
    lines.push(["way".into(), flow.way()]);
    lines.push(["next hop".into(), flow.next_hop().into()]);
    if let Some(authority) = &flow.authority {
        lines.push(["authority".into(), authority.as_str().into()]);
    }
    Ok(Shown {
        text: facts(lines),
        is_well: true,
    })
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
        let shown = explain(answer).expect("an answer");
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
