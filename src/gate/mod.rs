//! The night's verdict: is any cell slower than the baseline by more than the tolerance?
//!
//! Three answers, because too little data is none of the two others. METHODOLOGY.md, section "The gate", has the rule, its
//! false alarms and its power, simulated in `simulation.rs`. Needs records only: who can measure again hands in how.

mod rule;
#[cfg(test)]
mod simulation;

use serde::Serialize;

use crate::compare::change::Change;
use crate::compare::difference::Difference;
use crate::compare::log_times;
use crate::compare::pair;
use crate::compare::side::{Samples, Side};
use crate::plan::{Case, CaseId};
use crate::run::stop::LEVEL;
use crate::stats::Interval;
use rule::judge;

pub use rule::{CellVerdict, Rule};

/// From this many earlier nights on, the night is the unit of evidence.
pub const MIN_NIGHTS: usize = 4;

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

/// What tonight is held against.
#[derive(Debug, Clone)]
pub enum Baseline {
    /// One run: its processes are the units, and what differs between nights is in no error.
    Run(Box<Side>),
    /// Earlier nights, newest first, at least one: from [`MIN_NIGHTS`] of them with the cell, each is one unit;
    /// below, the newest stands alone.
    Nights(Vec<Side>),
}

impl Baseline {
    fn sides(&self) -> &[Side] {
        match self {
            Self::Run(side) => std::slice::from_ref(side),
            Self::Nights(sides) => sides,
        }
    }

    /// The change of a cell tonight, and what it rests on; none when the baseline lacks the cell.
    fn change(&self, tonight: &Samples, run: &Side) -> Option<(Option<Change>, Against)> {
        let with_cell: Vec<(&Side, &Samples)> = self
            .sides()
            .iter()
            .filter_map(|side| Some((side, cell_beside(side, run, &tonight.case)?)))
            .collect();
        if with_cell.len() >= MIN_NIGHTS {
            let log_time = |s: &Samples| s.median().map(|value| run.metric.log_time(value));
            let nights: Vec<f64> = with_cell.iter().filter_map(|(_, s)| log_time(s)).collect();
            let change = log_time(tonight)
                .and_then(|tonight| Change::against_nights(&nights, tonight, LEVEL));
            return Some((change, Against::Nights(nights.len())));
        }
        let (side, samples) = with_cell.first()?;
        let paired = side.is_paired_with(run);
        let change = crate::compare::change(run.metric, samples, tonight, paired);
        let n = log_times(run.metric, samples).len();
        Some((change, Against::Processes(n)))
    }
}

/// The cell of `side` that a case of `run` is held against: the same, but for what differs on purpose in a pair.
fn cell_beside<'a>(side: &'a Side, run: &Side, case: &Case) -> Option<&'a Samples> {
    let axes = match side.is_paired_with(run) {
        true => pair::axes(run.header.pair.as_ref()),
        false => Vec::new(),
    };
    side.cell_beside(case, &axes)
}

/// What a cell was held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// So many processes of one run.
    Processes(usize),
    /// So many nights.
    Nights(usize),
}

/// The night's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NightVerdict {
    /// Every cell passed.
    Pass,
    /// A regression was seen twice.
    Regression,
    /// Neither.
    Inconclusive,
}

impl NightVerdict {
    /// 0, 1 or 3; 2 is an error's.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Regression => 1,
            Self::Inconclusive => 3,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A cell, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellResult {
    /// The cell.
    #[serde(skip)]
    pub case: Case,
    /// Its name.
    pub case_id: CaseId,
    /// What it was held against.
    pub against: Against,
    /// Tonight's processes.
    pub n_processes: usize,
    /// Relative slow-down: 0.1 takes a tenth longer. None with too few processes.
    pub slowdown: Option<Interval>,
    /// One-sided p-value of the null "slower by at most the tolerance".
    pub p: Option<f64>,
    /// The same over all cells, after Holm.
    pub p_adjusted: Option<f64>,
    /// The verdict.
    pub verdict: CellVerdict,
    /// About so many more processes a side would decide an inconclusive cell, when processes are what is missing.
    pub more_processes: Option<usize>,
    /// What the rerun showed of a suspected cell.
    pub rerun: Option<RerunResult>,
}

/// A suspected cell in the rerun.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RerunResult {
    /// Relative slow-down against the same baseline.
    pub slowdown: Option<Interval>,
    /// As [`CellResult::p_adjusted`], over the suspected cells.
    pub p_adjusted: Option<f64>,
}

