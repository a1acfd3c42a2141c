//! What `waysteer monitor --summary` shows.

use std::collections::BTreeMap;

use super::super::flows::Flow;
use super::super::table::{BAD, Cell, NOTICE, fitted};
use super::Line;

const PAST_IT: &str = "past it";

/// Verdicts, or drops, summed up.
#[derive(Debug)]
pub struct Summary {
    what: &'static str,
    headers: &'static [&'static str],
    /// Said where there is none.
    none: &'static str,
    counts: BTreeMap<Vec<String>, Count>,
    lost: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    all: u64,
    /// Since the page before.
    new: u64,
}

impl Summary {
    pub fn of_verdicts() -> Self {
        Self {
            what: "verdicts",
            headers: &["PER SECOND", "ALL", "POD", "CLASS", "REASON", "WAY"],
            none: "no connection was judged since\n",
            counts: BTreeMap::new(),
            lost: 0,
        }
    }

    pub fn of_drops() -> Self {
        Self {
            what: "drops",
            headers: &["PER SECOND", "ALL", "POD", "ACTION"],
            none: "nothing was held, dropped or refused since\n",
            counts: BTreeMap::new(),
            lost: 0,
        }
    }

    pub fn add(&mut self, line: &Line) {
        let key: Vec<&str> = match line {
            Line::Verdict(told) => {
                let Flow {
                    pod,
                    class,
                    reason,
                    steered,
                    ..
                } = &told.flow;
                let way = if *steered { "tunnel" } else { PAST_IT };
                vec![pod, class, reason, way]
            }
            Line::Drop(dropped) => vec![&dropped.pod, &dropped.action],
            Line::Lost { count, .. } => {
                self.lost += count;
                return;
            }
        };
        let key = key.into_iter().map(str::to_owned).collect();
        let count = self.counts.entry(key).or_default();
        count.all += 1;
        count.new += 1;
    }

    /// A page of so many lines at most; rates are of the seconds since the page before.
    pub fn page(&mut self, seconds: f64, width: Option<usize>, height: Option<usize>) -> String {
        let mut rows: Vec<(&Vec<String>, Count)> = self
            .counts
            .iter()
            .map(|(key, count)| (key, *count))
            .collect();
        rows.sort_by(|(a, x), (b, y)| y.new.cmp(&x.new).then(y.all.cmp(&x.all)).then(a.cmp(b)));
        let rate = |count: Count| format!("{:.1}", count.new as f64 / seconds.max(0.001));
        let cells = rows.iter().map(|(key, count)| {
            let key = key.iter().map(|text| match text.as_str() {
                PAST_IT => Cell::from(PAST_IT).styled(NOTICE),
                text => text.into(),
            });
            [rate(*count).into(), count.all.to_string().into()]
                .into_iter()
                .chain(key)
                .collect()
        });
        let mut text = fitted(width, self.headers, cells.collect());
        if rows.is_empty() {
            text = self.none.to_owned();
        }
        if self.lost > 0 {
            let what = self.what;
            text.push_str(&format!("{BAD}{what} lost: {}{BAD:#}\n", self.lost));
        }
        for count in self.counts.values_mut() {
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
    use super::super::tests::{held, plain, verdict};
    use super::*;

    #[test]
    fn a_summary_has_the_busiest_first() {
        let mut summary = Summary::of_verdicts();
        for _ in 0..4 {
            summary.add(&verdict("default/a", "ServiceHbone", true));
        }
        summary.add(&verdict("default/b", "NoPort", false));
        let page = plain(&summary.page(2.0, Some(200), None));
        let expected = "\
PER SECOND  ALL  POD        CLASS   REASON        WAY
2.0         4    default/a  Direct  ServiceHbone  tunnel
0.5         1    default/b  Direct  NoPort        past it
";
        assert_eq!(page, expected);
        summary.add(&verdict("default/b", "NoPort", false));
        summary.add(&verdict("default/c", "NoPort", false));
        let page = plain(&summary.page(1.0, None, Some(3)));
        let expected = "\
PER SECOND  ALL  POD        CLASS   REASON        WAY
1.0         2    default/b  Direct  NoPort        past it
and 2 lines more
";
        assert_eq!(page, expected);
        let empty = Summary::of_verdicts().page(1.0, None, None);
        assert_eq!(empty, "no connection was judged since\n");
    }
    #[test]
    fn drops_are_summed_up_by_pod_and_action() {
        let mut summary = Summary::of_drops();
        let none = summary.page(1.0, None, None);
        assert_eq!(none, "nothing was held, dropped or refused since\n");
        summary.add(&held());
        summary.add(&held());
        let lost = r#"{"type": "lost", "what": "drops", "place": "kernel", "count": 5}"#;
        summary.add(&Line::read(lost).expect("lost"));
        let page = plain(&summary.page(2.0, Some(200), None));
        let expected = "\
PER SECOND  ALL  POD             ACTION
1.0         2    default/client  outbound_held
drops lost: 5
";
        assert_eq!(page, expected);
    }
}
