//! `report`: the table of a run that was made before.

use std::path::Path;

use anyhow::Result;

use super::{DONE, unless_closed};
use crate::report::{self, Output};
use crate::view::RunView;

/// Prints a run's table.
///
/// # Errors
/// When the record cannot be read or standard output is closed.
pub fn report(run: &Path, output: Output) -> Result<u8> {
    let view = RunView::read(run)?;
    unless_closed(report::print(&view, output, &mut std::io::stdout().lock()))?;
    Ok(DONE)
}
