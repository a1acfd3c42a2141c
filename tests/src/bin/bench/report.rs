//! What was measured, for people and for programs.

pub(crate) mod chart;
mod table;

use serde::Serialize;
use waysteer_tests::statistics::{Spread, at_most};

use crate::metric::Metric;
use crate::rounds::Samples;
use crate::ways::{COMPARISONS, Comparison, Topic, Way};

pub(crate) use table::{markdown, text};

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) kernel: String,
    pub(crate) processors: usize,
    pub(crate) rounds: usize,
    /// What there could be no measurement of, and why.
    pub(crate) notes: Vec<String>,
    /// Those that are not of a row.
    pub(crate) bars: Vec<Bar>,
    pub(crate) rows: Vec<Row>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) tables: Vec<Table>,
}

/// A comparison in one metric.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) topic: Topic,
    pub(crate) way: &'static str,
    pub(crate) base: &'static str,
    pub(crate) metric: Metric,
    /// Medians, in the metric's unit.
    pub(crate) value: f64,
    pub(crate) base_value: f64,
    #[serde(serialize_with = "spread")]
    pub(crate) ratio: Spread,
    pub(crate) bar: Option<f64>,
}

/// Seconds, at the fixed rate.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) way: &'static str,
    /// A connection was due.
    pub(crate) every: f64,
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// Something that must be reached.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) bar: String,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

/// Of anything else.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Report {
    /// Everything that must be reached.
    fn all_bars(&self) -> Vec<Bar> {
        let of_rows = self.rows.iter().filter_map(Row::as_bar);
        of_rows.chain(self.bars.iter().cloned()).collect()
    }

    /// Takes in what was measured of some ways.
    pub(crate) fn add(&mut self, samples: &Samples, topics: &[Topic]) {
        let chosen = COMPARISONS
            .iter()
            .filter(|comparison| topics.contains(&comparison.topic));
        for comparison in chosen {
            let rows = Metric::ALL
                .into_iter()
                .filter_map(|metric| row(comparison, metric, samples));
            self.rows.extend(rows);
        }
        for (way, every, times) in samples.latencies() {
            let at = |of_thousand| at_most(times, of_thousand).map(|time| time.as_secs_f64());
            if let (Some(p50), Some(p99), Some(p999)) = (at(500), at(990), at(999)) {
                self.latencies.push(Latency {
                    way,
                    every: every.as_secs_f64(),
                    count: times.len(),
                    p50,
                    p99,
                    p999,
                });
            }
        }
    }
}

impl Row {
    /// Whether the bar is reached, where there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let ratio = self.ratio.median;
        self.bar.map(|bar| {
            if self.metric.is_rate() {
                ratio >= bar
            } else {
                ratio <= bar
            }
        })
    }

    fn as_bar(&self) -> Option<Bar> {
        let (metric, _) = self.metric.words();
        Some(Bar {
            what: format!("{}, against {}: {metric}", self.way, self.base),
            bar: self.bar_in_words()?,
            measured: format!("{:.3}", self.ratio.median),
            is_met: self.is_met()?,
        })
    }

    fn bar_in_words(&self) -> Option<String> {
        let sign = if self.metric.is_rate() { '≥' } else { '≤' };
        self.bar.map(|bar| format!("{sign} {bar}"))
    }

    /// How the row is known to earlier and later runs.
    pub(crate) fn key(&self) -> String {
        let (metric, _) = self.metric.words();
        format!("{}: {metric}, against {}", self.way, self.base)
    }
}

fn row(comparison: &Comparison, metric: Metric, samples: &Samples) -> Option<Row> {
    let Comparison {
        topic,
        way,
        base,
        bars,
    } = comparison;
    let of = |way: &Way| samples.values(way, metric);
    let median = |way: &Way| Spread::of(of(way)).map(|spread| metric.in_unit(spread.median));
    let bar = bars.iter().find(|(of, _)| *of == metric);
    Some(Row {
        topic: *topic,
        way: way.name,
        base: base.name,
        metric,
        value: median(way)?,
        base_value: median(base)?,
        ratio: Spread::of_ratios(of(way), of(base)).unwrap_or(Spread {
            // Nothing of it on the other side.
            median: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
        }),
        bar: bar.map(|(_, bar)| *bar),
    })
}

fn spread<S: serde::Serializer>(spread: &Spread, serializer: S) -> Result<S::Ok, S::Error> {
    let Spread { median, low, high } = spread;
    [median, low, high].serialize(serializer)
}
