//! `waysteer monitor`: verdicts as they come, or summed up.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::table::{BAD, Cell, NOTICE, fitted, streamed};
use super::{ShowError, flows::Flow, parse};

/// What the agent tells, a line each.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    Verdict(Box<Told>),
    Lost { place: String, count: u64 },
    Packets { action: String, count: u64 },
}

#[derive(Debug, Deserialize)]
pub struct Told {
    /// Nanoseconds of the monotonic clock.
    at: u64,
    #[serde(flatten)]
    flow: Flow,
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

/// Verdicts summed up.
#[derive(Debug, Default)]
pub struct Summary {
    counts: BTreeMap<[String; 4], Count>,
    packets: BTreeMap<String, Count>,
    lost: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    all: u64,
    /// Since the page before.
    new: u64,
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
            Self::Verdict(_) | Self::Packets { .. } => 0,
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
            Line::Lost { place, count } => {
                let why = match place.as_str() {
                    "kernel" => "the kernel's buffer was full",
                    _ => "this terminal is too slow",
                };
                let text = format!("{count} verdicts were lost: {why}\n");
                return format!("{BAD}{text}{BAD:#}");
            }
            Line::Packets { action, count } => {
                return format!("{NOTICE}packets {action}: {count}{NOTICE:#}\n");
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

impl Summary {
    pub fn add(&mut self, line: &Line) {
        let count = match line {
            Line::Verdict(told) => {
                let Flow {
                    pod,
                    class,
                    reason,
                    steered,
                    ..
                } = &told.flow;
                let way = if *steered { "tunnel" } else { "past it" };
                let key = [pod.as_str(), class, reason, way].map(str::to_owned);
                let entry = self.counts.entry(key).or_default();
                (entry, 1)
            }
            Line::Packets { action, count } => {
                (self.packets.entry(action.clone()).or_default(), *count)
            }
            Line::Lost { count, .. } => {
                self.lost += count;
                return;
            }
        };
        let (entry, by) = count;
        entry.all += by;
        entry.new += by;
    }

    /// A page of so many lines at most; rates are of the seconds since the page before.
    pub fn page(&mut self, seconds: f64, width: Option<usize>, height: Option<usize>) -> String {
        let mut rows: Vec<(&[String; 4], Count)> = self
            .counts
            .iter()
            .map(|(key, count)| (key, *count))
            .collect();
        rows.sort_by(|(a, x), (b, y)| y.new.cmp(&x.new).then(y.all.cmp(&x.all)).then(a.cmp(b)));
        let rate = |count: Count| format!("{:.1}", count.new as f64 / seconds.max(0.001));
        let cells = rows.iter().map(|([pod, class, reason, way], count)| {
            let way = match way.as_str() {
                "past it" => Cell::from("past it").styled(NOTICE),
                way => way.into(),
            };
            vec![
                rate(*count).into(),
                count.all.to_string().into(),
                pod.as_str().into(),
                class.as_str().into(),
                reason.as_str().into(),
                way,
            ]
        });
        let headers = ["PER SECOND", "ALL", "POD", "CLASS", "REASON", "WAY"];
        let mut text = fitted(width, &headers, cells.collect());
        if rows.is_empty() {
            text = "no connection was judged since\n".to_owned();
        }
        for (action, count) in &self.packets {
            let rate = rate(*count);
            text.push_str(&format!(
                "packets {action}: {}, {rate} per second\n",
                count.all
            ));
        }
        if self.lost > 0 {
            text.push_str(&format!("{BAD}verdicts lost: {}{BAD:#}\n", self.lost));
        }
        for count in self.counts.values_mut().chain(self.packets.values_mut()) {
            count.new = 0;
        }
        cut(text, height)
    }
}

/// The first lines, and how many there are more.
fn cut(text: String, height: Option<usize>) -> String {
    let (lines, height) = (text.lines().count(), height.unwrap_or(usize::MAX));
    if lines <= height {
        return text;
    }
    let kept = height.saturating_sub(1);
    let mut short: String = text
        .lines()
        .take(kept)
        .map(|it| format!("{it}\n"))
        .collect();
    short.push_str(&format!("and {} lines more\n", lines - kept));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pod: &str, reason: &str, steered: bool) -> Line {
        let text = format!(
            r#"{{"type": "verdict", "number": 3, "at": 1500000000, "hook": "connect", "pod": "{pod}",
            "destination": "10.96.0.12:80", "class": "Direct", "reason": "{reason}",
            "steered": {steered}, "hbone": true, "next_hop": "10.1.2.13:15008",
            "next_hop_workload": "default/far", "authority": "10.96.0.12:80",
            "service": "default/shop"}}"#
        );
        Line::read(&text).expect("a line")
    }

    fn plain(text: &str) -> String {
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
        let lost = Line::read(r#"{"type": "lost", "place": "kernel", "count": 7}"#).expect("lost");
        assert_eq!(lost.lost(), 7);
        let text = plain(&stream.text(&lost));
        assert_eq!(text, "7 verdicts were lost: the kernel's buffer was full\n");
        let held = r#"{"type": "packets", "action": "outbound_held", "count": 2}"#;
        let held = Line::read(held).expect("packets");
        assert_eq!(plain(&stream.text(&held)), "packets outbound_held: 2\n");
        assert!(Line::read("{}").is_err());
    }

    #[test]
    fn a_summary_has_the_busiest_first() {
        let mut summary = Summary::default();
        for _ in 0..4 {
            summary.add(&verdict("default/a", "ServiceHbone", true));
        }
        summary.add(&verdict("default/b", "NoPort", false));
        let held = r#"{"type": "packets", "action": "outbound_held", "count": 2}"#;
        summary.add(&Line::read(held).expect("packets"));
        let page = plain(&summary.page(2.0, Some(200), None));
        let expected = "\
PER SECOND  ALL  POD        CLASS   REASON        WAY
2.0         4    default/a  Direct  ServiceHbone  tunnel
0.5         1    default/b  Direct  NoPort        past it
packets outbound_held: 2, 1.0 per second
";
        assert_eq!(page, expected);
        summary.add(&verdict("default/b", "NoPort", false));
        let page = plain(&summary.page(1.0, None, Some(3)));
        let expected = "\
PER SECOND  ALL  POD        CLASS   REASON        WAY
1.0         2    default/b  Direct  NoPort        past it
and 2 lines more
";
        assert_eq!(page, expected);
        let empty = Summary::default().page(1.0, None, None);
        assert_eq!(empty, "no connection was judged since\n");
    }
}
