//! The night's verdict: is any cell slower than the baseline by more than the tolerance?
//!
//! A cell is a batch, or a job of requests at a target. Insufficient data is neither a pass nor a regression, so there are three
//! answers. A run can also be held against limits in absolute values, with or without a baseline. METHODOLOGY.md, section "The gate",
//! has the rule, its false alarms and its power, simulated in `simulation.rs`. Only records are needed; the caller supplies the function
//! that measures again.

mod baseline;
pub mod drift;
mod judged_cell;
mod required;
mod rule;
mod scores;
#[cfg(test)]
mod simulation;
pub mod trial;
mod verdict;

use crate::compare::change::Change;
use crate::compare::output::{ComparedOutputs, compared_outputs};
use crate::compare::pair;
use crate::compare::samples::{CellKey, Samples};
use crate::compare::side::Side;
use crate::compare::{differences, log_times};
use crate::metric::Metric;
use crate::plan::CaseId;
use crate::stats::summary::{mean, median};
use baseline::cell_beside;
use judged_cell::{JudgedCell, judge_cells};

pub use baseline::{Baseline, BaselineUnits, MIN_NIGHTS};
pub use required::{LimitVerdict, RequiredResult, Requirement};
pub use rule::{CellVerdict, Doubt, Rule};
pub use verdict::{CellResult, GateReport, NightSd, NightVerdict, RerunResult};

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(
        "{baseline}: was measured on another machine ({theirs}) than {run} ({ours}); promote a run of this machine"
    )]
    OtherMachine {
        baseline: String,
        run: String,
        theirs: String,
        ours: String,
    },
    /// The metric is of work that the baseline does not have.
    #[error(
        "{baseline}: has no {work}, but {run} is judged by {metric}, a metric of {work}; name another baseline or another --metric, or \
         promote a run of the same plan"
    )]
    OtherWork {
        baseline: String,
        run: String,
        metric: Metric,
        /// `requests` or `cells`.
        work: &'static str,
    },
    #[error(
        "{run}: has no measured cell in common with {baseline}; promote a run of the same plan"
    )]
    NothingInCommon { run: String, baseline: String },
    #[error(
        "{baseline}: scored another text ({theirs}) than {run} ({ours}); promote a run of the same text"
    )]
    OtherText {
        baseline: String,
        run: String,
        theirs: String,
        ours: String,
    },
    #[error("{0}: is the same run that it should confirm; measure again")]
    NotIndependent(String),
}

/// What was measured to confirm a suspicion.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The suspected cells, measured in an independent run.
    pub run: Side,
    /// The baseline, where it was measured again too: the other side of a pair.
    pub baseline: Option<Baseline>,
}

impl From<Side> for Confirmation {
    fn from(run: Side) -> Self {
        Self {
            run,
            baseline: None,
        }
    }
}

pub type Rerun<'a, E> = &'a mut dyn FnMut(&[CellKey]) -> Result<Confirmation, E>;

/// Judges a night. `rerun` is called at most once, and only with suspected cells.
///
/// # Errors
/// [`GateError`], or the rerun's.
pub fn gate<E: From<GateError>>(
    run: &Side,
    baseline: &Baseline,
    rule: &Rule,
    rerun: Option<Rerun<'_, E>>,
) -> Result<GateReport, E> {
    let mut report = judge_night(run, baseline, rule)?;
    // A score is computed without chance, so measuring again shows nothing new.
    let rerun = rerun.filter(|_| !run.metric.is_of_quality());
    if rerun.is_some() {
        report.suspect_regressions();
    }
    let suspects = report.suspects();
    if let (Some(rerun), false) = (rerun, suspects.is_empty()) {
        let again = rerun(&suspects)?;
        if again.run.is_paired_with(run) {
            return Err(GateError::NotIndependent(again.run.label).into());
        }
        let baseline = again.baseline.as_ref().unwrap_or(baseline);
        check_comparable(&again.run, baseline)?;
        confirm(&mut report, &again.run, baseline);
    }
    Ok(report)
}

