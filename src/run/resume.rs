//! What an interrupted run has already, read from its record.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::plan::CaseId;
use crate::record::jsonl::{self, RecordError};
use crate::record::{Line, Outcome, RunHeader};

/// The finished part of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// Cells that need no further visit in a replicate.
    finished: HashSet<(CaseId, u32)>,
    /// Cells that need none in any.
    skipped: HashSet<CaseId>,
    /// Recorded repetitions by cell and replicate.
    pub repetitions: HashMap<(CaseId, u32), u32>,
    /// The first worker number not yet used.
    pub next_worker: u32,
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
                *self
                    .repetitions
                    .entry((r.case_id, r.replicate))
                    .or_default() += 1;
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
            Line::Run(_) | Line::End(_) => {}
        }
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
