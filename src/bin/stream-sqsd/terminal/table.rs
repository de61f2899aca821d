//! Tables: aligned and cut to the width of the terminal for people, fields between tabs for programs.

use crate::terminal::screen::{Screen, shown};

/// Between two columns.
const GAP: &str = "  ";

/// No column is cut to less than this.
const NARROWEST: usize = 8;

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
    /// Whether it may be cut where the terminal is too narrow.
    may_be_cut: bool,
}

impl Column {
    /// Text that is never cut, such as an id.
    pub(crate) const fn text(title: &'static str) -> Self {
        Column { title, is_number: false, may_be_cut: false }
    }

    /// Text that is cut where the terminal is too narrow.
    pub(crate) const fn prose(title: &'static str) -> Self {
        Column { title, is_number: false, may_be_cut: true }
    }

    /// A number, which stands to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Column { title, is_number: true, may_be_cut: false }
    }
}

/// A table of texts.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. What cannot be shown safely, and what would begin a new line or column, is escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The table as the screen wants it: for a person aligned and with its titles, elsewhere the rows with tabs between
    /// the fields.
    pub(crate) fn of(&self, screen: &Screen) -> String {
        match screen.width() {
            Some(width) => self.aligned(width, screen.colours_stdout()),
            None => self.rows.iter().map(|row| format!("{}\n", row.join("\t"))).collect(),
        }
    }

    fn aligned(&self, width: usize, colours: bool) -> String {
        let widths = self.widths(width);
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        let line = self.line(&titles, &widths);
        let mut text = if colours { format!("{BOLD}{line}{RESET}\n") } else { format!("{line}\n") };
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cells = cells.iter().zip(widths).zip(&self.columns).map(|((cell, width), column)| {
            let cell = cut(cell, *width);
            if column.is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    }

    /// How wide each column is: as wide as its longest cell, and where that is too much in all, the widest of those that may
    /// be cut gives way first.
    fn widths(&self, limit: usize) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let longest = |(position, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(position)).map(|cell| length(cell));
            cells.max().unwrap_or(0).max(length(column.title))
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(longest).collect();
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
        while excess > 0 {
            let columns = widths.iter_mut().zip(&self.columns);
            let may_give = columns.filter(|(width, column)| column.may_be_cut && **width > NARROWEST);
            let Some((widest, _)) = may_give.max_by_key(|(width, _)| **width) else { break };
            *widest -= 1;
            excess -= 1;
        }
        widths
    }
}

/// The text, or its beginning with a sign that it goes on.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::number("count"), Column::prose("reason"), Column::text("route")]);
        table.row(["500".to_owned(), "the endpoint answered 422 Unprocessable Entity".to_owned(), "hook".to_owned()]);
        table.row(["7".to_owned(), "no\troute\x1b[2J".to_owned(), "-".to_owned()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_the_widest_is_cut() {
        let expected = "count  reason                  route\n  500  the endpoint answered…  hook\n    7  no\\troute\\u{1b}[2J       -\n";
        assert_eq!(table().aligned(36, false), expected);
        let wide = table().aligned(200, true);
        assert!(
            wide.starts_with("\x1b[1mcount  reason") && wide.contains("422 Unprocessable Entity  hook\n"),
            "{wide}"
        );
        assert_eq!(wide.matches('\x1b').count(), 2, "only its own colours: {wide}");
    }

    #[test]
    fn a_terminal_too_narrow_cuts_no_id_and_no_number() {
        let narrow = table().aligned(5, false);
        assert_eq!(narrow.lines().nth(1).unwrap(), "  500  the end…  hook");
    }

    #[test]
    fn one_row_is_one_line_whatever_stands_in_it() {
        let mut table = Table::new(&[Column::text("a"), Column::text("b")]);
        table.row(["x\ny".to_owned(), "\u{202e}z".to_owned()]);
        assert_eq!(table.rows, [["x\\ny".to_owned(), "\\u{202e}z".to_owned()]]);
    }
}
