//! A against B, cell by cell: the change, its interval, and a verdict.
//!
//! Sides are two runs, or two slices of one run that differ in an axis. METHODOLOGY.md, section "Comparing", says what
//! is computed and why. Records only: neither a model nor an engine is needed.

pub(crate) mod axis;
pub(crate) mod change;
mod comparison;
mod error;
pub(crate) mod output;
pub(crate) mod pair;
pub(crate) mod samples;
pub mod side;
mod verdict;

use std::collections::HashMap;

use crate::metric::Metric;
use crate::plan::Case;
use crate::record::RunHeader;
use crate::record::difference::Difference;
use crate::run::stop::LEVEL;
use crate::stats::rank::cliffs_delta;
use crate::stats::test::benjamini_hochberg;
use axis::{CellAxis, ComparedAxis};
use change::Change;
use output::compared_outputs;
use samples::{CellKey, Samples};
use side::Side;

pub(crate) use comparison::{ComparedCell, Comparison};
pub(crate) use error::CompareError;
pub(crate) use verdict::{
    ChangeVerdict, more_in_short, more_pairs_in_short, percent, would_need_of, would_need_pairs,
};

/// Relative changes up to this do not matter, unless something else is asked for.
pub(crate) const SAME_WITHIN: f64 = 0.03;

/// How sides are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// The axes in which the sides differ on purpose.
    pub axes: Vec<ComparedAxis>,
    /// Relative changes up to this do not matter; positive. `None`: what the pair was measured for, else [`SAME_WITHIN`].
    pub same_within: Option<f64>,
    /// Expected share of false alarms among the rows called faster or slower (Benjamini & Hochberg).
    pub false_discovery_rate: f64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            axes: Vec::new(),
            same_within: None,
            false_discovery_rate: 0.05,
        }
    }
}

/// The two sides to compare: two runs, or slices of one, along the axes of the options, whose values are filled in where
/// a single run has just two.
///
/// # Errors
/// When there are no two sides.
pub fn sides(
    run: &Side,
    other: Option<&Side>,
    options: &mut CompareOptions,
) -> Result<(Side, Side), CompareError> {
    has_values(run)?;
    if let Some(other) = other {
        has_values(other)?;
        return Ok((run.slice(&options.axes, 0)?, other.slice(&options.axes, 1)?));
    }
    if options.axes.is_empty() {
        return Err(CompareError::NoAxis {
            run: run.label.clone(),
            varying: CellAxis::varying(run.keys())
                .iter()
                .map(CellAxis::name)
                .collect(),
        });
    }
    for ComparedAxis { axis, values } in &mut options.axes {
        if values.is_none() {
            let found = axis.values(run.keys());
            let not_two = |found: Vec<String>| CompareError::NotTwoValues {
                run: run.label.clone(),
                axis: axis.name(),
                n: found.len(),
                values: found.join(", "),
            };
            *values = Some(found.try_into().map_err(not_two)?);
        }
        let known = axis.values(run.keys());
        let meant = values
            .as_ref()
            .map(|both| both.each_ref().map(|v| axis.meant(v, &known)));
        if let Some([Some(a), Some(b)]) = meant
            && a == b
        {
            return Err(CompareError::SameValue {
                axis: axis.name(),
                value: a,
                values: known.join(", "),
            });
        }
    }
    Ok((run.slice(&options.axes, 0)?, run.slice(&options.axes, 1)?))
}

/// Checks that a side has values of its metric.
///
/// # Errors
/// When the run has no such work, or nothing that the metric is computed from.
pub(crate) fn has_values(side: &Side) -> Result<(), CompareError> {
    if !side.cells.is_empty() {
        return Ok(());
    }
    let run = side.label.clone();
    let has_requests = side.header.requests.is_some();
    Err(match side.metric {
        Metric::JoulesPerToken => CompareError::NoEnergy { run },
        metric if metric.is_of_requests() && !has_requests => {
            CompareError::NoRequests { run, metric }
        }
        metric if metric.is_of_requests() => CompareError::TooFewAnswers { run, metric },
        metric if metric.is_of_quality() && side.header.quality.is_none() => {
            CompareError::NoQuality { run, metric }
        }
        metric if metric.is_of_quality() => CompareError::NoChunks { run, metric },
        _ if side.header.quality.is_some()
            && !has_requests
            && side.header.plan.cases.is_empty() =>
        {
            CompareError::OnlyQuality { run }
        }
        _ if has_requests && side.header.plan.cases.is_empty() => CompareError::NoCells { run },
        _ => return Ok(()),
    })
}

