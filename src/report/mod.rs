//! Everything a user sees of a run, from its record alone: while it goes on ([`progress`]), before it
//! begins ([`dry_run`]), as a table in five forms, and as a lab report ([`lab`]) in two.
//!
//! [`view`] holds every figure; the forms hold no arithmetic, so that they cannot disagree.

pub mod answers;
mod axes;
pub(crate) mod bisect;
mod caption;
mod card;
pub mod ceiling;
mod cells;
pub mod check;
pub mod comparison;
mod csv;
pub mod devices;
pub mod diagnosis;
pub mod dry_run;
mod files;
pub mod json;
pub mod lab;
pub mod night;
mod notes;
pub mod outputs;
mod page;
pub mod prediction;
pub mod progress;
pub mod pull_request;
mod quality;
pub mod requests;
mod row;
mod suggest;
pub mod table;
mod title;
pub mod trend;
pub mod trial;
pub mod vram;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use answers::RunAnswers;
pub(crate) use caption::lines as caption_of;
use cells::Detail;
use clap::ValueEnum;
pub use files::{HTML_NAME, ReportError, ReportFiles, write_files};
pub use requests::rounds_of;
pub use table::Document;
use table::terminal;

use crate::plot;
use crate::text;
pub use crate::view;
#[cfg(test)]
use crate::view::fixture;
use view::RunView;

/// DocumentForm of a run's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people, fitted to the terminal
    #[default]
    Table,
    /// Markdown
    Md,
    /// Comma-separated values, one row a cell, a request, or a quality cell, with a header
    Csv,
    /// One JSON array with an object per cell, per job of requests and target, and per quality cell
    Json,
    /// The same, one JSON object a line
    Jsonl,
}

/// Form of a comparison or a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DocumentForm {
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
    answers: &RunAnswers,
    output: Output,
    out: &mut dyn Write,
) -> io::Result<()> {
    match output {
        Output::Table => {
            let (width, colour) = (terminal::width(), terminal::colour());
            out.write_all(terminal_text(view, width, colour).as_bytes())?;
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

/// The tables of cells, of requests and of quality cells in one stream.
fn csv_tables(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let has_cells = shows_cells(view);
    if has_cells {
        csv::write(view, out)?;
    }
    // An empty line parts one from the next.
    let part = |is_first: bool| if is_first { b"".as_slice() } else { b"\n" };
    if let Some(requests) = &view.requests {
        out.write_all(part(!has_cells))?;
        requests::csv::write(view, requests, out)?;
    }
    if let Some(quality) = &view.quality {
        out.write_all(part(!has_cells && view.requests.is_none()))?;
        quality::csv(view, quality, out)?;
    }
    Ok(())
}

/// Whether a run's cells are shown: a run of requests or of a scored text only has none to show, nor to miss.
fn shows_cells(view: &RunView) -> bool {
    !view.cells.is_empty() || (view.requests.is_none() && view.quality.is_none())
}

/// The tables for people: of cells, of requests, of quality cells.
pub(crate) fn terminal_text(view: &RunView, width: usize, colour: bool) -> String {
    let documents = documents(view, Detail::of_width(width));
    let texts: Vec<String> = documents
        .iter()
        .map(|d| d.terminal(width, colour))
        .collect();
    texts.join("\n")
}

pub(crate) fn markdown_text(view: &RunView) -> String {
    let documents = documents(view, Detail::Wide);
    let texts: Vec<String> = documents.iter().map(Document::markdown).collect();
    texts.join("\n")
}

fn documents(view: &RunView, detail: Detail) -> Vec<Document> {
    let of_cells = shows_cells(view).then(|| cells::document(view, detail));
    let requests = view.requests.iter();
    let of_requests = requests.flat_map(|r| requests::documents(view, r, !shows_cells(view)));
    let is_alone = !shows_cells(view) && view.requests.is_none();
    let quality = view.quality.iter();
    let of_quality = quality.map(|q| quality::document(view, q, is_alone));
    of_cells
        .into_iter()
        .chain(of_requests)
        .chain(of_quality)
        .collect()
}

/// Writes documents, one under the other, in the asked form; `data` is what programs get of them.
///
/// # Errors
/// What the writer says; a closed pipe is one.
pub fn print_documents(
    documents: &[Document],
    data: &impl serde::Serialize,
    form: DocumentForm,
    out: &mut dyn Write,
) -> io::Result<()> {
    let texts = documents.iter().map(|document| match form {
        DocumentForm::Md => document.markdown(),
        _ => document.for_stdout() + "\n",
    });
    match form {
        DocumentForm::Json => json::pretty(data, out)?,
        _ => out.write_all(texts.collect::<Vec<_>>().join("\n").as_bytes())?,
    }
    out.flush()
}

/// Lines of text as HTML: nothing in them is markup, and nothing steers what shows them.
fn html_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plot::escaped).collect();
    lines.join("\n")
}
