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
            out += &format!("\n{}\n", escaped_line(&note.in_one_line()));
            if let Some(command) = &note.command {
                out += &format!("\n    {}\n", plain(command));
            }
        }
        out
    }
}

/// A line of the list at a document's beginning.
pub(in crate::report) fn labelled(label: &str, text: &str) -> String {
    match label {
        "" => format!("- {}\n", escaped_line(text)),
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

/// Text that stays text on GitHub: no markup, no link, no HTML, no end of a cell. A character that means nothing where it stands
/// is left alone, because a document is also read as plain text: no `_` within `q4_0` can begin emphasis.
pub(in crate::report) fn escaped(text: &str) -> String {
    let text = brief(text, TEXT_COLUMNS);
    let mut safe = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let (before, rest) = (&text[..at], &text[at + c.len_utf8()..]);
        match c {
            // Before a digit it opens nothing but a mail address: `<0.001` stays readable as plain text.
            '<' if !text.contains('@') && rest.starts_with(|c: char| c.is_ascii_digit()) => {
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            c => {
                if is_markup(before, c, rest) {
                    safe.push('\\');
                }
                safe.push(c);
            }
        }
    }
    safe
}

/// Whether a character would be read as markup here: CommonMark with GitHub's strikethrough and bare links.
fn is_markup(before: &str, c: char, rest: &str) -> bool {
    match c {
        '\\' | '`' | '*' | '[' | ']' | '|' | '~' => true,
        '_' => {
            !(before.ends_with(char::is_alphanumeric) && rest.starts_with(char::is_alphanumeric))
        }
        // A bare link begins with a scheme or with `www.`.
        ':' => rest.starts_with("//"),
        '.' => ends_in_www(before),
        // At its end a heading may have more of them, which are not shown.
        '#' => rest.is_empty(),
        _ => false,
    }
}

fn ends_in_www(text: &str) -> bool {
    let start = text.len().checked_sub(3);
    let end = start.and_then(|start| text.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

/// The same at the beginning of a line, where a few characters mean more than elsewhere.
pub(in crate::report) fn escaped_line(text: &str) -> String {
    let safe = escaped(text.trim_start());
    let after_digits = safe.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_numbered = after_digits.len() < safe.len() && after_digits.starts_with(['.', ')']);
    if safe.starts_with(['#', '>', '+', '-', '=']) {
        format!("\\{safe}")
    } else if is_numbered {
        let n_digits = safe.len() - after_digits.len();
        format!("{}\\{after_digits}", &safe[..n_digits])
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_begins_no_heading_list_or_quotation() {
        assert_eq!(escaped_line("# a"), "\\# a");
        assert_eq!(escaped_line("> a"), "\\> a");
        assert_eq!(escaped_line("- a"), "\\- a");
        assert_eq!(escaped_line("1. a"), "1\\. a");
        assert_eq!(escaped_line("1) a"), "1\\) a");
        assert_eq!(escaped_line("1.5 is a number"), "1\\.5 is a number");
        assert_eq!(escaped_line("a # b"), "a # b");
        assert_eq!(escaped_line("    a"), "a", "no code");
        assert_eq!(escaped_line("~~~"), "\\~\\~\\~");
        assert_eq!(escaped_line("___"), "\\_\\_\\_");
    }

    #[test]
    fn underscores_and_tildes_are_text() {
        assert_eq!(escaped("smollm2-135m-q4_0"), "smollm2-135m-q4_0");
        assert_eq!(escaped("größe_日本"), "größe_日本");
        assert_eq!(escaped("_a_ b_c_"), "\\_a\\_ b_c\\_");
        assert_eq!(escaped("__init__"), "\\_\\_init\\_\\_");
        assert_eq!(escaped("out/_a_/b"), "out/\\_a\\_/b");
        assert_eq!(escaped("~a~ ~~b~~"), "\\~a\\~ \\~\\~b\\~\\~");
    }

    #[test]
    fn no_link_begins_by_itself() {
        assert_eq!(escaped("openai:http://h:80/v1"), "openai:http\\://h:80/v1");
        assert_eq!(escaped("HTTPS://h FTP://h"), "HTTPS\\://h FTP\\://h");
        assert_eq!(escaped("www.h.org"), "www\\.h.org");
        assert_eq!(escaped("a: b, ollama:m, 1.5"), "a: b, ollama:m, 1.5");
    }

    #[test]
    fn a_heading_keeps_its_last_character() {
        assert_eq!(escaped("a #"), "a \\#");
        assert_eq!(escaped("#1 of 2"), "#1 of 2");
    }
}
