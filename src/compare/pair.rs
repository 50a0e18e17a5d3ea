//! The folder of two runs that were measured in turns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::axis::ComparedAxis;
use super::samples::{CellKey, Samples};
use super::side::Side;
use super::{ChangeVerdict, CompareError, ComparedCell};
use crate::metric::Metric;
use crate::record::{Pair, PairSide};
use crate::stats::sequential::{self, PairDecision, PairRule};
use crate::stats::{Interval, pairing};

/// Both sides, and the axes in which they differ on purpose.
#[derive(Debug, Clone)]
pub struct Pairing {
    pub a: Side,
    pub b: Side,
    pub axes: Vec<ComparedAxis>,
}

/// Reads both sides of a pair's folder.
///
/// # Errors
/// When one cannot be read, or an axis is not known.
pub fn read(folder: &Path, metric: Metric) -> Result<Pairing, CompareError> {
    let side = |side: PairSide| -> Result<Side, CompareError> {
        let mut side = Side::read(&folder.join(side.folder()), metric)?;
        for ComparedAxis { axis, .. } in axes(side.header.pair.as_ref()) {
            let keys: Vec<_> = side
                .header
                .plan
                .cases
                .iter()
                .map(CellKey::of_case)
                .collect();
            let values = axis.values(keys.iter());
            side.label += &format!(", {} {}", axis.name(), values.join(" and "));
        }
        Ok(side)
    };
    let (a, b) = (side(PairSide::A)?, side(PairSide::B)?);
    Ok(Pairing {
        axes: axes(a.header.pair.as_ref()),
        a,
        b,
    })
}

/// The axes in which the sides of a pair differ.
pub fn axes(pair: Option<&Pair>) -> Vec<ComparedAxis> {
    let names = pair.map_or(&[][..], |pair| &pair.axes);
    // A name that a later version knows is compared as part of the cell's name.
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The tolerance that two sides of a pair were measured until decided for; `None` for other runs, and for a fixed number of pairs.
pub(crate) fn tolerance(a: &Side, b: &Side) -> Option<f64> {
    let side = |of: &Side| of.header.pair.as_ref().map(|pair| pair.side);
    let are_both = a.is_paired_with(b) && side(a).is_some() && side(a) != side(b);
    let tolerance = |of: &Side| of.header.plan.protocol.pair_tolerance;
    tolerance(a).filter(|_| are_both && tolerance(b).is_some())
}

/// Log ratios of the pairs of a cell of `run`, B over A as times, in the order of their replicates. A pair that one side did not
/// finish is none, as in the rule by which pairs were added.
pub(crate) fn log_ratios(run: &Side, a: &Samples, b: &Samples) -> Vec<f64> {
    let (medians_a, medians_b) = (a.medians(), b.medians());
    let ratio = |replicate: u32| {
        let of_steps = pairing::log_ratio_of_steps(a.steps_with(b, replicate));
        of_steps.or_else(|| {
            let time =
                |medians: &BTreeMap<u32, f64>| Some(run.metric.log_time(*medians.get(&replicate)?));
            Some(time(&medians_b)? - time(&medians_a)?)
        })
    };
    let of_b: BTreeSet<u32> = b.finished().collect();
    let both = a.finished().filter(|replicate| of_b.contains(replicate));
    both.filter_map(ratio).collect()
}

/// What a cell's pairs show by a rule. All cells of the plan share its errors, measured or not, so that the rule is fixed before the
/// first pair.
pub(crate) fn decide(log_ratios: &[f64], run: &Side, rule: &PairRule) -> Option<PairDecision> {
    sequential::decide(log_ratios, run.header.plan.cases.len(), rule)
}

/// The relative slow-down with its interval; `None` with too few pairs for one.
pub(crate) fn slowdown(decision: &PairDecision) -> Option<Interval> {
    Some(decision.interval?.map(f64::exp_m1))
}

/// Fills in what the pairs of a row show.
pub(super) fn judge(row: &mut ComparedCell, log_ratios: &[f64], run: &Side, tolerance: f64) {
    let rule = PairRule {
        tolerance,
        ..PairRule::default()
    };
    let decision = decide(log_ratios, run, &rule);
    row.slowdown = decision.as_ref().and_then(slowdown);
    row.verdict = decision.map_or(
        ChangeVerdict::NotDecided {
            more_pairs: Some(rule.fewest),
        },
        ChangeVerdict::from,
    );
    row.pairs = decision;
}