fn check_comparable(run: &Side, baseline: &Baseline) -> Result<(), GateError> {
    for side in baseline.sides() {
        if !side.has_work() {
            return Err(GateError::OtherWork {
                baseline: side.label.clone(),
                run: run.label.clone(),
                metric: run.metric,
                work: run.metric.work(),
            });
        }
        let (theirs, ours) = (side.header.hardware(), run.header.hardware());
        if theirs != ours {
            return Err(GateError::OtherMachine {
                baseline: side.label.clone(),
                run: run.label.clone(),
                theirs,
                ours,
            });
        }
    }
    same_text(run, baseline)
}

fn same_text(run: &Side, baseline: &Baseline) -> Result<(), GateError> {
    let text = |side: &Side| {
        let plan = side.header.quality.as_ref();
        plan.map_or_else(String::new, |plan| plan.text.clone())
    };
    let is_other = |side: &&Side| run.metric.is_of_quality() && !side.is_paired_with(run);
    match baseline.sides().iter().find(is_other) {
        None => Ok(()),
        Some(side) => Err(GateError::OtherText {
            baseline: side.label.clone(),
            run: run.label.clone(),
            theirs: text(side),
            ours: text(run),
        }),
    }
}

fn judge_night(run: &Side, baseline: &Baseline, rule: &Rule) -> Result<GateReport, GateError> {
    check_comparable(run, baseline)?;
    let measured = run.cells.iter();
    let measured = measured.filter(|cell| scores::is_judged(run, &cell.key));
    let judged = judge_cells(run, measured, baseline, rule);
    let foremost = baseline.foremost();
    if judged.is_empty() {
        return Err(GateError::NothingInCommon {
            run: run.label.clone(),
            baseline: foremost.map_or_else(|| "an empty baseline".to_owned(), |s| s.label.clone()),
        });
    }
    let cells: Vec<CellResult> = judged
        .iter()
        .map(|cell| result(cell, run, baseline))
        .collect();
    let is_new =
        |key: &&CellKey| !cells.iter().any(|c| c.key == **key) && scores::is_judged(run, key);
    let cases: Vec<_> = run.cases().cloned().collect();
    let mut report = GateReport {
        run: run.label.clone(),
        baseline: baseline.sides().iter().map(|s| s.label.clone()).collect(),
        metric: run.metric,
        has_unjudged_requests: run.header.requests.is_some() && !run.metric.is_of_requests(),
        has_unjudged_quality: run.header.quality.is_some() && !run.metric.is_of_quality(),
        rounding: baseline.sides().last().and_then(scores::rounding),
        rule: *rule,
        differences: foremost.map_or_else(Vec::new, |side| differences(side, run, &cases)),
        missing: missing(run, baseline),
        new: run.keys().filter(is_new).map(CellKey::name).collect(),
        cells,
        outputs: outputs(run, baseline),
        rerun: None,
        drift: None,
        required: Vec::new(),
        verdict: NightVerdict::Inconclusive,
    };
    report.conclude();
    Ok(report)
}

/// A night without a baseline, of which limits in absolute values are judged.
pub fn without_baseline(run: &Side, rule: &Rule) -> GateReport {
    GateReport {
        run: run.label.clone(),
        baseline: Vec::new(),
        metric: run.metric,
        has_unjudged_requests: false,
        has_unjudged_quality: false,
        rounding: None,
        rule: *rule,
        differences: Vec::new(),
        cells: Vec::new(),
        missing: Vec::new(),
        new: Vec::new(),
        outputs: None,
        rerun: None,
        drift: None,
        required: Vec::new(),
        verdict: NightVerdict::Inconclusive,
    }
}

/// Tonight's outputs against those of the newest night of the baseline that has any.
fn outputs(run: &Side, baseline: &Baseline) -> Option<ComparedOutputs> {
    let base = baseline.with_outputs()?;
    let beside = |key| Some((&cell_beside(base, run, key)?.key.case, &key.case));
    compared_outputs(base, run, run.keys().filter_map(beside))
}

/// Cells of any of the baseline's nights: one that lacks a cell as well must not make its absence normal.
fn missing(run: &Side, baseline: &Baseline) -> Vec<CaseId> {
    let mut missing: Vec<CaseId> = Vec::new();
    for side in baseline.sides() {
        let gone = side
            .keys()
            .filter(|key| cell_beside(run, side, key).is_none() && scores::is_judged(side, key));
        for id in gone.map(CellKey::name) {
            if !missing.contains(&id) {
                missing.push(id);
            }
        }
    }
    missing
}

