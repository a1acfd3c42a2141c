//! `waysteer monitor`: verdicts or drops as they come, or summed up.

mod summary;

use serde::Deserialize;
use waysteer_common::verdict::PacketAction;

pub use self::summary::Summary;
use super::table::{BAD, Cell, NOTICE, streamed};
use super::{ShowError, flows::Flow, parse};

/// What the agent tells, a line each.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    Verdict(Box<Told>),
    Drop(Box<Dropped>),
    Lost {
        what: String,
        place: String,
        count: u64,
    },
}

#[derive(Debug, Deserialize)]
pub struct Told {
    /// Nanoseconds of the monotonic clock.
    at: u64,
    #[serde(flatten)]
    flow: Flow,
}

/// A packet that was held or dropped, or a connection that was refused.
#[derive(Debug, Deserialize)]
pub struct Dropped {
    /// Nanoseconds of the monotonic clock.
    at: u64,
    hook: String,
    pod: String,
    action: String,
    source: Option<String>,
    source_workload: Option<String>,
    destination: Option<String>,
    destination_workload: Option<String>,
    service: Option<String>,
}

/// Rows below each other as they come: columns grow with what they hold.
#[derive(Debug)]
pub struct Stream {
    /// Of the terminal.
    width: Option<usize>,
    /// From the monotonic clock to wall time, in nanoseconds.
    epoch: u64,
    widths: Vec<usize>,
}

impl Line {
    /// # Errors
    /// When it is of another version.
    pub fn read(text: &str) -> Result<Self, ShowError> {
        parse(text)
    }

    /// How many events it says never came.
    pub fn lost(&self) -> u64 {
        match self {
            Self::Lost { count, .. } => *count,
            Self::Verdict(_) | Self::Drop(_) => 0,
        }
    }
}

impl Stream {
    pub fn new(width: Option<usize>, epoch: u64) -> Self {
        Self {
            width,
            epoch,
            widths: Vec::new(),
        }
    }

    pub fn text(&mut self, line: &Line) -> String {
        let cells = match line {
            Line::Verdict(told) => {
                let Told { at, flow } = told.as_ref();
                vec![
                    self.clock(*at).into(),
                    flow.pod.as_str().into(),
                    flow.destination().into(),
                    flow.class.as_str().into(),
                    flow.reason.as_str().into(),
                    flow.way(),
                    flow.next_hop().into(),
                ]
            }
            Line::Drop(dropped) => {
                let Dropped {
                    at,
                    hook,
                    pod,
                    action,
                    ..
                } = dropped.as_ref();
                vec![
                    self.clock(*at).into(),
                    pod.as_str().into(),
                    dropped.tuple().into(),
                    Cell::from(action.as_str()).styled(NOTICE),
                    hook.as_str().into(),
                    meaning(action).into(),
                ]
            }
            Line::Lost { what, place, count } => {
                let why = match (what.as_str(), place.as_str()) {
                    ("drops", "kernel") => "many of a pod in a second are only counted",
                    (_, "kernel") => "the kernel's buffer was full",
                    _ => "this terminal is too slow",
                };
                let text = format!("{count} {what} were lost: {why}\n");
                return format!("{BAD}{text}{BAD:#}");
            }
        };
        streamed(&mut self.widths, self.width, cells)
    }

    /// The time of the day, UTC.
    fn clock(&self, at: u64) -> String {
        let milliseconds = self.epoch.wrapping_add(at) / 1_000_000;
        let seconds = milliseconds / 1_000;
        format!(
            "{:02}:{:02}:{:02}.{:03}Z",
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            milliseconds % 1_000
        )
    }
}

impl Dropped {
    /// From where to where; names where they say more than the pod's.
    fn tuple(&self) -> String {
        let named = |address: &Option<String>, name: Option<&String>| {
            let address = address.as_deref().unwrap_or("?");
            match name.filter(|name| **name != self.pod) {
                Some(name) => format!("{address} {name}"),
                None => address.to_owned(),
            }
        };
        let name = self.service.as_ref().or(self.destination_workload.as_ref());
        format!(
            "{} > {}",
            named(&self.source, self.source_workload.as_ref()),
            named(&self.destination, name)
        )
    }
}

