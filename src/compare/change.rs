//! How much slower one side is than the other, and how sure that is.
//!
//! Everything is computed on logarithms of process medians, as times: the median over each process's repetitions is
//! one observation, whatever their number. Tests and intervals are Student's. Rank tests need no normal noise, but
//! with few processes they cannot reach significance: three against three have 20 arrangements, so Mann-Whitney's smallest
//! one-sided p is 0.05, and Wilcoxon's on three pairs 0.125. An alpha of 0.001 needs 6 against 7, or 10 pairs.

use std::collections::BTreeMap;

use crate::metric::Metric;
use crate::stats::sample_size::{SampleDesign, units_needed};
use crate::stats::summary::median;
use crate::stats::test::{self, Welch};
use crate::stats::variance::Variance;
use crate::stats::{Alternative, Interval, Summary};

/// Most processes a side that are recommended.
pub const MOST_PROCESSES: usize = 100;

/// A slow-down of B over A, as a logarithm of times: positive is slower.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The estimate: difference of medians, or median of the pairs' differences.
    estimate: f64,
    /// Mean difference with its error: what tests and interval rest on.
    t: Welch,
    /// The design, and the standard deviation of its units; `None` where nights are the units.
    spread: Option<(SampleDesign, f64)>,
    /// Units of evidence on the side with fewer.
    n: usize,
}

impl Change {
    /// Of two slices of one run: replicates are pairs, which ran close to each other, and for settings that need
    /// no reloading in one process. None below two pairs.
    pub fn paired(
        metric: Metric,
        a: &BTreeMap<u32, f64>,
        b: &BTreeMap<u32, f64>,
        level: f64,
    ) -> Option<Self> {
        let differences: Vec<f64> = a
            .iter()
            .filter_map(|(replicate, a)| {
                Some(metric.log_time(*b.get(replicate)?) - metric.log_time(*a))
            })
            .collect();
        let sd = Summary::of(&differences)?.sd?;
        Some(Self {
            estimate: median(&differences)?,
            t: test::paired(&differences, level)?,
            spread: Some((SampleDesign::Paired, sd)),
            n: differences.len(),
        })
    }

    /// Of two runs, from the logarithms of their processes' times (Welch's t). None below two processes on a side.
    pub fn independent(a: &[f64], b: &[f64], level: f64) -> Option<Self> {
        let (sa, sb) = (Summary::of(a)?, Summary::of(b)?);
        let sd = ((sa.sd?.powi(2) + sb.sd?.powi(2)) / 2.0).sqrt();
        Some(Self {
            estimate: sb.median - sa.median,
            t: test::welch(b, a, level)?,
            spread: Some((SampleDesign::TwoSamples, sd)),
            n: a.len().min(b.len()),
        })
    }

    /// Of one night against earlier ones, each given as one logarithm of a time: the unit is the night, so that
    /// what differs between nights is in the error. None below two earlier nights.
    pub fn against_nights(nights: &[f64], tonight: f64, level: f64) -> Option<Self> {
        Some(Self {
            estimate: tonight - median(nights)?,
            t: test::one_against(tonight, nights, level)?,
            spread: None,
            n: nights.len(),
        })
    }

    /// Of changes whose mean is the logarithm of the ratio of both sides, one a pair. None below two pairs.
    pub fn of_mean(changes: &[f64], level: f64) -> Option<Self> {
        let t = test::paired(changes, level)?;
        Some(Self {
            estimate: t.difference.estimate,
            t,
            spread: Some((SampleDesign::Paired, Summary::of(changes)?.sd?)),
            n: changes.len(),
        })
    }

    /// The relative slow-down with its interval: 0.1 takes a tenth longer.
    pub fn slowdown(&self) -> Interval {
        let Interval { lo, hi, level, .. } = self.t.difference;
        Interval {
            lo: lo.min(self.estimate),
            estimate: self.estimate,
            hi: hi.max(self.estimate),
            level,
        }
        .map(f64::exp_m1)
    }

    /// p-value of the null that the relative slow-down is `slowdown` (or less, or more).
    pub fn p_value(&self, slowdown: f64, alternative: Alternative) -> f64 {
        self.t.p_value(slowdown.ln_1p(), alternative)
    }

