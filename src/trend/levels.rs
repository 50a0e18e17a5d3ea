//! Where the level of a series of nights changed: e-divisive, as MongoDB uses it on its nightly benchmarks (Daly et al., arXiv
//! 2003.00584). It only assumes that nights are exchangeable where nothing changed.

use crate::stats::edivisive::{ChangePoint, EDivisive, edivisive};
use crate::stats::summary::median;

/// A split is kept while at most this share of permutations splits as well: of histories of 12 cells without a
/// change, one in a hundred shows a line.
pub(crate) const ALPHA: f64 = 0.001;

/// Smaller differences of the medians are changes of spread, or do not matter.
const LEAST_CHANGE: f64 = 0.005;

/// A change of the level, and where the new one begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LevelShift {
    /// Index of the first value of the new level.
    pub index: usize,
    /// Relative change of the median over the values of each level: 0.1 takes a tenth longer.
    pub change: f64,
    /// Share of permutations of the values that split as well.
    pub p: f64,
}

/// The changes of level of logarithms of times, one a night, in their order.
pub(crate) fn level_shifts(log_times: &[f64]) -> Vec<LevelShift> {
    let settings = EDivisive {
        alpha: ALPHA,
        permutations: (1.0 / ALPHA) as usize - 1,
        ..EDivisive::default()
    };
    let mut splits = edivisive(log_times, settings).unwrap_or_default();
    loop {
        let shifts = shifts_at(log_times, &splits);
        let sizes = shifts.iter().enumerate();
        let smallest = sizes.min_by(|(_, a), (_, b)| a.change.abs().total_cmp(&b.change.abs()));
        match smallest {
            // The nights on both sides are one level then, and a slow drift adds up until it is a change.
            Some((at, shift)) if shift.change.abs() < LEAST_CHANGE => {
                splits.remove(at);
            }
            _ => return shifts,
        }
    }
}

/// The changes between the levels that these splits make.
fn shifts_at(log_times: &[f64], splits: &[ChangePoint]) -> Vec<LevelShift> {
    let mut bounds: Vec<usize> = splits.iter().map(|split| split.index).collect();
    bounds.insert(0, 0);
    bounds.push(log_times.len());
    let levels = bounds.windows(2).zip(bounds.windows(2).skip(1));
    splits
        .iter()
        .zip(levels)
        .map(|(split, (old, new))| {
            let level = |ends: &[usize]| median(&log_times[ends[0]..ends[1]]).unwrap_or_default();
            LevelShift {
                index: split.index,
                change: (level(new) - level(old)).exp_m1(),
                p: split.p_value,
            }
        })
        .collect()
}
