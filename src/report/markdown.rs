//! The table for documents and for `report.md` in a run's folder.

use super::columns::{self, Detail};
use super::notes::{self, Notes};
use super::text::{brief, plain};
use super::view::{CellView, RunView};
use super::{axes, caption};
use crate::plan::Case;

/// The whole report.
pub fn render(view: &RunView) -> String {
    let mut out = format!("# {}\n\n", escaped(&view.header.plan.name));
    for (label, text) in caption::lines(view) {
        out.push_str(&format!("- **{label}**: {}\n", escaped(&text)));
    }
    out.push('\n');
    let notes = Notes::of(view);
    table(view, &notes, &mut out);
    below(view, &notes, &mut out);
    out
}

fn table(view: &RunView, notes: &Notes, out: &mut String) {
    let (columns, n_axes) = columns::of(view, notes, Detail::Wide);
    let cases: Vec<&Case> = view.cells.iter().map(|c| &c.case).collect();
    let models = axes::models(&cases).len() > 1;
    let mut names: Vec<String> = columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.unit).trim().replace("- ", ""))
        .collect();
    let mut rules = vec!["---:"; columns.len()];
    if models {
        names.insert(0, "model".to_owned());
        rules.insert(0, "---");
    }
    line(&names, out);
    line(&rules, out);
    for (at, cell) in view.cells.iter().enumerate() {
        let mut values: Vec<String> = columns
            .iter()
            .map(|c| match c.values.get(at).and_then(Option::as_deref) {
                Some(value) => escaped(value),
                None if c.why_missing.is_some() => "n/a".to_owned(),
                None => String::new(),
            })
            .collect();
        if !notes::is_row(cell) {
            values.truncate(n_axes);
            values.push(outcome(cell));
            values.resize(columns.len(), String::new());
        }
        if models {
            values.insert(0, escaped(&plain(&cell.case.model)));
        }
        line(&values, out);
    }
}

fn outcome(cell: &CellView) -> String {
    escaped(&notes::outcome(cell))
}

fn line(cells: &[impl AsRef<str>], out: &mut String) {
    for cell in cells {
        out.push_str("| ");
        out.push_str(cell.as_ref());
        out.push(' ');
    }
    out.push_str("|\n");
}

fn below(view: &RunView, notes: &Notes, out: &mut String) {
    let mut paragraphs: Vec<String> = Vec::new();
    for (number, text) in notes.footnotes() {
        paragraphs.push(format!("{}{text}", number));
    }
    for text in notes::run_warnings(view) {
        paragraphs.push(format!("Warning: {text}"));
    }
    let (columns, _) = columns::of(view, notes, Detail::Wide);
    if let Some(text) = notes::about_missing(view, &columns) {
        paragraphs.push(format!("n/a: {text}"));
    }
    if view.any_measured() {
        paragraphs.push(notes::LEGEND.to_owned());
    }
    for text in paragraphs {
        out.push_str(&format!("\n{}\n", escaped(&text)));
    }
    for (text, command) in notes::next_steps(view) {
        out.push_str(&format!("\nNext: {}\n", escaped(&text)));
        if let Some(command) = command {
            out.push_str(&format!("\n    {command}\n"));
        }
    }
}

/// The most columns of a text in a document.
const TEXT_COLUMNS: usize = 2000;

/// Text that stays text: no markup, no link, no HTML, no end of a cell.
pub(super) fn escaped(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped("a|b\n<script>`x` [l](u) \\|"),
            "a\\|b &lt;script>\\`x\\` \\[l\\](u) \\\\\\|"
        );
        assert_eq!(escaped("<0.001"), "<0.001");
        assert_eq!(escaped("<0@example.org>"), "&lt;0@example.org>");
    }
}
