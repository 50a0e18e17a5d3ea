//! The table for programs: `-o json` is one array, `-o jsonl` one object a line; an object per cell, and after them one
//! per job and target. What has a `case_id` is a cell, what has a `job` is one.

use std::io::{self, Write};

use serde::Serialize;

use super::notes::run_warnings;
use super::requests;
use super::row::rows;
use super::view::RunView;
use crate::text::shown_json;

/// One array, an object a line.
///
/// # Errors
/// What the writer says.
pub fn array(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let mut separator = "[\n";
    each(view, &mut |json| {
        out.write_all(separator.as_bytes())?;
        separator = ",\n";
        out.write_all(json)
    })?;
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
    each(view, &mut |json| {
        out.write_all(json)?;
        out.write_all(b"\n")
    })
}

/// Every object as JSON: cells, then jobs.
fn each(view: &RunView, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    for row in rows(view, &run_warnings(view)) {
        take(&json(&row)?)?;
    }
    if let Some(requests) = &view.requests {
        for row in requests::row::rows(view, requests) {
            take(&json(&row)?)?;
        }
    }
    Ok(())
}

fn json(row: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(shown_json(&serde_json::to_string(row)?).into_bytes())
}

/// Anything as JSON for people and programs: indented, and a line break at its end.
///
/// # Errors
/// What the writer says.
pub fn pretty(data: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(data)?;
    out.write_all(shown_json(&text).as_bytes())?;
    out.write_all(b"\n")
}
