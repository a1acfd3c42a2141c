//! Columns that line up.

use anstyle::{AnsiColor, Style};

use super::wrap::hanging;

/// One field of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

/// Good news, something to look at, something to act on. Only terminals show them.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const NOTICE: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
const HEADER: Style = Style::new().bold();
/// Stands where there is nothing.
const DASH: &str = "-";
const INDENT: &str = "    ";

impl Cell {
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }

    fn or_dash(self) -> Self {
        if self.text.is_empty() {
            let text = DASH.to_owned();
            return Self { text, ..self };
        }
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Behind so many characters; lines after the first begin below it.
    pub(super) fn wrapped(&self, width: Option<usize>, before: usize) -> String {
        let style = self.style;
        let mut text = String::new();
        for line in hanging(&self.text, width, before).lines() {
            let words = line.trim_start_matches(' ');
            let (blanks, _) = line.split_at(line.len() - words.len());
            text.push_str(&format!("{blanks}{style}{words}{style:#}\n"));
        }
        text
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// Rows below their headers, two blanks apart; what is empty shows as `-`. Broken where lines would be
/// wider than a terminal: the columns that do not fit, the last ones, stand below each row with their
/// headers. Nothing is cut off.
pub(super) fn fitted(width: Option<usize>, headers: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(Cell::or_dash).collect())
        .collect();
    let widths = widths(headers, &rows);
    let fits = fitting(&widths, width.unwrap_or(usize::MAX));
    let (shown, below) = headers.split_at(fits);
    let header: Vec<Cell> = shown
        .iter()
        .map(|h| Cell::from(*h).styled(HEADER))
        .collect();
    let mut text = String::new();
    line(&mut text, &header, &widths);
    for row in &rows {
        let (on_it, rest) = row.split_at(fits.min(row.len()));
        line(&mut text, on_it, &widths);
        let mut at = 0;
        for (header, cell) in below.iter().zip(rest) {
            if cell.text == DASH {
                continue;
            }
            let named = header.chars().count() + 1;
            let piece = named + cell.width();
            if at > 0 && at + 2 + piece > width.unwrap_or(usize::MAX) {
                text.push('\n');
                at = 0;
            }
            text.push_str(if at == 0 { INDENT } else { "  " });
            at += if at == 0 { INDENT.len() } else { 2 };
            text.push_str(&format!("{HEADER}{header}{HEADER:#} "));
            // Longer than a line it can only be when it is the first of one.
            text.push_str(cell.wrapped(width, at + named).trim_end_matches('\n'));
            at += piece;
        }
        if at > 0 {
            text.push('\n');
        }
    }
    text
}

/// One row of those that come one after the other: columns are as wide as the widest so far.
pub(super) fn streamed(widths: &mut Vec<usize>, width: Option<usize>, cells: Vec<Cell>) -> String {
    let cells: Vec<Cell> = cells.into_iter().map(Cell::or_dash).collect();
    widths.resize(cells.len().max(widths.len()), 0);
    for (width, cell) in widths.iter_mut().zip(&cells) {
        *width = cell.width().max(*width);
    }
    let fits = fitting(widths, width.unwrap_or(usize::MAX)).min(cells.len());
    let (on_it, below) = cells.split_at(fits);
    let mut text = String::new();
    line(&mut text, on_it, widths);
    let mut used = 0;
    for cell in below.iter().filter(|cell| cell.text != DASH) {
        if used > 0 && used + 2 + cell.width() > width.unwrap_or(usize::MAX) {
            text.push('\n');
            used = 0;
        }
        let before = if used == 0 { INDENT } else { "  " };
        used += before.len() + cell.width();
        let style = cell.style;
        text.push_str(&format!("{before}{style}{}{style:#}", cell.text));
    }
    if used > 0 {
        text.push('\n');
    }
    text
}

fn widths(headers: &[&str], rows: &[Vec<Cell>]) -> Vec<usize> {
    let mut widths: Vec<usize> = headers.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    widths
}

/// How many columns stand beside each other: one at least.
fn fitting(widths: &[usize], width: usize) -> usize {
    let mut used = 0;
    let fits = widths.iter().take_while(|column| {
        used += *column;
        let fits = used <= width;
        used += 2;
        fits
    });
    fits.count().max(1)
}

/// Cells of one line, the last one not padded.
fn line(text: &mut String, cells: &[Cell], widths: &[usize]) {
    let last = cells.len().saturating_sub(1);
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let style = cell.style;
        text.push_str(&format!("{style}{}{style:#}", cell.text));
        if column < last {
            let padding = width.saturating_sub(cell.width()) + 2;
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
    text.push('\n');
}

/// Names and what is to be said of them. A line without a name goes on from the one before. What is
/// wider than the terminal is broken between words.
pub(super) fn facts(width: Option<usize>, lines: Vec<[Cell; 2]>) -> String {
    let names = lines.iter().map(|[name, _]| name.width());
    let names = names.max().unwrap_or_default();
    let mut text = String::new();
    for [name, fact] in lines {
        text.push_str(&format!("{HEADER}{}{HEADER:#}", name.text));
        let padding = names.saturating_sub(name.width()) + 2;
        text.extend(std::iter::repeat_n(' ', padding));
        text.push_str(&fact.or_dash().wrapped(width, names + 2));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_not_padded() {
        let rows = vec![
            vec!["a-long-name".into(), Cell::from("").styled(BAD), "x".into()],
            vec!["b".into(), Cell::from("up").styled(GOOD), "yy".into()],
        ];
        let text = fitted(None, &["NAME", "ST", "Z"], rows);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain,
            "NAME         ST  Z\na-long-name  -   x\nb            up  yy\n"
        );
    }

    #[test]
    fn a_reason_longer_than_a_line_is_broken_between_words() {
        let why = "no ztunnel is connected, and so nobody serves this pod";
        let row = || vec![vec!["shop/web".into(), Cell::from(why).styled(BAD)]];
        let plain = |width| {
            let text = fitted(width, &["POD", "WHY"], row());
            anstream::adapter::strip_str(&text).to_string()
        };
        let narrow = "\
POD
shop/web
    WHY no ztunnel is connected, and so
        nobody serves this pod
";
        assert_eq!(plain(Some(40)), narrow);
        assert_eq!(plain(Some(80)), format!("POD       WHY\nshop/web  {why}\n"));
        let lines = vec![["why".into(), why.into()], ["".into(), "".into()]];
        let text = facts(Some(40), lines);
        let expected = "\
why  no ztunnel is connected, and so
     nobody serves this pod
     -
";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn what_is_too_wide_stands_below_its_row() {
        let rows = || {
            let row = ["default/client", "10.1.1.11:8080", "Direct", "", "far"];
            let other = ["x", "y", "z", "", ""];
            [row, other]
                .map(|row| row.map(Cell::from).to_vec())
                .to_vec()
        };
        let headers = ["POD", "DESTINATION", "CLASS", "WHY", "HOP"];
        let plain = |width| {
            let text = fitted(width, &headers, rows());
            anstream::adapter::strip_str(&text).to_string()
        };
        let wide = "\
POD             DESTINATION     CLASS   WHY  HOP
default/client  10.1.1.11:8080  Direct  -    far
x               y               z       -    -
";
        assert_eq!(plain(None), wide);
        assert_eq!(plain(Some(48)), wide);
        let narrow = "\
POD             DESTINATION
default/client  10.1.1.11:8080
    CLASS Direct  HOP far
x               y
    CLASS z
";
        assert_eq!(plain(Some(32)), narrow);
        assert!(plain(Some(1)).starts_with("POD\ndefault/client\n    DESTINATION 10"));
    }
}