    /// The same with one more independent error in the difference of logarithms, which the units do not contain.
    pub fn p_value_with(
        &self,
        error: Variance,
        slowdown: f64,
        alternative: Alternative,
    ) -> Option<f64> {
        self.t.p_value_with(error, slowdown.ln_1p(), alternative)
    }

    /// More processes a side that would show, at `level`, on which side of any of `borders` (relative slow-downs)
    /// the change lies, if estimate and spread stay the same; at least 1. `None` when that takes more than
    /// [`MOST_PROCESSES`] in all, or when more processes would not help.
    pub fn more_processes(&self, borders: &[(f64, f64)]) -> Option<usize> {
        let (design, sd) = self.spread?;
        borders
            .iter()
            .filter_map(|(border, level)| {
                let distance = (self.estimate - border.ln_1p()).abs();
                units_needed(design, sd, distance, *level, MOST_PROCESSES)
            })
            .min()
            .map(|n| n.saturating_sub(self.n).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: f64 = 0.95;

    fn by_replicate(values: &[f64]) -> BTreeMap<u32, f64> {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn a_slow_down_is_the_same_for_times_and_rates() {
        let (a, b) = ([100.0, 101.0, 103.0], [110.0, 111.1, 113.3]);
        let rates = |v: &[f64]| by_replicate(&v.iter().map(|t| 1e9 / t).collect::<Vec<_>>());
        let times =
            Change::paired(Metric::StepNs, &by_replicate(&a), &by_replicate(&b), LEVEL).unwrap();
        let of_rates =
            Change::paired(Metric::DecodeTokensPerS, &rates(&a), &rates(&b), LEVEL).unwrap();
        for change in [&times, &of_rates] {
            let s = change.slowdown();
            assert!((s.estimate - 0.1).abs() < 1e-9, "{s:?}");
            assert!(
                s.hi - s.lo < 1e-6,
                "pairs agree, so the interval is narrow: {s:?}"
            );
        }
        let logs = |v: &[f64]| {
            v.iter()
                .map(|t| Metric::StepNs.log_time(*t))
                .collect::<Vec<_>>()
        };
        let apart = Change::independent(&logs(&a), &logs(&b), LEVEL)
            .unwrap()
            .slowdown();
        assert!((apart.estimate - 0.1).abs() < 1e-9);
        assert!(
            apart.hi - apart.lo > 0.02,
            "unpaired, the processes' spread counts: {apart:?}"
        );
    }

    #[test]
    fn replicates_of_one_side_only_are_no_pairs() {
        let a = by_replicate(&[100.0, 100.0]);
        let b: BTreeMap<u32, f64> = [(1, 110.0), (2, 110.0)].into();
        assert_eq!(
            Change::paired(Metric::StepNs, &a, &b, LEVEL),
            None,
            "one pair"
        );
    }

    #[test]
    fn nights_carry_their_own_spread() {
        let nights = [0.0, 0.01, -0.01, 0.02, -0.02];
        let change = Change::against_nights(&nights, 0.03, LEVEL).unwrap();
        assert!((change.slowdown().estimate - 0.03f64.exp_m1()).abs() < 1e-12);
        assert!(
            change.p_value(0.0, Alternative::Greater) > 0.05,
            "3% is within 5 such nights"
        );
        assert_eq!(change.more_processes(&[(0.03, 0.9)]), None);
        assert_eq!(Change::against_nights(&nights[..1], 0.03, LEVEL), None);
    }

    #[test]
    fn what_is_missing_is_told_from_the_spread() {
        let a: Vec<f64> = [0.99f64, 1.0, 1.01].map(f64::ln).to_vec();
        let b: Vec<f64> = [1.01f64, 1.02, 1.03].map(f64::ln).to_vec();
        let change = Change::independent(&a, &b, LEVEL).unwrap();
        let (near, far) = ((0.03, 0.9), (0.0, 0.9));
        let (n_near, n_far) = (
            change.more_processes(&[near]),
            change.more_processes(&[far]),
        );
        assert!(n_near > n_far && n_far.is_some(), "{n_near:?} {n_far:?}");
        assert_eq!(change.more_processes(&[near, far]), n_far);
        assert_eq!(
            change.more_processes(&[(0.0201, 0.9)]),
            None,
            "nearer than 100 processes tell"
        );
    }
}
