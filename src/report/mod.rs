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
pub mod diagnosis;
pub mod dry_run;
mod json;
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
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use answers::Answers;
use clap::ValueEnum;
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

/// Name of the document inside a run's folder.
pub const FILE_NAME: &str = "report.md";
/// Name of the page inside a run's folder.
pub const HTML_NAME: &str = "report.html";
/// Name of the table of cells inside a run's folder.
pub const CSV_NAME: &str = "cells.csv";
/// Name of the table of requests, beside the table of cells.
pub const REQUESTS_CSV_NAME: &str = "requests.csv";

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
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
            out.write_all(answers.terminal(width).as_bytes())?;
        }
        Output::Md => out.write_all(markdown_text(view).as_bytes())?,
        Output::Csv => {
            if shows_cells(view) {
                csv::write(view, out)?;
            }
            if let Some(requests) = &view.requests {
                // Two tables in one stream: an empty line parts them.
                out.write_all(if shows_cells(view) { b"\n" } else { b"" })?;
                requests::csv::write(view, requests, out)?;
            }
        }
        Output::Json => json::array(view, answers, out)?,
        Output::Jsonl => json::lines(view, answers, out)?,
    }
    out.flush()
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
        Form::Json => {
            serde_json::to_writer_pretty(&mut *out, data)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// Files of a report, where each is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The page.
    pub html: Option<PathBuf>,
    /// The document; its plots go into a folder beside it.
    pub markdown: Option<PathBuf>,
    /// A row for each cell; beside it stands a file with a row for each request, where there are any.
    pub csv: Option<PathBuf>,
}

impl Files {
    /// All of them, under their own names in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            html: Some(folder.join(HTML_NAME)),
            markdown: Some(folder.join(FILE_NAME)),
            csv: Some(folder.join(CSV_NAME)),
        }
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system said no.
    #[error("{path}: cannot write the report: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A plot could not be drawn.
    #[error(transparent)]
    Png(#[from] plot::PngError),
    /// The page could not be made.
    #[error("cannot make the page: {0}")]
    Page(#[from] askama::Error),
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
        serde_json::to_writer_pretty(&mut *out, data)?;
        out.write_all(b"\n")?;
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

/// Writes a run's report: each file as a whole, so that none is ever seen half written. Gives back what was written.
///
/// # Errors
/// [`WriteError`].
pub fn write_files(
    view: &RunView,
    lab: &lab::Lab,
    files: &Files,
) -> Result<Vec<PathBuf>, WriteError> {
    let mut written = Vec::new();
    if let Some(path) = &files.html {
        write(path, page::render(lab, &view.record)?.as_bytes())?;
        written.push(path.clone());
    }
    if let Some(path) = &files.markdown {
        write(path, paper::render(lab).as_bytes())?;
        write_plots(lab, &beside(path).join(paper::PLOTS))?;
        written.push(path.clone());
    }
    if let Some(path) = &files.csv {
        let to = |path: PathBuf, text: io::Result<Vec<u8>>| {
            let text = text.map_err(|source| io_error(&path, source))?;
            write(&path, &text).map(|()| path)
        };
        if shows_cells(view) {
            let mut text = Vec::new();
            let text = csv::write(view, &mut text).map(|()| text);
            written.push(to(path.clone(), text)?);
        }
        if let Some(requests) = &view.requests {
            let mut text = Vec::new();
            let text = requests::csv::write(view, requests, &mut text).map(|()| text);
            written.push(to(beside(path).join(REQUESTS_CSV_NAME), text)?);
        }
    }
    Ok(written)
}

/// Every figure as SVG and PNG; those of an earlier report that this one does not have go.
fn write_plots(lab: &lab::Lab, folder: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(folder).map_err(|source| io_error(folder, source))?;
    let kept: Vec<&str> = lab.figures().map(|f| f.id).collect();
    for id in plot::IDS.iter().filter(|id| !kept.contains(id)) {
        for ending in ["svg", "png"] {
            // It may never have been there.
            let _ = fs::remove_file(folder.join(format!("{id}.{ending}")));
        }
    }
    for figure in lab.figures() {
        let svg = plot::svg(figure, plot::Look::File);
        write(&folder.join(format!("{}.svg", figure.id)), svg.as_bytes())?;
        write(
            &folder.join(format!("{}.png", figure.id)),
            &plot::png(figure)?,
        )?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let whole = || -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(permissions());
        let mut file = builder.tempfile_in(beside(path))?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    whole().map_err(|source| io_error(path, source))
}

/// A report is there to be read by others; temporary files by default are not.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o644)
}

fn beside(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn io_error(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Lines of text as HTML: nothing in them is markup, and nothing steers what shows them.
fn html_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plot::escaped).collect();
    lines.join("\n")
}
