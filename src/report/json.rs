//! The table for programs: `-o json` is one array, `-o jsonl` one object a line; an object per cell, after them one
//! per job and target, and after these one per quality cell. What has a `case_id` is a cell, what has a `job` is one, what has a
//! `quality_cell` is a quality cell.

use std::io::{self, Write};

use serde::Serialize;

use super::answers::{AnswerRow, RunAnswers};
use super::notes::run_warnings;
use super::quality::QualityRow;
use super::requests::row::JobRow;
use super::row::CellRow;
use super::view::RunView;
use crate::text::shown_json;

/// One array, an object a line.
///
/// # Errors
/// What the writer says.
pub fn array(view: &RunView, answers: &RunAnswers, out: &mut dyn Write) -> io::Result<()> {
    let mut separator = "[\n";
    each(view, answers, &mut |json| {
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
pub fn lines(view: &RunView, answers: &RunAnswers, out: &mut dyn Write) -> io::Result<()> {
    each(view, answers, &mut |json| {
        out.write_all(json)?;
        out.write_all(b"\n")
    })
}

/// A cell, a job or a quality cell, and what its run says.
#[derive(Serialize)]
struct WithAnswers<'a, R> {
    #[serde(flatten)]
    row: R,
    /// The same in every row, as the run's warnings are.
    answers: &'a [AnswerRow<'a>],
}

/// Every object as JSON: cells, then jobs, then quality cells.
fn each(
    view: &RunView,
    answers: &RunAnswers,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let answers = &answers.rows();
    let warnings = run_warnings(view);
    for row in CellRow::all(view, &warnings) {
        take(&json(&WithAnswers { row, answers })?)?;
    }
    if let Some(requests) = &view.requests {
        for row in JobRow::all(view, requests) {
            take(&json(&WithAnswers { row, answers })?)?;
        }
    }
    if let Some(quality) = &view.quality {
        for row in QualityRow::all(view, quality, &warnings) {
            take(&json(&WithAnswers { row, answers })?)?;
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
