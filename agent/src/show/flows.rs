//! `waysteer flows`: the last verdicts.

use serde::Deserialize;

use super::table::{Cell, NOTICE, fitted};
use super::{ShowError, Shown, parse};

/// As the agent tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Flow {
    number: u64,
    hook: String,
    pub(super) pod: String,
    pub(super) destination: String,
    pub(super) class: String,
    pub(super) reason: String,
    pub(super) steered: bool,
    pub(super) next_hop: Option<String>,
    pub(super) next_hop_workload: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) service: Option<String>,
    #[serde(default)]
    pub(super) policy: Option<String>,
}

/// A row each, the oldest first.
///
/// # Errors
/// When the answer cannot be read.
pub fn flows(answer: &str, width: Option<usize>) -> Result<Shown, ShowError> {
    let flows: Vec<Flow> = parse(answer)?;
    let headers = [
        "#",
        "HOOK",
        "POD",
        "DESTINATION",
        "CLASS",
        "REASON",
        "WAY",
        "NEXT HOP",
    ];
    let row = |flow: &Flow| {
        vec![
            flow.number.to_string().into(),
            flow.hook.as_str().into(),
            flow.pod.as_str().into(),
            flow.destination().into(),
            flow.class.as_str().into(),
            flow.reason.as_str().into(),
            flow.way(),
            flow.next_hop().into(),
        ]
    };
    let text = if flows.is_empty() {
        "no connection was judged since the agent started\n".to_owned()
    } else {
        fitted(width, &headers, flows.iter().map(row).collect())
    };
    Ok(Shown {
        text,
        is_well: true,
    })
}

impl Flow {
    /// With the service behind the address, if it is one's.
    pub(super) fn destination(&self) -> String {
        match &self.service {
            Some(service) => format!("{} {service}", self.destination),
            None => self.destination.clone(),
        }
    }

    pub(super) fn way(&self) -> Cell {
        if self.steered {
            "tunnel".into()
        } else {
            Cell::from("past it").styled(NOTICE)
        }
    }

    /// With the workload that has the address, if it is known.
    pub(super) fn next_hop(&self) -> String {
        let Some(next_hop) = &self.next_hop else {
            return String::new();
        };
        match &self.next_hop_workload {
            Some(workload) => format!("{next_hop} {workload}"),
            None => next_hop.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_each() {
        let answer = r#"[{"number": 3, "at": 1, "hook": "connect4", "pod": "default/client",
            "destination": "10.96.0.12:80", "class": "ToServerWaypoint", "reason": "ServiceWaypoint",
            "steered": true, "hbone": true, "next_hop": "10.1.2.13:15008",
            "next_hop_workload": "default/waypoint", "authority": "10.96.0.12:80",
            "service": "default/shop"},
            {"number": 4, "at": 2, "hook": "connect4", "pod": "default/client",
            "destination": "203.0.113.10:80", "class": "Passthrough", "reason": "Unknown",
            "steered": false, "hbone": false, "next_hop": null, "next_hop_workload": null,
            "authority": null, "service": null}]"#;
        let plain = |width| {
            let shown = flows(answer, width).expect("flows");
            anstream::adapter::strip_str(&shown.text).to_string()
        };
        let expected = "\
#  HOOK      POD             DESTINATION                 CLASS             REASON           WAY      NEXT HOP
3  connect4  default/client  10.96.0.12:80 default/shop  ToServerWaypoint  ServiceWaypoint  tunnel   10.1.2.13:15008 default/waypoint
4  connect4  default/client  203.0.113.10:80             Passthrough       Unknown          past it  -
";
        assert_eq!(plain(Some(200)), expected);
        let narrow = "\
#  HOOK      POD             DESTINATION                 CLASS
3  connect4  default/client  10.96.0.12:80 default/shop  ToServerWaypoint
    REASON ServiceWaypoint  WAY tunnel
    NEXT HOP 10.1.2.13:15008 default/waypoint
4  connect4  default/client  203.0.113.10:80             Passthrough
    REASON Unknown  WAY past it
";
        assert_eq!(plain(Some(80)), narrow);
    }

    #[test]
    fn none_is_said_and_nonsense_is_an_error() {
        assert!(
            flows("[]", None)
                .expect("no flows")
                .text
                .starts_with("no connection")
        );
        assert!(matches!(flows("{}", None), Err(ShowError::Answer(_))));
    }
}