fn result(cell: &JudgedCell<'_>, run: &Side, baseline: &Baseline) -> CellResult {
    let (samples, evidence, outcome) = (cell.samples, &cell.evidence, cell.outcome);
    let held = baseline.held_against(&samples.key, run);
    let before = held
        .iter()
        .filter_map(|(_, samples)| level(run.metric, samples));
    CellResult {
        key: samples.key.clone(),
        case_id: samples.key.name(),
        against: evidence.against,
        value_before: median(&before.collect::<Vec<_>>()),
        value: level(run.metric, samples),
        n_processes: log_times(run.metric, samples).len(),
        disturbed: cell.tonight,
        disturbed_baseline: cell.baseline,
        slowdown: match &evidence.pairs {
            Some(decision) => pair::slowdown(decision),
            None => evidence.change.as_ref().map(Change::slowdown),
        },
        pairs: evidence.pairs,
        p: outcome.p,
        p_adjusted: outcome.p_adjusted,
        p_night: outcome.p_night,
        night_sd: evidence.night.map(|night| NightSd {
            sd: night.variance.value.sqrt(),
            nights: night.nights,
        }),
        verdict: outcome.verdict,
        doubt: outcome.doubt,
        more_processes: outcome.more_processes,
        rerun: None,
    }
}

/// A cell's value: the median over processes, or, as reports have it, the figure over all chunks of a text.
fn level(metric: Metric, samples: &Samples) -> Option<f64> {
    if !metric.is_of_quality() {
        return samples.median();
    }
    let chunks: Vec<f64> = samples.medians().into_values().collect();
    let of = |there: fn(f64) -> f64, back: fn(f64) -> f64| {
        let scaled: Vec<f64> = chunks.iter().map(|value| there(*value)).collect();
        mean(&scaled).map(back)
    };
    match metric {
        Metric::Perplexity => of(f64::ln, f64::exp),
        Metric::RightTokenRms => of(|rms| rms * rms, f64::sqrt),
        _ => mean(&chunks),
    }
}

/// Applies a rerun to the suspected cells: what it does not show is inconclusive.
fn confirm(report: &mut GateReport, again: &Side, baseline: &Baseline) {
    let rule = Rule {
        alpha: report.rule.confirm_alpha,
        ..report.rule
    };
    let suspected = |cell: &&mut CellResult| cell.verdict == CellVerdict::Suspected;
    let suspects: Vec<&mut CellResult> = report.cells.iter_mut().filter(suspected).collect();
    let measured: Vec<Samples> = suspects
        .iter()
        .map(|cell| {
            let samples = again.cell(&cell.key).cloned();
            samples.unwrap_or_else(|| Samples::of(cell.key.clone()))
        })
        .collect();
    let judged = judge_cells(again, measured.iter(), baseline, &rule);
    for cell in suspects {
        let seen = judged.iter().find(|seen| seen.samples.key == cell.key);
        cell.rerun = Some(RerunResult {
            slowdown: seen.and_then(|seen| match &seen.evidence.pairs {
                Some(decision) => pair::slowdown(decision),
                None => Some(seen.evidence.change.as_ref()?.slowdown()),
            }),
            p_adjusted: seen.and_then(|seen| seen.outcome.p_adjusted),
        });
        (cell.verdict, cell.doubt) = match seen.map(|seen| seen.outcome) {
            Some(outcome)
                if matches!(
                    outcome.verdict,
                    CellVerdict::Suspected | CellVerdict::Regression
                ) =>
            {
                (CellVerdict::Regression, None)
            }
            _ if again.cell(&cell.key).is_none() => {
                (CellVerdict::Inconclusive, Some(Doubt::NotMeasuredAgain))
            }
            Some(outcome) if outcome.verdict == CellVerdict::Inconclusive => {
                let undecided = Doubt::UndecidedAgain {
                    more: outcome.more_processes,
                };
                let doubt = outcome.doubt.unwrap_or(undecided);
                (CellVerdict::Inconclusive, Some(doubt))
            }
            _ => (CellVerdict::Inconclusive, Some(Doubt::NotSeenAgain)),
        };
    }
    report.rerun = Some(again.header.run.clone());
    report.conclude();
}

#[cfg(test)]
mod requests_tests;
#[cfg(test)]
mod tests;
