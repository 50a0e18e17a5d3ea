//! What an interrupted run has already, read from its record.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::median_step_ns;
use crate::measure::decode_steps_ns;
use crate::plan::{Case, CaseId};
use crate::record::jsonl::{self, RecordError};
use crate::record::output::OutputLine;
use crate::record::{Line, Outcome, Repetition, RunHeader};

/// The finished part of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// Cells that need no further visit in a replicate.
    finished: HashSet<(CaseId, u32)>,
    /// Cells that need none in any.
    skipped: HashSet<CaseId>,
    /// Recorded repetitions by cell and replicate.
    repetitions: HashMap<(CaseId, u32), Repetitions>,
    /// Settings whose output was checked.
    outputs: HashSet<Case>,
    /// The first worker number not yet used.
    pub next_worker: u32,
}

/// The repetitions of a cell in a replicate.
#[derive(Debug, Clone, Default, PartialEq)]
struct Repetitions {
    n: u32,
    /// Median step of each that has decode calls, nanoseconds.
    median_steps_ns: Vec<f64>,
    /// All decode steps of each that took turns with the other side's, nanoseconds.
    steps_in_turns_ns: Vec<Vec<f64>>,
}

impl Done {
    /// Reads a run's record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(run: &Path) -> Result<(RunHeader, Self), RecordError> {
        let mut done = Self::default();
        let header = jsonl::read(run, |line| done.note(line))?;
        Ok((header, done))
    }

    fn note(&mut self, line: Line) {
        match line {
            Line::Worker(w) => self.next_worker = self.next_worker.max(w.worker + 1),
            Line::Repetition(r) => {
                self.next_worker = self.next_worker.max(r.worker + 1);
                self.note_repetition(&r);
            }
            Line::Cell(c) => match (c.outcome, c.replicate) {
                (Outcome::Measured { .. }, Some(replicate)) => {
                    self.finished.insert((c.case_id, replicate));
                }
                (Outcome::Skipped { .. }, _) => {
                    self.skipped.insert(c.case_id);
                }
                // Failed and interrupted cells are what resuming is for.
                _ => {}
            },
            Line::Output(line) => self.note_output(&line.case),
            // What is left of a run's requests, and of its text, is read by itself.
            Line::Run(_)
            | Line::End(_)
            | Line::Target(_)
            | Line::Request(_)
            | Line::Job(_)
            | Line::Chunk(_)
            | Line::Quality(_) => {}
        }
    }

    /// Takes a repetition in.
    pub fn note_repetition(&mut self, r: &Repetition) {
        let known = self.repetitions.entry((r.case_id.clone(), r.replicate));
        let known = known.or_default();
        known.n += 1;
        known.median_steps_ns.extend(median_step_ns(&r.calls));
        if r.turns.is_some() {
            known.steps_in_turns_ns.push(decode_steps_ns(&r.calls));
        }
    }

    /// The output of a cell's setting is in the record.
    pub fn note_output(&mut self, case: &Case) {
        self.outputs.insert(OutputLine::setting(case));
    }

    /// Whether it is.
    pub fn has_output(&self, case: &Case) -> bool {
        self.outputs.contains(&OutputLine::setting(case))
    }

    /// Repetitions of a cell in a replicate.
    pub fn n_repetitions(&self, id: &CaseId, replicate: u32) -> u32 {
        let known = self.repetitions.get(&(id.clone(), replicate));
        known.map_or(0, |r| r.n)
    }

    /// Their median steps, nanoseconds.
    pub fn median_steps_ns(&self, id: &CaseId, replicate: u32) -> &[f64] {
        let known = self.repetitions.get(&(id.clone(), replicate));
        known.map_or(&[], |r| &r.median_steps_ns)
    }

    /// All decode steps of those that took turns with the other side's, nanoseconds.
    pub fn steps_in_turns_ns(&self, id: &CaseId, replicate: u32) -> &[Vec<f64>] {
        let known = self.repetitions.get(&(id.clone(), replicate));
        known.map_or(&[], |r| &r.steps_in_turns_ns)
    }

    /// Whether a cell is left out of every replicate.
    pub fn is_skipped(&self, id: &CaseId) -> bool {
        self.skipped.contains(id)
    }

    /// A cell needs no further visit in a replicate.
    pub fn finish(&mut self, id: CaseId, replicate: u32) {
        self.finished.insert((id, replicate));
    }

    /// Leaves a cell out of every replicate.
    pub fn skip(&mut self, id: CaseId) {
        self.skipped.insert(id);
    }

    /// Whether a cell needs no further visit in a replicate.
    pub fn is_finished(&self, id: &CaseId, replicate: u32) -> bool {
        self.skipped.contains(id) || self.finished.contains(&(id.clone(), replicate))
    }
}
