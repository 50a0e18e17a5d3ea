//! Everything a user sees of a run, from its record alone: while it goes on ([`progress`]), before it
//! begins ([`dry_run`]), and as a table in five forms.
//!
//! [`view`] holds every figure; the forms hold no arithmetic, so that they cannot disagree.

mod axes;
mod caption;
mod columns;
pub mod comparison;
mod csv;
pub mod dry_run;
mod json;
mod markdown;
pub mod night;
mod notes;
pub mod progress;
mod row;
pub mod sheet;
pub mod terminal;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use sheet::Sheet;

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
    /// Comma-separated values, one row a cell, with a header
    Csv,
    /// One JSON array with an object per cell
    Json,
    /// One JSON object a line per cell
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

/// Name of the report inside a run's folder.
pub const FILE_NAME: &str = "report.md";

/// Writes a run's table in the asked form; the one for people fits the terminal of standard output.
///
/// # Errors
/// What the writer says; a closed pipe is one.
pub fn print(view: &RunView, output: Output, out: &mut dyn Write) -> io::Result<()> {
    match output {
        Output::Table => {
            let text = terminal::render(view, terminal::width(), terminal::colour());
            out.write_all(text.as_bytes())?;
        }
        Output::Md => out.write_all(markdown::render(view).as_bytes())?,
        Output::Csv => csv::write(view, out)?,
        Output::Json => json::array(view, out)?,
        Output::Jsonl => json::lines(view, out)?,
    }
    out.flush()
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

/// Writes the files that stand beside a run's record: [`FILE_NAME`].
///
/// # Errors
/// The file system's.
pub fn write_files(view: &RunView, folder: &Path) -> io::Result<()> {
    fs::write(folder.join(FILE_NAME), markdown::render(view))
}