/// Everything the gate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Tonight's run.
    pub run: String,
    /// The baseline's runs, newest first.
    pub baseline: Vec<String>,
    /// The rule.
    pub rule: Rule,
    /// What else differs from the newest of the baseline.
    pub differences: Vec<Difference>,
    /// The cells on both sides.
    pub cells: Vec<CellResult>,
    /// In the baseline, but not measured tonight.
    pub missing: Vec<CaseId>,
    /// Measured tonight, but not in the baseline.
    pub new: Vec<CaseId>,
    /// The run that was made to confirm, when there was one.
    pub rerun: Option<String>,
    /// The night's verdict.
    pub verdict: NightVerdict,
}

impl GateReport {
    /// Cells that a rerun should confirm.
    pub fn suspects(&self) -> Vec<Case> {
        let suspects = self
            .cells
            .iter()
            .filter(|c| c.verdict == CellVerdict::Suspected);
        suspects.map(|c| c.case.clone()).collect()
    }

    fn conclude(&mut self) {
        let has = |verdict| self.cells.iter().any(|c| c.verdict == verdict);
        self.verdict = if has(CellVerdict::Regression) {
            NightVerdict::Regression
        } else if self.cells.iter().all(|c| c.verdict == CellVerdict::Pass)
            && self.missing.is_empty()
        {
            NightVerdict::Pass
        } else {
            // A cell that could not be measured tonight is no pass either.
            NightVerdict::Inconclusive
        };
    }
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
    let mut cells = Vec::new();
    let mut changes = Vec::new();
    let mut new = Vec::new();
    for samples in &run.cells {
        let Some((change, against)) = baseline.change(samples, run) else {
            new.push(samples.case.id());
            continue;
        };
        cells.push(CellResult {
            case: samples.case.clone(),
            case_id: samples.case.id(),
            against,
            n_processes: log_times(run.metric, samples).len(),
            slowdown: change.as_ref().map(Change::slowdown),
            p: None,
            p_adjusted: None,
            verdict: CellVerdict::Inconclusive,
            more_processes: None,
            rerun: None,
        });
        changes.push(change);
    }
    let newest = baseline.sides().first();
    if cells.is_empty() {
        return Err(GateError::NothingInCommon {
            run: run.label.clone(),
            baseline: newest.map_or_else(|| "no run at all".to_owned(), |s| s.label.clone()),
        });
    }
    for (cell, judged) in cells.iter_mut().zip(judge(&changes, rule)) {
        (cell.p, cell.p_adjusted, cell.verdict) = (judged.p, judged.p_adjusted, judged.verdict);
        cell.more_processes = judged.more_processes;
    }
    // Over all its nights: one that lacks a cell as well must not make its absence normal.
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
    let mut report = GateReport {
        run: run.label.clone(),
        baseline: baseline.sides().iter().map(|s| s.label.clone()).collect(),
        rule: *rule,
        differences: newest.map_or_else(Vec::new, |side| {
            Difference::between(&side.header, &run.header, run.cases())
        }),
        missing,
        cells,
        new,
        rerun: None,
        verdict: NightVerdict::Inconclusive,
    };
    report.conclude();
    Ok(report)
}

/// Takes a rerun of the suspected cells in: what is not seen again is inconclusive.
fn confirm(report: &mut GateReport, again: &Side, baseline: &Baseline) {
    let rule = Rule {
        alpha: report.rule.confirm_alpha,
        ..report.rule
    };
    let change = |cell: &CellResult| baseline.change(again.cell(&cell.case)?, again)?.0;
    let suspected = |cell: &&mut CellResult| cell.verdict == CellVerdict::Suspected;
    let suspects: Vec<&mut CellResult> = report.cells.iter_mut().filter(suspected).collect();
    let changes: Vec<Option<Change>> = suspects.iter().map(|cell| change(cell)).collect();
    for ((cell, change), judged) in suspects
        .into_iter()
        .zip(&changes)
        .zip(judge(&changes, &rule))
    {
        cell.rerun = Some(RerunResult {
            slowdown: change.as_ref().map(Change::slowdown),
            p_adjusted: judged.p_adjusted,
        });
        cell.verdict = match judged.verdict {
            CellVerdict::Suspected => CellVerdict::Regression,
            _ => CellVerdict::Inconclusive,
        };
    }
    report.rerun = Some(again.label.clone());
    report.conclude();
}

#[cfg(test)]
mod tests;