/// In words; none of an action that only a newer agent knows.
fn meaning(action: &str) -> &'static str {
    PacketAction::from_label(action).map_or("", PacketAction::meaning)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn verdict(pod: &str, reason: &str, steered: bool) -> Line {
        let text = format!(
            r#"{{"type": "verdict", "number": 3, "at": 1500000000, "hook": "connect", "pod": "{pod}",
            "destination": "10.96.0.12:80", "class": "Direct", "reason": "{reason}",
            "steered": {steered}, "hbone": true, "next_hop": "10.1.2.13:15008",
            "next_hop_workload": "default/far", "authority": "10.96.0.12:80",
            "service": "default/shop"}}"#
        );
        Line::read(&text).expect("a line")
    }

    const TO_SERVICE: &str = r#""source": "10.1.1.10:40000", "source_workload": "default/client",
        "destination": "10.96.0.12:80", "destination_workload": null, "service": "default/shop""#;
    const FROM_OUTSIDE: &str = r#""source": "10.1.2.9:40000", "source_workload": "default/far",
        "destination": "10.1.1.10:80", "destination_workload": "default/client", "service": null"#;
    const UNREAD: &str = r#""source": null, "source_workload": null, "destination": null,
        "destination_workload": null, "service": null"#;

    fn dropped(pod: &str, action: &str, tuple: &str) -> Line {
        let text = format!(
            r#"{{"type": "drop", "at": 1500000000, "hook": "lo_ingress", "pod": "{pod}",
            "action": "{action}", {tuple}}}"#
        );
        Line::read(&text).expect("a line")
    }

    pub(super) fn held() -> Line {
        dropped("default/client", "outbound_held", TO_SERVICE)
    }

    pub(super) fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    /// 2001-09-09, 01:46:40 UTC.
    const EPOCH: u64 = 1_000_000_000_000_000_000;

    #[test]
    fn verdicts_stand_below_each_other_at_two_widths() {
        let lines = [
            verdict("default/a", "ServiceHbone", true),
            verdict("default/another", "NoPort", false),
        ];
        let shown = |width| {
            let mut stream = Stream::new(width, EPOCH);
            let text: String = lines.iter().map(|line| stream.text(line)).collect();
            plain(&text)
        };
        let wide = "\
01:46:41.500Z  default/a  10.96.0.12:80 default/shop  Direct  ServiceHbone  tunnel  10.1.2.13:15008 default/far
01:46:41.500Z  default/another  10.96.0.12:80 default/shop  Direct  NoPort        past it  10.1.2.13:15008 default/far
";
        assert_eq!(shown(Some(200)), wide);
        let narrow = "\
01:46:41.500Z  default/a  10.96.0.12:80 default/shop  Direct  ServiceHbone
    tunnel  10.1.2.13:15008 default/far
01:46:41.500Z  default/another  10.96.0.12:80 default/shop  Direct  NoPort
    past it  10.1.2.13:15008 default/far
";
        assert_eq!(shown(Some(80)), narrow);
        let narrower = "\
01:46:41.500Z  default/a
    10.96.0.12:80 default/shop  Direct
    ServiceHbone  tunnel
    10.1.2.13:15008 default/far
";
        assert!(shown(Some(40)).starts_with(narrower), "{}", shown(Some(40)));
    }

    #[test]
    fn what_is_lost_or_dropped_is_told() {
        let mut stream = Stream::new(None, EPOCH);
        for (what, place, why) in [
            ("verdicts", "kernel", "the kernel's buffer was full"),
            ("verdicts", "agent", "this terminal is too slow"),
            (
                "drops",
                "kernel",
                "many of a pod in a second are only counted",
            ),
            ("drops", "agent", "this terminal is too slow"),
        ] {
            let lost = r#"{"type": "lost", "what": "W", "place": "P", "count": 7}"#;
            let lost = lost.replace('W', what).replace('P', place);
            let lost = Line::read(&lost).expect("lost");
            assert_eq!(lost.lost(), 7);
            let text = plain(&stream.text(&lost));
            assert_eq!(text, format!("7 {what} were lost: {why}\n"));
        }
        assert!(Line::read("{}").is_err());
    }

    #[test]
    fn drops_say_whose_they_are_from_where_to_where_and_why() {
        let shown = |width| {
            let mut stream = Stream::new(width, EPOCH);
            let lines = [
                held(),
                dropped("default/client", "inbound_held", FROM_OUTSIDE),
                dropped("unknown", "unreadable_dropped", UNREAD),
            ];
            let text: String = lines.iter().map(|line| stream.text(line)).collect();
            plain(&text)
        };
        let wide = "\
01:46:41.500Z  default/client  10.1.1.10:40000 > 10.96.0.12:80 default/shop  outbound_held  lo_ingress  Held: no outbound listener of the tunnel.
01:46:41.500Z  default/client  10.1.2.9:40000 default/far > 10.1.1.10:80     inbound_held   lo_ingress  Held: no plaintext listener of the tunnel.
01:46:41.500Z  unknown         ? > ?                                         unreadable_dropped  lo_ingress  A packet was dropped because it could not be read far enough to be judged.
";
        assert_eq!(shown(Some(200)), wide);
        let narrow = "\
01:46:41.500Z  default/client  10.1.1.10:40000 > 10.96.0.12:80 default/shop
    outbound_held  lo_ingress  Held: no outbound listener of the tunnel.
";
        assert!(shown(Some(80)).starts_with(narrow), "{}", shown(Some(80)));
    }
}
