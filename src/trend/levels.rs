//! Where the level of a series of nights changed: e-divisive, as MongoDB uses it on its nightly benchmarks (Daly et al., arXiv
//! 2003.00584). It only assumes that nights are exchangeable where nothing changed.

use crate::stats::edivisive::{EDivisive, edivisive};
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
    let splits = edivisive(log_times, settings).unwrap_or_default();
    let ends: Vec<usize> = splits
        .iter()
        .map(|s| s.index)
        .chain([log_times.len()])
        .collect();
    let mut from = 0;
    let mut found = Vec::new();
    for (split, end) in splits.iter().zip(&ends[1..]) {
        let levels =
            median(&log_times[from..split.index]).zip(median(&log_times[split.index..*end]));
        from = split.index;
        let Some((old, new)) = levels else { continue };
        let change = (new - old).exp_m1();
        if change.abs() >= LEAST_CHANGE {
            found.push(LevelShift {
                index: split.index,
                change,
                p: split.p_value,
            });
        }
    }
    found
}
