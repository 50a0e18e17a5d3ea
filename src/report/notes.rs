//! What stands below the table: footnotes to cells, the run's warnings, and what to do next.

use std::collections::BTreeMap;

use super::cells;
use super::outputs;
use super::suggest::Suggestion;
use super::table::{Note, Tone};
use super::text::{brief, plural};
use super::view::{AnyCell, CellOutcome, CellView, CellWarning, RunView};
use crate::plan::{Case, CaseId, remedy};
use crate::record::Outcome;
use crate::units;

/// The most columns of a note, before it is wrapped: engines and servers may have much to say.
const NOTE_COLUMNS: usize = 600;

/// Footnotes, each once, and the cells' marks that point to them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Notes {
    footnotes: Vec<CellWarning>,
    marks: BTreeMap<CaseId, String>,
}

impl Notes {
    /// Numbers the warnings of a view's cells; one that several cells share is counted over all of them. That the
    /// steps are few is said by what is n/a, not by a mark at nearly every cell of a quick run.
    pub fn of(view: &RunView) -> Self {
        let mut notes = Self::default();
        for cell in &view.cells {
            let is_marked = |w: &&CellWarning| !matches!(w, CellWarning::FewSteps { .. });
            let marked = cell.warnings.iter().filter(is_marked);
            let mut numbers: Vec<usize> = marked.map(|w| notes.number(w)).collect();
            numbers.sort_unstable();
            let marks: Vec<String> = numbers.iter().map(usize::to_string).collect();
            notes.marks.insert(cell.case_id.clone(), marks.join(","));
        }
        notes
    }

    fn number(&mut self, warning: &CellWarning) -> usize {
        let mut known = self.footnotes.iter_mut();
        let at = known.position(|known| known.absorb(warning));
        at.unwrap_or_else(|| {
            self.footnotes.push(warning.clone());
            self.footnotes.len() - 1
        }) + 1
    }

    /// The numbers of a cell's footnotes; empty where it has none.
    pub fn mark(&self, cell: &CellView) -> &str {
        self.marks.get(&cell.case_id).map_or("", String::as_str)
    }

    /// The footnotes with their numbers.
    pub fn footnotes(&self) -> impl Iterator<Item = Note> {
        let numbered = (1..).zip(&self.footnotes);
        numbered.map(|(number, warning): (u32, _)| {
            let text = match warning {
                // The counts are over the cells that have this mark.
                CellWarning::Host { .. } => format!("marked cells: {warning}"),
                _ => warning.to_string(),
            };
            let text = brief(&text, NOTE_COLUMNS);
            Note::new(&format!("[{number}]"), text).tone(Tone::Caution)
        })
    }
}

/// What makes the whole run deserve less trust.
pub fn run_warnings(view: &RunView) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    match &view.end {
        None if view.header.imported.is_some() => {}
        None => {
            texts.push("the run has not ended: it is still running, or it was cut off".to_owned())
        }
        Some(end) if end.interrupted => texts.push("the run was interrupted".to_owned()),
        Some(_) => {}
    }
    if let n @ 1.. = view.header.n_repeated_lines {
        texts.push(format!(
            "{} in the record and counted once; the record was copied or joined wrongly",
            plural(n, "line is repeated", "lines are repeated")
        ));
    }
    texts.extend(outputs::wrong_of_run(view));
    let imported = view.header.imported.as_ref();
    match imported {
        None => texts.extend(cells::without_p99(view)),
        Some(of) => texts.push(format!(
            "{} does not record single steps, memory or the machine's other work: what needs them is n/a{}",
            of.tool,
            match of.has_means_only {
                true => "; this file has means over repetitions only, and each counts as one repetition",
                false => "",
            }
        )),
    }
    for warning in &view.header.warnings {
        let text = brief(&warning.to_string(), NOTE_COLUMNS);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// Whether a cell is shown by its figures rather than by its outcome.
pub fn is_row(cell: &CellView) -> bool {
    cell.outcome == CellOutcome::Measured
}

/// The outcome of a cell that has no row of figures, with what was measured all the same.
pub fn outcome(cell: &CellView) -> String {
    let partly = cell.decode_tokens_per_s().map(|rate| {
        let n = plural(cell.n_repetitions, "repetition", "repetitions");
        format!("; {n} before gave {} t/s", units::significant(rate))
    });
    let detail = brief(&cell.outcome_detail, NOTE_COLUMNS);
    detail + &partly.unwrap_or_default()
}

/// What the words above the columns mean.
pub const LEGEND: &str = "t/s is of all sequences of the batch. ±95% is how far the 95% interval of the figure before it reaches. Step: the time between two \
     tokens of a sequence. TTFT: the batch is prefilled jointly, so it is the time until its last sequence has a token.";

/// What helps cells that do not fit, as far as they do not have it already. Of each, whether it is a device that lacks
/// memory.
pub fn to_fit<'a>(cells: impl IntoIterator<Item = (&'a Case, bool)>) -> String {
    let (cases, on_device): (Vec<&Case>, Vec<bool>) = cells.into_iter().unzip();
    match remedy::of_memory(cases, on_device.contains(&true)) {
        Some(remedy) => format!("cells that do not fit need less memory with {remedy}"),
        None => {
            "cells that do not fit need a smaller model, or a machine with more memory".to_owned()
        }
    }
}

/// Where the record is, and what can be done next.
pub fn record_and_next(view: &RunView) -> Vec<Note> {
    let record = Note::whole("record", view.record.display().to_string());
    let next = |(text, command)| Note::new("next", text).command(command);
    let steps = next_steps(view).into_iter().map(next);
    std::iter::once(record).chain(steps).collect()
}

/// What can be done next, most urgent first: a sentence, and the command for it.
pub fn next_steps(view: &RunView) -> Vec<(String, Option<String>)> {
    let mut steps = Vec::new();
    // A side of a pair took turns with the other: by itself it is not gone on with.
    if view.can_be_resumed() && view.header.pair.is_none() {
        let command = Suggestion::new(None).word("--resume").path(view.folder());
        let text = "measure what is missing or failed:".to_owned();
        steps.push((text, Some(command.to_string())));
    }
    let is_left_out = |cell: AnyCell<'_>| match cell {
        AnyCell::Requests(job) => job.never_served.as_ref().is_some_and(Outcome::is_failure),
        AnyCell::Batch(_) | AnyCell::Quality(_) => false,
    };
    if view.every_cell().any(is_left_out) {
        let text = "a model that could not be loaded is left out of the run, also when it is resumed: measure it in a run of its own";
        steps.push((text.to_owned(), None));
    }
    let timed_out = |cell: &CellView| {
        let mut failures = cell.failures.iter();
        let is_measured = cell.outcome == CellOutcome::Measured;
        !is_measured && failures.any(|f| matches!(f.outcome, Outcome::TimedOut { .. }))
    };
    if view.cells.iter().any(timed_out) {
        let text = "a process that does not answer in time waits, as a rule, for a core that another program has: its threads wait for each \
                    other at every step. Close other programs (`ggufbench doctor` names them), use fewer --threads, or give it more time \
                    with --timeout";
        steps.push((text.to_owned(), None));
    }
    let mut too_large = view
        .every_cell()
        .filter_map(|cell| Some((cell.case(), cell.lacks_device_memory()?)))
        .peekable();
    if too_large.peek().is_some() {
        steps.push((to_fit(too_large), None));
    }
    steps
}
