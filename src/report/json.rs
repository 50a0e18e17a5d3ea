//! The table for programs: `-o json` is one array, `-o jsonl` one object a line; an object per cell.

use std::io::{self, Write};

use super::notes::run_warnings;
use super::row::rows;
use super::view::RunView;

/// One array, an object a line.
///
/// # Errors
/// What the writer says.
pub fn array(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let mut separator = "[\n";
    for row in rows(view, &run_warnings(view)) {
        out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *out, &row)?;
        separator = ",\n";
    }
    // A plan without a cell is an empty array.
    out.write_all(if separator == "[\n" {
        b"[]\n"
    } else {
        b"\n]\n"
    })
}

/// One object a line.
///
/// # Errors
/// What the writer says.
pub fn lines(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    for row in rows(view, &run_warnings(view)) {
        serde_json::to_writer(&mut *out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
