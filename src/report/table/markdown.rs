//! Tables for documents. They are padded: a document is also read as plain text, in a mail or a log.

use super::{Document, Note, Table};
use crate::text::{brief, plain, width as width_of};

/// The most columns of a text in a document.
const TEXT_COLUMNS: usize = 2000;
/// A value that is wider does not widen its column.
const CELL_COLUMNS: usize = 48;

impl Document {
    /// For documents.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", escaped(&self.title));
        for note in &self.above {
            out += &labelled(&note.label, &note.text);
        }
        out += "\n";
        out += &self.table.markdown();
        let why = self.table.why_missing();
        let why = why.map(|why| Note::new("n/a", why));
        for note in why.iter().chain(&self.below) {
            out += &format!("\n{}{}\n", escaped(&note.lead()), escaped(&note.text));
            if let Some(command) = &note.command {
                out += &format!("\n    {}\n", plain(command));
            }
        }
        out
    }
}

/// A line of the list at a document's beginning.
pub fn labelled(label: &str, text: &str) -> String {
    match label {
        "" => format!("- {}\n", escaped(text)),
        label => format!("- **{label}**: {}\n", escaped(text)),
    }
}

/// A column of a document's table.
struct Padded {
    width: usize,
    is_text: bool,
}

impl Padded {
    fn cell(&self, text: &str) -> String {
        let room = " ".repeat(self.width.saturating_sub(width_of(text)));
        match self.is_text {
            true => format!("| {text}{room} "),
            false => format!("| {room}{text} "),
        }
    }

    fn rule(&self) -> String {
        let end = if self.is_text { '-' } else { ':' };
        format!("| {}{end} ", "-".repeat(self.width - 1))
    }
}

impl Table {
    /// The table alone.
    pub fn markdown(&self) -> String {
        let table = self.with_group_column();
        let heads: Vec<String> = table.columns.iter().map(|c| escaped(&c.head())).collect();
        let rows: Vec<Vec<String>> = (0..table.n_rows())
            .map(|row| table.values(row).map(escaped).collect())
            .collect();
        let columns: Vec<Padded> = (table.columns.iter().zip(&heads).enumerate())
            .map(|(at, (column, head))| {
                let values = rows.iter().filter_map(|values| values.get(at));
                let widths = values
                    .map(|value| width_of(value))
                    .filter(|n| *n <= CELL_COLUMNS);
                Padded {
                    width: widths.fold(width_of(head).max(3), usize::max),
                    is_text: column.is_text,
                }
            })
            .collect();
        let line = |texts: &[String]| {
            let cell = |(at, column): (usize, &Padded)| {
                column.cell(texts.get(at).map_or("", String::as_str))
            };
            columns.iter().enumerate().map(cell).collect::<String>() + "|\n"
        };
        let mut out = line(&heads);
        out += &(columns.iter().map(Padded::rule).collect::<String>() + "|\n");
        for (row, mut values) in rows.into_iter().enumerate() {
            values.extend(table.text_of(row).map(|text| escaped(&text.text)));
            out += &line(&values);
        }
        out
    }
}

/// Text that stays text: no markup, no link, no HTML, no end of a cell.
pub fn escaped(text: &str) -> String {
    let text = brief(text, TEXT_COLUMNS);
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // Before a digit it opens nothing but a mail address: `<0.001` stays readable as plain text.
            '<' if !text.contains('@') && chars.peek().is_some_and(char::is_ascii_digit) => {
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}
