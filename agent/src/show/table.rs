//! Columns that line up.

use anstyle::{AnsiColor, Style};

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

impl Cell {
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }

    fn or_dash(self) -> Self {
        if self.text.is_empty() {
            let text = "-".to_owned();
            return Self { text, ..self };
        }
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
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

/// Rows below their headers, two blanks apart. What is empty shows as `-`; nothing is cut off.
pub(super) fn table<const N: usize>(headers: [&str; N], rows: Vec<[Cell; N]>) -> String {
    let header = headers.map(|header| Cell::from(header).styled(HEADER));
    let rows = rows.into_iter().map(|row| row.map(Cell::or_dash));
    let rows: Vec<[Cell; N]> = std::iter::once(header).chain(rows).collect();
    render(&rows)
}

/// Names and what is to be said of them. A line without a name goes on from the one before.
pub(super) fn facts(lines: Vec<[Cell; 2]>) -> String {
    let line = |[name, fact]: [Cell; 2]| [name.styled(HEADER), fact.or_dash()];
    render(&lines.into_iter().map(line).collect::<Vec<_>>())
}

fn render<const N: usize>(rows: &[[Cell; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let last = N.saturating_sub(1);
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let style = cell.style;
            text.push_str(&format!("{style}{}{style:#}", cell.text));
            if column < last {
                text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_not_padded() {
        let rows = vec![
            ["a-long-name".into(), Cell::from("").styled(BAD), "x".into()],
            ["b".into(), Cell::from("up").styled(GOOD), "yy".into()],
        ];
        let plain = anstream::adapter::strip_str(&table(["NAME", "ST", "Z"], rows)).to_string();
        assert_eq!(
            plain,
            "NAME         ST  Z\na-long-name  -   x\nb            up  yy\n"
        );
    }
}
