//! The evidence of a scored text: what its chunks show, and what the engine's rounding explains.
//!
//! A score is computed without chance. Two nights of an unchanged build have the same scores, so there is no difference between
//! nights and nothing to measure again. Another build may add in another order; the floor shows how much that changes.

use super::rule::Rule;
use crate::compare::change::Change;
use crate::compare::samples::{CellKey, Samples};
use crate::compare::side::Side;
use crate::metric::{Better, Metric};
use crate::record::quality::QualityRole;
use crate::run::stop::LEVEL;
use crate::stats::summary::mean;
use crate::view::quality::FEWEST_CHUNKS;

/// A build that adds in another order has a floor of its own, which may be this much larger.
const FLOORS: f64 = 2.0;

/// The change over the chunks that both sides scored; `None` with fewer than [`FEWEST_CHUNKS`].
///
/// Of perplexity it is the mean change of the negative log likelihood, so that its exponential is the ratio of both perplexities.
/// Of all other metrics it is the logarithm of the ratio of both means, linearised for its error: chunks at the floor would
/// otherwise count as much as those that lose.
pub(super) fn change(metric: Metric, baseline: &Samples, tonight: &Samples) -> Option<Change> {
    let (of_baseline, of_tonight) = (baseline.medians(), tonight.medians());
    let pairs = of_baseline
        .iter()
        .filter_map(|(chunk, a)| Some((*a, *of_tonight.get(chunk)?)));
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    if a.len() < FEWEST_CHUNKS {
        return None;
    }
    let (mean_a, mean_b) = (mean(&a)?, mean(&b)?);
    let log_ratio = (mean_b / mean_a).ln();
    let sign = match metric.better() {
        Better::Lower => 1.0,
        Better::Higher => -1.0,
    };
    let of_chunk = |(a, b): (&f64, &f64)| match metric {
        Metric::Perplexity => b.ln() - a.ln(),
        _ => sign * (log_ratio + b / mean_b - a / mean_a),
    };
    let changes: Vec<f64> = a.iter().zip(&b).map(of_chunk).collect();
    Change::of_mean(&changes, LEVEL)
}

/// The change of a value that the engine's rounding explains, in the metric's unit; `None` for a metric that is no distance from
/// the base.
pub(super) fn rounding(baseline: &Side) -> Option<f64> {
    let least = baseline.metric.resolution()?;
    Some(FLOORS * baseline.floor.unwrap_or(0.0).max(least))
}

/// The same relative to a cell's value.
pub(super) fn relative_rounding(baseline: &Side, samples: &Samples) -> f64 {
    match (rounding(baseline), samples.mean()) {
        (Some(rounding), Some(value)) => rounding / value,
        _ => 0.0,
    }
}

/// The rule for a cell of which rounding explains this relative change.
pub(super) fn rule_with(rule: &Rule, rounding: f64) -> Rule {
    Rule {
        tolerance: rule.tolerance.max(rounding),
        ..*rule
    }
}

/// Whether a cell was planned to have enough chunks to be judged. The floor of one sequence has a single one.
pub(super) fn is_judged(side: &Side, key: &CellKey) -> bool {
    let planned = side.header.quality.iter().flat_map(|plan| &plan.cells);
    let mut few = planned
        .filter(|cell| cell.role == QualityRole::Floor && (cell.n_chunks as usize) < FEWEST_CHUNKS);
    !side.metric.is_of_quality() || !few.any(|cell| cell.case == key.case)
}

#[cfg(test)]
#[path = "scores_tests.rs"]
mod tests;