/// Compares two sides of one metric, as [`sides`] gives them.
///
/// # Errors
/// When there is nothing to compare, or cells cannot be told apart.
pub fn compare(a: &Side, b: &Side, options: &CompareOptions) -> Result<Comparison, CompareError> {
    has_values(a)?;
    has_values(b)?;
    same_text(a, b)?;
    let paired = a.is_paired_with(b);
    let until_decided = pair::tolerance(a, b);
    let same_within = options.same_within.or(until_decided).unwrap_or(SAME_WITHIN);
    let (cells_a, cells_b) = (by_key(a, b, options)?, by_key(b, a, options)?);
    let mut rows = Vec::new();
    let mut changes = Vec::new();
    for (key, cell) in &cells_a.in_order {
        if let Some(other) = cells_b.cells.get(key) {
            let mut row = row(a.metric, cell, other);
            match until_decided {
                Some(_) => pair::judge(&mut row, &pair::log_ratios(a, cell, other), a, same_within),
                None => changes.push(change(a.metric, cell, other, paired)),
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Err(nothing_in_common(a, b));
    }
    if until_decided.is_none() {
        judge(
            &mut rows,
            &changes,
            same_within,
            options.false_discovery_rate,
        );
    }
    let only = |these: &ByKey, those: &ByKey| {
        let alone = these
            .in_order
            .iter()
            .filter(|(key, _)| !those.cells.contains_key(key));
        alone.map(|(_, cell)| cell.key.name()).collect()
    };
    let compared: Vec<Case> = rows.iter().map(|r| r.key.case.clone()).collect();
    Ok(Comparison {
        only_a: only(&cells_a, &cells_b),
        only_b: only(&cells_b, &cells_a),
        differences: differences(a, b, &compared),
        metric: a.metric,
        paired,
        is_same_twice: is_same_twice(&a.header, &b.header),
        same_within,
        until_decided: until_decided.is_some(),
        outputs: compared_outputs(a, b, rows.iter().map(|r| (&r.key.case, &r.key_b.case))),
        price: None,
        a: a.label.clone(),
        b: b.label.clone(),
        rows,
    })
}

/// Checks that scores are of one text.
fn same_text(a: &Side, b: &Side) -> Result<(), CompareError> {
    let texts = (a.header.quality.as_ref(), b.header.quality.as_ref());
    match texts {
        (Some(of_a), Some(of_b))
            if a.metric.is_of_quality() && of_a.text_sha256 != of_b.text_sha256 =>
        {
            Err(CompareError::DifferentTexts {
                a: a.label.clone(),
                b: b.label.clone(),
                text_a: of_a.text.clone(),
                text_b: of_b.text.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// What else differs between the sides.
pub(crate) fn differences(a: &Side, b: &Side, compared: &[Case]) -> Vec<Difference> {
    let mut found = Difference::between(&a.header, &b.header, compared);
    if a.metric.is_of_requests() {
        found.extend(Difference::of_jobs(&a.header, &b.header));
    }
    found
}

/// Whether the sides of a pair are the same program, engine, plan and settings.
fn is_same_twice(a: &RunHeader, b: &RunHeader) -> bool {
    let (Some(of_a), Some(of_b)) = (&a.pair, &b.pair) else {
        return false;
    };
    // A file's times are no difference: one side may have made it for both.
    let bytes = |header: &RunHeader| -> Vec<(String, Option<String>)> {
        let models = header.plan.models.iter();
        models.map(|m| (m.name.clone(), m.sha256.clone())).collect()
    };
    of_a.side != of_b.side
        && of_a.worker_program == of_b.worker_program
        && of_a.worker_engine == of_b.worker_engine
        && a.program == b.program
        && a.engine.is_same_build(&b.engine)
        && a.plan.cases == b.plan.cases
        && a.plan.protocol == b.plan.protocol
        && bytes(a) == bytes(b)
}

/// The change of one cell; `None` with too few processes.
pub(crate) fn change(metric: Metric, a: &Samples, b: &Samples, paired: bool) -> Option<Change> {
    if paired {
        return Change::paired(metric, &a.medians(), &b.medians(), LEVEL);
    }
    Change::independent(&log_times(metric, a), &log_times(metric, b), LEVEL)
}

/// Logarithms of the processes' median times.
pub(crate) fn log_times(metric: Metric, samples: &Samples) -> Vec<f64> {
    let medians = samples.medians().into_values();
    medians.map(|value| metric.log_time(value)).collect()
}

fn row(metric: Metric, a: &Samples, b: &Samples) -> ComparedCell {
    let (logs_a, logs_b) = (log_times(metric, a), log_times(metric, b));
    ComparedCell {
        key: a.key.clone(),
        key_b: b.key.clone(),
        job: a.key.job.as_ref().map(ToString::to_string),
        case_id_a: a.key.name(),
        case_id_b: b.key.name(),
        a: a.median().unwrap_or(f64::NAN),
        b: b.median().unwrap_or(f64::NAN),
        mean_a: a.mean(),
        mean_b: b.mean(),
        n_processes_a: logs_a.len(),
        n_processes_b: logs_b.len(),
        slowdown: None,
        p: None,
        p_adjusted: None,
        cliffs_delta: cliffs_delta(&logs_b, &logs_a),
        pairs: None,
        verdict: ChangeVerdict::CannotTell {
            more_processes: None,
        },
        cost_a: None,
        cost_b: None,
    }
}

/// Fills in change, p-values and verdicts.
fn judge(
    rows: &mut [ComparedCell],
    changes: &[Option<Change>],
    border: f64,
    false_discovery_rate: f64,
) {
    let p_of = |c: &Change| c.p_value(0.0, crate::stats::Alternative::TwoSided);
    let p: Vec<f64> = changes.iter().flatten().map(p_of).collect();
    let mut adjusted = benjamini_hochberg(&p).unwrap_or_default().into_iter();
    // The hardest of the correction's steps, since the step that a row will meet with more data is unknown.
    let hardest = 1.0 - false_discovery_rate / p.len().max(1) as f64;
    for (row, change) in rows.iter_mut().zip(changes) {
        let Some(change) = change else {
            let least = row.n_processes_a.min(row.n_processes_b);
            row.verdict = ChangeVerdict::CannotTell {
                more_processes: Some(3_usize.saturating_sub(least).max(1)),
            };
            continue;
        };
        let slowdown = change.slowdown();
        row.slowdown = Some(slowdown);
        row.p = Some(p_of(change));
        row.p_adjusted = adjusted.next();
        let faster_border = (1.0 + border).recip() - 1.0;
        row.verdict = if faster_border <= slowdown.lo && slowdown.hi <= border {
            ChangeVerdict::Same
        } else if row.p_adjusted.is_some_and(|p| p <= false_discovery_rate) {
            if slowdown.estimate > 0.0 {
                ChangeVerdict::Slower
            } else {
                ChangeVerdict::Faster
            }
        } else {
            let nearest = if slowdown.estimate > 0.0 {
                border
            } else {
                faster_border
            };
            let within = slowdown.estimate.abs() < nearest.abs();
            let borders = [(0.0, hardest), (nearest, LEVEL)];
            ChangeVerdict::CannotTell {
                // Beyond the border, only the difference from nothing remains to be shown.
                more_processes: change.more_processes(&borders[..if within { 2 } else { 1 }]),
            }
        };
    }
}

/// A side's cells by their keys, in which the compared axes have one common value.
struct ByKey<'a> {
    in_order: Vec<(CellKey, &'a Samples)>,
    cells: HashMap<CellKey, &'a Samples>,
}

fn by_key<'a>(
    side: &'a Side,
    other: &Side,
    options: &CompareOptions,
) -> Result<ByKey<'a>, CompareError> {
    // Any cell serves to overwrite the compared axes with, as long as both sides use the same.
    let target = |key: &CellKey| key.job.as_ref().map(|job| job.target.clone());
    let keys = side.keys().chain(other.keys());
    let template = keys.min_by_key(|key| (key.case.id(), target(key)));
    let mut by_key = ByKey {
        in_order: Vec::new(),
        cells: HashMap::new(),
    };
    for cell in &side.cells {
        let mut key = cell.key.clone();
        for compared in &options.axes {
            compared.axis.copy(&mut key, template.unwrap_or(&cell.key));
        }
        if let Some(known) = by_key.cells.insert(key.clone(), cell) {
            let apart = CellAxis::varying([&known.key, &cell.key].into_iter());
            return Err(CompareError::Ambiguous {
                run: side.label.clone(),
                axis: apart.first().map_or("", CellAxis::name),
                a: known.key.name(),
                b: cell.key.name(),
            });
        }
        by_key.in_order.push((key, cell));
    }
    Ok(by_key)
}

fn nothing_in_common(a: &Side, b: &Side) -> CompareError {
    let first = [a, b].into_iter().filter_map(|side| side.keys().next());
    CompareError::NothingInCommon {
        a: a.label.clone(),
        b: b.label.clone(),
        differing: CellAxis::varying(first)
            .iter()
            .map(CellAxis::name)
            .collect(),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
