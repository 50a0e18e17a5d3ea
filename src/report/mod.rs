//! Everything a user sees of a run, from its record alone: while it goes on ([`progress`]), before it
//! begins ([`dry_run`]), as a table in five forms, and as a lab report ([`lab`]) in two.
//!
//! [`view`] holds every figure; the forms hold no arithmetic, so that they cannot disagree.

pub mod answers;
mod axes;
mod caption;
pub mod ceiling;
pub mod check;
mod columns;
pub mod comparison;
mod csv;
pub mod devices;
pub mod diagnosis;
pub mod dry_run;
mod files;
pub mod json;
pub mod lab;
mod markdown;
pub mod night;
mod notes;
pub mod page;
pub mod paper;
pub mod prediction;
pub mod progress;
mod requests;
mod row;
pub mod sheet;
mod suggest;
pub mod terminal;
pub mod trial;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use answers::Answers;
use clap::ValueEnum;
pub use files::{Files, HTML_NAME, WriteError, write_files};
pub use requests::rounds_of;
use sheet::Sheet;

use crate::plot;
use crate::text;
pub use crate::view;
#[cfg(test)]
use crate::view::fixture;
use view::RunView;

/// Form of a run's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people, fitted to the terminal
    #[default]
    Table,
    /// Markdown
    Md,
    /// Comma-separated values, one row a cell, or a request, with a header
    Csv,
    /// One JSON array with an object per cell, and per job of requests and target
    Json,
    /// The same, one JSON object a line
    Jsonl,
}

/// Form of a comparison or a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// For people, fitted to the terminal
    #[default]
    Table,
    /// Markdown
    Md,
    /// One JSON object
    Json,
}

/// Writes a run's table in the asked form, with its answers; the one for people fits the terminal of standard output.
///
/// # Errors
/// What the writer says; a closed pipe is one.
pub fn print(
    view: &RunView,
    answers: &Answers,
    output: Output,
    out: &mut dyn Write,
) -> io::Result<()> {
    match output {
        Output::Table => {
            let (width, colour) = (terminal::width(), terminal::colour());
            let text = terminal_text(view, width, colour);
            // The colours are this program's own: what comes from elsewhere is fit to be shown where it is put in.
            let text = if colour { text } else { text::document(&text) };
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
            out.write_all(answers.terminal(width).as_bytes())?;
        }
        Output::Md => out.write_all(text::document(&markdown_text(view)).as_bytes())?,
        Output::Csv => csv_tables(view, out)?,
        Output::Json => json::array(view, answers, out)?,
        Output::Jsonl => json::lines(view, answers, out)?,
    }
    out.flush()
}

/// The tables of cells and of requests in one stream.
fn csv_tables(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    if shows_cells(view) {
        csv::write(view, out)?;
    }
    if let Some(requests) = &view.requests {
        // An empty line parts the two.
        out.write_all(if shows_cells(view) { b"\n" } else { b"" })?;
        requests::csv::write(view, requests, out)?;
    }
    Ok(())
}

/// Whether a run's cells are shown: a run of requests only has none to show, nor to miss.
fn shows_cells(view: &RunView) -> bool {
    !view.cells.is_empty() || view.requests.is_none()
}

/// The tables for people: of cells, of requests, or of both.
fn terminal_text(view: &RunView, width: usize, colour: bool) -> String {
    let mut parts = Vec::new();
    if shows_cells(view) {
        parts.push(terminal::render(view, width, colour));
    }
    let sheets = request_sheets(view).into_iter();
    parts.extend(sheets.map(|sheet| sheet.terminal(width)));
    parts.join("\n")
}

pub(crate) fn markdown_text(view: &RunView) -> String {
    let mut parts = Vec::new();
    if shows_cells(view) {
        parts.push(markdown::render(view));
    }
    parts.extend(request_sheets(view).iter().map(Sheet::markdown));
    parts.join("\n")
}

fn request_sheets(view: &RunView) -> Vec<Sheet> {
    let requests = view.requests.iter();
    requests
        .flat_map(|r| requests::sheets(view, r, !shows_cells(view)))
        .collect()
}

/// Writes a comparison or a gate's verdict in the asked form: `sheet` for people, `data` for programs.
///
/// # Errors
/// What the writer says; a closed pipe is one.
pub fn print_sheet(
    sheet: &Sheet,
    data: &impl serde::Serialize,
    form: Form,
    out: &mut dyn Write,
) -> io::Result<()> {
    match form {
        Form::Table => out.write_all(sheet.terminal(terminal::width()).as_bytes())?,
        Form::Md => out.write_all(sheet.markdown().as_bytes())?,
        Form::Json => json::pretty(data, out)?,
    }
    out.flush()
}

/// Writes several tables, one under the other, as [`print_sheet`].
///
/// # Errors
/// What the writer says; a closed pipe is one.
pub fn print_sheets(
    sheets: &[Sheet],
    data: &impl serde::Serialize,
    form: Form,
    out: &mut dyn Write,
) -> io::Result<()> {
    if form == Form::Json {
        json::pretty(data, out)?;
        return out.flush();
    }
    for (at, sheet) in sheets.iter().enumerate() {
        let text = match form {
            Form::Md => sheet.markdown(),
            _ => sheet.terminal(terminal::width()),
        };
        let gap: &[u8] = if at > 0 { b"\n" } else { b"" };
        out.write_all(gap)?;
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// Lines of text as HTML: nothing in them is markup, and nothing steers what shows them.
fn html_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plot::escaped).collect();
    lines.join("\n")
}
