//! `report`: the table of a run that was made before.

use std::path::Path;

use anyhow::{Context, Result};

use super::DONE;
use crate::cli::Output;
use crate::report::{self, view::RunView};

/// Prints a run's table.
///
/// # Errors
/// When the record cannot be read or standard output is closed.
pub fn report(run: &Path, output: Output) -> Result<u8> {
    let view = RunView::read(run)?;
    report::print(&view, output, &mut std::io::stdout().lock())
        .context("cannot write to standard output")?;
    Ok(DONE)
}
