//! A cell of any work: a batch, a job of requests at a target, a text that is scored.

use super::requests::JobView;
use super::{CellOutcome, CellView, CellWarning, QualityCellView, RunView};
use crate::plan::Case;
use crate::record::Outcome;
use crate::request::shown_target;

/// A cell, as far as all of them have the same to tell.
#[derive(Debug, Clone, Copy)]
pub enum AnyCell<'a> {
    /// Batches of sequences.
    Batch(&'a CellView),
    /// A job of requests at a target.
    Requests(&'a JobView),
    /// A text that is scored.
    Quality(&'a QualityCellView),
}

impl<'a> AnyCell<'a> {
    /// `smollm2-135m-q4_0/pp32/tg64/b1/d0/t2`, or `classes at in-process`.
    pub fn name(self) -> String {
        match self {
            Self::Batch(cell) => cell.case_id.to_string(),
            Self::Requests(job) => format!("{} at {}", job.job.name, shown_target(&job.target)),
            Self::Quality(cell) => cell.case_id.to_string(),
        }
    }

    /// The setting, and the work where it is a batch or a text.
    pub fn case(self) -> &'a Case {
        match self {
            Self::Batch(cell) => &cell.case,
            Self::Requests(job) => &job.job.case,
            Self::Quality(cell) => &cell.case,
        }
    }

    pub fn outcome(self) -> CellOutcome {
        match self {
            Self::Batch(cell) => cell.outcome,
            Self::Requests(job) => job.outcome,
            Self::Quality(cell) => cell.outcome,
        }
    }

    /// What became of it in words.
    pub fn outcome_detail(self) -> &'a str {
        match self {
            Self::Batch(cell) => &cell.outcome_detail,
            Self::Requests(job) => &job.outcome_detail,
            Self::Quality(cell) => &cell.outcome_detail,
        }
    }

    pub fn is_measured(self) -> bool {
        self.outcome() == CellOutcome::Measured
    }

    /// Repetitions of a batch, rounds of requests. A text is scored once.
    pub fn n_repetitions(self) -> u32 {
        match self {
            Self::Batch(cell) => cell.n_repetitions,
            Self::Requests(job) => u32::try_from(job.rounds.len()).unwrap_or(u32::MAX),
            Self::Quality(_) => 0,
        }
    }

    /// What makes its figures deserve less trust.
    pub fn warnings(self) -> &'a [CellWarning] {
        match self {
            Self::Batch(cell) => &cell.warnings,
            Self::Requests(job) => &job.warnings,
            Self::Quality(_) => &[],
        }
    }

    /// Whether something went wrong, in whichever of its processes or requests. What does not fit is left out as planned.
    pub fn went_wrong(self) -> bool {
        match self {
            Self::Batch(cell) => {
                let mut failures = cell.failures.iter();
                cell.outcome.is_failure() || failures.any(|f| f.outcome.is_failure())
            }
            Self::Requests(job) => job.has_failed(),
            Self::Quality(cell) => cell.outcome.is_failure(),
        }
    }

    /// Whether resuming the run would measure something of it.
    pub fn can_be_resumed(self) -> bool {
        match self {
            Self::Batch(cell) => {
                let is_retried = |outcome: &Outcome| !matches!(outcome, Outcome::Skipped { .. });
                let mut failures = cell.failures.iter();
                cell.outcome.can_be_resumed()
                    || (self.is_measured() && cell.n_replicates < cell.planned_replicates)
                    || failures.any(|f| is_retried(&f.outcome))
            }
            Self::Requests(job) => job.can_be_resumed(),
            Self::Quality(cell) => cell.outcome.can_be_resumed(),
        }
    }

    /// Of a cell that did not fit, or ran out of memory: whether it was a device's memory. `None` of other cells.
    pub fn lacks_device_memory(self) -> Option<bool> {
        let of = |outcome: &Outcome| match outcome {
            Outcome::Skipped { device, .. } => Some(device.is_some()),
            Outcome::Failed { reason } if reason.starts_with("out of memory") => {
                let on_host = reason.starts_with("out of memory on CPU");
                Some(self.case().n_gpu_layers > 0 && !on_host)
            }
            _ => None,
        };
        match self {
            Self::Batch(cell) => {
                let mut failures = cell.failures.iter().filter(|_| !self.is_measured());
                failures.find_map(|failure| of(&failure.outcome))
            }
            Self::Requests(job) => of(job.never_served.as_ref()?),
            Self::Quality(_) => None,
        }
    }
}

impl RunView {
    /// Every cell of whichever work, in the plan's order.
    pub fn every_cell(&self) -> impl Iterator<Item = AnyCell<'_>> {
        let jobs = self.requests.iter().flat_map(|requests| &requests.jobs);
        let texts = self.quality.iter().flat_map(|quality| &quality.cells);
        let batches = self.cells.iter().map(AnyCell::Batch);
        let all = batches.chain(jobs.map(AnyCell::Requests));
        all.chain(texts.map(AnyCell::Quality))
    }

    /// Whether something went wrong in a cell, or an output is wrong.
    pub fn any_failed(&self) -> bool {
        self.every_cell().any(AnyCell::went_wrong)
            || self.outputs.iter().any(|line| !line.checked.is_right())
    }

    /// Whether there is a figure of a cell.
    pub fn any_measured(&self) -> bool {
        self.every_cell().any(AnyCell::is_measured)
    }

    /// Whether resuming the run would have something to do.
    pub fn can_be_resumed(&self) -> bool {
        self.header.imported.is_none() && self.every_cell().any(AnyCell::can_be_resumed)
    }
}
