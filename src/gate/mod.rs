//! The night's verdict: is any cell slower than the baseline by more than the tolerance?
//!
//! Three answers, because too little data is none of the two others. METHODOLOGY.md, section "The gate", has the rule, its
//! false alarms and its power, simulated in `simulation.rs`. Needs records only: who can measure again hands in how.

mod baseline;
pub mod drift;
mod look;
mod rule;
#[cfg(test)]
mod simulation;
pub mod trial;
mod verdict;

use crate::compare::change::Change;
use crate::compare::difference::Difference;
use crate::compare::log_times;
use crate::compare::samples::Samples;
use crate::compare::side::Side;
use crate::plan::{Case, CaseId};
use baseline::cell_beside;
use look::{Look, look};

pub use baseline::{Against, Baseline, MIN_NIGHTS};
pub use rule::{CellVerdict, Doubt, Rule};
pub use verdict::{CellResult, GateReport, NightSd, NightVerdict, RerunResult};

/// A night that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Another machine's figures say nothing about tonight.
    #[error(
        "{baseline}: was measured on another machine ({theirs}) than {run} ({ours}); promote a run of this machine"
    )]
    OtherMachine {
        /// The baseline.
        baseline: String,
        /// Tonight's run.
        run: String,
        /// The baseline's fingerprint.
        theirs: String,
        /// Tonight's.
        ours: String,
    },
    /// No cell to judge.
    #[error(
        "{run}: has no measured cell in common with {baseline}; promote a run of the same plan"
    )]
    NothingInCommon {
        /// Tonight's run.
        run: String,
        /// The baseline.
        baseline: String,
    },
    /// A confirmation must be another run.
    #[error("{0}: is the very run that it should confirm; measure again")]
    NotIndependent(String),
}

/// What was measured to confirm.
#[derive(Debug, Clone)]
pub struct Again {
    /// The suspected cells, as an independent run of the same kind.
    pub run: Side,
    /// What it is held against, where that was measured again too: the other side of a pair.
    pub baseline: Option<Baseline>,
}

impl From<Side> for Again {
    fn from(run: Side) -> Self {
        Self {
            run,
            baseline: None,
        }
    }
}

/// Measures some cells again.
pub type Rerun<'a, E> = &'a mut dyn FnMut(&[Case]) -> Result<Again, E>;

/// Judges a night. `rerun` is asked at most once, and only for suspected cells.
///
/// # Errors
/// [`GateError`], or the rerun's.
pub fn gate<E: From<GateError>>(
    run: &Side,
    baseline: &Baseline,
    rule: &Rule,
    rerun: Option<Rerun<'_, E>>,
) -> Result<GateReport, E> {
    let mut report = first_look(run, baseline, rule)?;
    let suspects = report.suspects();
    if let (Some(rerun), false) = (rerun, suspects.is_empty()) {
        let again = rerun(&suspects)?;
        if again.run.is_paired_with(run) {
            return Err(GateError::NotIndependent(again.run.label).into());
        }
        let baseline = again.baseline.as_ref().unwrap_or(baseline);
        confirm(&mut report, &again.run, baseline);
    }
    Ok(report)
}

fn first_look(run: &Side, baseline: &Baseline, rule: &Rule) -> Result<GateReport, GateError> {
    for side in baseline.sides() {
        let (theirs, ours) = (
            &side.header.machine.fingerprint,
            &run.header.machine.fingerprint,
        );
        if theirs != ours {
            return Err(GateError::OtherMachine {
                baseline: side.label.clone(),
                run: run.label.clone(),
                theirs: theirs.clone(),
                ours: ours.clone(),
            });
        }
    }
    let looks = look(run, run.cells.iter(), baseline, rule);
    let foremost = baseline.foremost();
    if looks.is_empty() {
        return Err(GateError::NothingInCommon {
            run: run.label.clone(),
            baseline: foremost.map_or_else(|| "no run at all".to_owned(), |s| s.label.clone()),
        });
    }
    let cells: Vec<CellResult> = looks.iter().map(|look| result(look, run)).collect();
    let is_new = |case: &&Case| !cells.iter().any(|c| c.case == **case);
    let mut report = GateReport {
        run: run.label.clone(),
        baseline: baseline.sides().iter().map(|s| s.label.clone()).collect(),
        rule: *rule,
        differences: foremost.map_or_else(Vec::new, |side| {
            Difference::between(&side.header, &run.header, run.cases())
        }),
        missing: missing(run, baseline),
        new: run.cases().filter(is_new).map(Case::id).collect(),
        cells,
        rerun: None,
        drift: None,
        verdict: NightVerdict::Inconclusive,
    };
    report.conclude();
    Ok(report)
}

/// Cells of any of the baseline's nights: one that lacks a cell as well must not make its absence normal.
fn missing(run: &Side, baseline: &Baseline) -> Vec<CaseId> {
    let mut missing: Vec<CaseId> = Vec::new();
    for side in baseline.sides() {
        let gone = side
            .cases()
            .filter(|case| cell_beside(run, side, case).is_none());
        for id in gone.map(Case::id) {
            if !missing.contains(&id) {
                missing.push(id);
            }
        }
    }
    missing
}

fn result(look: &Look<'_>, run: &Side) -> CellResult {
    let (samples, judged) = (look.samples, look.judged);
    CellResult {
        case: samples.case.clone(),
        case_id: samples.case.id(),
        against: look.evidence.against,
        n_processes: log_times(run.metric, samples).len(),
        disturbed: look.tonight,
        disturbed_baseline: look.baseline,
        slowdown: look.evidence.change.as_ref().map(Change::slowdown),
        p: judged.p,
        p_adjusted: judged.p_adjusted,
        p_night: judged.p_night,
        night_sd: look.evidence.night.map(|night| NightSd {
            sd: night.variance.value.sqrt(),
            nights: night.nights,
        }),
        verdict: judged.verdict,
        doubt: judged.doubt,
        more_processes: judged.more_processes,
        rerun: None,
    }
}

/// Takes a rerun of the suspected cells in: what is not seen again is inconclusive.
fn confirm(report: &mut GateReport, again: &Side, baseline: &Baseline) {
    let rule = Rule {
        alpha: report.rule.confirm_alpha,
        ..report.rule
    };
    let suspected = |cell: &&mut CellResult| cell.verdict == CellVerdict::Suspected;
    let suspects: Vec<&mut CellResult> = report.cells.iter_mut().filter(suspected).collect();
    let measured: Vec<Samples> = suspects
        .iter()
        .map(|cell| again.cell(&cell.case).cloned())
        .zip(&suspects)
        .map(|(samples, cell)| samples.unwrap_or_else(|| Samples::none(&cell.case)))
        .collect();
    let looks = look(again, measured.iter(), baseline, &rule);
    for cell in suspects {
        let seen = looks.iter().find(|look| look.samples.case == cell.case);
        cell.rerun = Some(RerunResult {
            slowdown: seen.and_then(|look| Some(look.evidence.change.as_ref()?.slowdown())),
            p_adjusted: seen.and_then(|look| look.judged.p_adjusted),
        });
        (cell.verdict, cell.doubt) = match seen.map(|look| look.judged) {
            Some(judged) if judged.verdict == CellVerdict::Suspected => {
                (CellVerdict::Regression, None)
            }
            judged => (
                CellVerdict::Inconclusive,
                judged.and_then(|j| j.doubt).or(Some(Doubt::NotSeenAgain)),
            ),
        };
    }
    report.rerun = Some(again.header.run.clone());
    report.conclude();
}

#[cfg(test)]
mod tests;
