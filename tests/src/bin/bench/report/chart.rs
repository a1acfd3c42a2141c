//! The ratios as bars, in SVG.

use std::fmt::Write as _;

use super::{Report, Row};

const LINE: usize = 22;
const NAMES: usize = 430;
const BARS: usize = 420;
const VALUES: usize = 120;
/// What is further off than so many times is cut.
const MOST: f64 = 4.0;

/// One bar a ratio, its quartiles as a line, its bar as a tick.
pub(crate) fn svg(report: &Report) -> String {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.ratio.median.is_finite())
        .collect();
    let (width, height) = (NAMES + BARS + VALUES, LINE * (rows.len() + 3));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\">Ratios, medians of {} rounds; line: quartiles; red: what must be \
         reached</text>\n",
        report.rounds
    );
    let bottom = height - LINE / 2;
    let _ = writeln!(
        svg,
        "<line x1=\"{0}\" y1=\"{LINE}\" x2=\"{0}\" y2=\"{bottom}\" stroke=\"black\"/>",
        place(1.0)
    );
    let mut before = "";
    for (number, row) in rows.iter().enumerate() {
        let y = LINE * (number + 2);
        if row.way != before {
            before = row.way;
            let _ = writeln!(
                svg,
                "<line x1=\"0\" y1=\"{0}\" x2=\"{width}\" y2=\"{0}\" stroke=\"#ddd\"/>",
                y - LINE / 2 - 4
            );
        }
        bar(&mut svg, row, y);
    }
    svg += "</svg>\n";
    svg
}

fn bar(svg: &mut String, row: &Row, y: usize) {
    let ratio = row.ratio;
    let (words, _) = row.metric.words();
    let (left, right) = (NAMES as f64, place(ratio.median));
    let colour = match row.is_met() {
        Some(true) => "#4a9",
        Some(false) => "#e97",
        None => "#9ab",
    };
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{y}\">{}</text>\n\
         <rect x=\"{left}\" y=\"{}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\n\
         <line x1=\"{:.1}\" y1=\"{1}\" x2=\"{:.1}\" y2=\"{1}\" stroke=\"#333\"/>\n\
         <text x=\"{}\" y=\"{y}\">{:.3}</text>",
        escaped(&format!("{}: {words}", row.way)),
        y - 11,
        right - left,
        place(ratio.low),
        place(ratio.high),
        NAMES + BARS + 10,
        ratio.median,
    );
    if let Some(limit) = row.bar {
        let _ = writeln!(
            svg,
            "<line x1=\"{0:.1}\" y1=\"{1}\" x2=\"{0:.1}\" y2=\"{2}\" stroke=\"red\" \
             stroke-width=\"2\"/>",
            place(limit),
            y - 13,
            y + 5,
        );
    }
}

fn place(ratio: f64) -> f64 {
    NAMES as f64 + ratio.min(MOST) / MOST * BARS as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
