//! Tables, as text and as Markdown.

use super::{Bar, Latency, Report, Row, Table};

pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    for table in tables(report) {
        let Table {
            title,
            columns,
            rows,
        } = table;
        let heads: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let widths: Vec<usize> = (0..columns.len())
            .map(|column| {
                let cells = rows
                    .iter()
                    .chain([&heads])
                    .filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        text += &format!("\n{title}\n\n");
        for row in [&heads].into_iter().chain(&rows) {
            let mut line = String::new();
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width - cell.chars().count());
                // Numbers stand under each other.
                line += &match number {
                    0 => format!("{cell}{space}"),
                    _ => format!("  {space}{cell}"),
                };
            }
            text += line.trim_end();
            text += "\n";
        }
    }
    for note in &report.notes {
        text += &format!("\n{note}\n");
    }
    text
}

/// A whole page, so that a file of it can be made anew.
pub(crate) fn markdown(report: &Report) -> String {
    let Report {
        kernel,
        processors,
        rounds,
        ..
    } = report;
    let mut text = format!(
        "# What redirection was measured to cost\n\n\
         Written by `cargo xtask bench --markdown`; how it is measured and read: \
         [performance.md](performance.md).\n\n\
         Linux {kernel}, {processors} processors, {rounds} rounds.\n"
    );
    for table in tables(report) {
        let Table {
            title,
            columns,
            rows,
        } = table;
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        text += &format!("\n## {title}\n\n");
        text += &line(&columns);
        text += &format!("|{}\n", "---|".repeat(columns.len()));
        for row in &rows {
            text += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    for note in &report.notes {
        text += &format!("\n{note}\n");
    }
    text
}

/// All there is to say, as tables.
fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    let bars = report.all_bars();
    if !bars.is_empty() {
        tables.push(Table {
            title: "What must be reached".to_owned(),
            columns: vec!["", "bar", "measured", ""],
            rows: bars.into_iter().map(bar).collect(),
        });
    }
    let mut rows = report.rows.iter().peekable();
    while let Some(first) = rows.next() {
        let mut cells = vec![compared(first)];
        while let Some(next) = rows.next_if(|next| (next.way, next.base) == (first.way, first.base))
        {
            cells.push(compared(next));
        }
        tables.push(Table {
            title: format!("{}, against: {}", first.way, first.base),
            columns: vec!["", "unit", "base", "measured", "ratio", "quartiles", "bar"],
            rows: cells,
        });
    }
    if !report.latencies.is_empty() {
        tables.push(Table {
            title: "connect, request, close at a fixed rate, µs since each was due".to_owned(),
            columns: vec!["", "due every", "p50", "p99", "p99.9", "connections"],
            rows: report.latencies.iter().map(latency).collect(),
        });
    }
    let others = report.tables.iter().map(|table| Table {
        title: table.title.clone(),
        columns: table.columns.clone(),
        rows: table.rows.clone(),
    });
    tables.extend(others);
    tables
}

fn compared(row: &Row) -> Vec<String> {
    let (words, unit) = row.metric.words();
    let ratio = row.ratio;
    let (ratio, quartiles) = if ratio.median.is_nan() {
        (String::new(), String::new())
    } else {
        let quartiles = format!("{:.3} to {:.3}", ratio.low, ratio.high);
        (format!("{:.3}", ratio.median), quartiles)
    };
    let bar = row.bar_in_words().unwrap_or_default();
    vec![
        words.to_owned(),
        unit.to_owned(),
        number(row.base_value),
        number(row.value),
        ratio,
        quartiles,
        bar,
    ]
}

fn bar(bar: Bar) -> Vec<String> {
    let Bar {
        what,
        bar,
        measured,
        is_met,
    } = bar;
    let met = if is_met { "met" } else { "**not met**" };
    vec![what, bar, measured, met.to_owned()]
}

fn latency(latency: &Latency) -> Vec<String> {
    let Latency {
        way,
        every,
        count,
        p50,
        p99,
        p999,
    } = latency;
    let times = [p50, p99, p999].map(|time| format!("{:.0}", time * 1e6));
    let mut row = vec![(*way).to_owned(), format!("{:.0}", every * 1e6)];
    row.extend(times);
    row.push(count.to_string());
    row
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
