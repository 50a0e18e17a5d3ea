//! Rank methods: few assumptions, little harmed by outliers.
//!
//! Zeros and ties. Differences that are exactly zero are dropped before ranking (Wilcoxon 1945); what remains gets
//! midranks, and the exact null distribution is that of those very midranks (doubled, so that they are whole).
//! Equality is that of `f64`: round first if measurements that differ in the last bit should tie.

use serde::{Deserialize, Serialize};

use super::interval::Interval;
use super::summary::median_of_sorted;
use super::{Alternative, is_open_unit, null, sorted};

/// Up to this many non-zero differences the signed-rank distribution is exact.
pub const SIGNED_RANK_EXACT_MAX: usize = 50;

/// Up to this many values in each sample (and without ties) the Mann-Whitney distribution is exact.
pub const MANN_WHITNEY_EXACT_MAX: usize = 30;

/// Outcome of a rank test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankTest {
    /// W+ of the signed-rank test, or U of the first sample.
    pub statistic: f64,
    /// Probability, under the null, of a statistic at least as extreme.
    pub p_value: f64,
    /// Non-zero differences (signed rank) or all values (Mann-Whitney) that the statistic rests on.
    pub n: usize,
    /// Whether the p-value is exact rather than a normal approximation.
    pub exact: bool,
}

/// Wilcoxon's signed-rank test that differences are symmetric around `shift`.
///
/// "Slower by more than 3%" is `signed_rank(&log_time_ratios, 1.03f64.ln(), Alternative::Greater)`: its null is a
/// slow-down of at most 3%. Exact up to [`SIGNED_RANK_EXACT_MAX`] non-zero differences, ties included; above, normal
/// with tie and continuity corrections. When every difference equals the shift the p-value is 1. `None` when
/// empty or not finite.
pub fn signed_rank(values: &[f64], shift: f64, alternative: Alternative) -> Option<RankTest> {
    if values.is_empty() || !shift.is_finite() {
        return None;
    }
    let mut differences = sorted(&values.iter().map(|v| v - shift).collect::<Vec<_>>())?;
    differences.retain(|&d| d != 0.0);
    differences.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = differences.len();
    let magnitudes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let doubled = doubled_midranks(&magnitudes);
    let w: usize = doubled
        .iter()
        .zip(&differences)
        .filter(|(_, d)| **d > 0.0)
        .map(|(r, _)| r)
        .sum();
    let exact = n <= SIGNED_RANK_EXACT_MAX;
    let statistic = w as f64 / 2.0;
    let (greater, less) = if exact {
        let law = null::signed_rank(&doubled);
        (law.at_least(w), law.at_most(w))
    } else {
        let mean = n as f64 * (n as f64 + 1.0) / 4.0;
        let variance = doubled
            .iter()
            .map(|&r| (r as f64 / 2.0).powi(2))
            .sum::<f64>()
            / 4.0;
        normal_tails(statistic, mean, variance)
    };
    Some(RankTest {
        statistic,
        p_value: alternative.combine(greater, less),
        n,
        exact,
    })
}

/// Mann-Whitney's U test of two independent samples; `Greater` asks whether `a` tends to be larger than `b`.
///
/// Exact up to [`MANN_WHITNEY_EXACT_MAX`] values in each sample without ties; else normal with tie and continuity
/// corrections. When all values are equal the p-value is 1. `None` when a sample is empty or not finite.
pub fn mann_whitney(a: &[f64], b: &[f64], alternative: Alternative) -> Option<RankTest> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let pooled = sorted(&[a, b].concat())?;
    let (m, n) = (a.len(), b.len());
    let (wins, ties) = wins_and_ties(a, b)?;
    let u = wins as f64 + ties as f64 / 2.0;
    let tied = pooled.windows(2).any(|w| w[0] == w[1]);
    let exact = !tied && m.max(n) <= MANN_WHITNEY_EXACT_MAX;
    let (greater, less) = if exact {
        let law = null::mann_whitney(m, n);
        (law.at_least(wins), law.at_most(wins))
    } else {
        let (mf, nf) = (m as f64, n as f64);
        let total = mf + nf;
        let excess: f64 = tie_sizes(&pooled)
            .map(|t| {
                let t = t as f64;
                t * (t * t - 1.0)
            })
            .sum();
        let variance = mf * nf / 12.0 * (total + 1.0 - excess / (total * (total - 1.0)));
        normal_tails(u, mf * nf / 2.0, variance)
    };
    Some(RankTest {
        statistic: u,
        p_value: alternative.combine(greater, less),
        n: m + n,
        exact,
    })
}

/// A Hodges-Lehmann estimate. The interval is missing when the sample is too small for the level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HodgesLehmann {
    /// Median of the pairwise averages (one sample) or differences (two samples).
    pub estimate: f64,
    /// Interval of at least the asked level; `None` below 6 values at 95% (one sample).
    pub interval: Option<Interval>,
}

/// Centre of one sample of (for example) paired log ratios: the median of its Walsh averages.
///
/// The interval inverts the signed-rank test (Hollander & Wolfe, 3.3): exact up to [`SIGNED_RANK_EXACT_MAX`] values,
/// then by normal approximation; conservative with ties. Time and memory grow with n squared.
/// `None` when empty, not finite, or `level` outside 0..1.
pub fn hodges_lehmann(values: &[f64], level: f64) -> Option<HodgesLehmann> {
    let x = sorted(values)?;
    let n = x.len();
    if n == 0 || !is_open_unit(level) {
        return None;
    }
    let mut walsh = Vec::with_capacity(n * (n + 1) / 2);
    for (i, &low) in x.iter().enumerate() {
        walsh.extend(x[i..].iter().map(|&high| low.midpoint(high)));
    }
    let tail = (1.0 - level) / 2.0;
    let critical = if n <= SIGNED_RANK_EXACT_MAX {
        null::signed_rank(&(1..=n).collect::<Vec<_>>()).lower_critical(tail)
    } else {
        let nf = n as f64;
        let sd = (nf * (nf + 1.0) * (2.0 * nf + 1.0) / 24.0).sqrt();
        approximate_critical(nf * (nf + 1.0) / 4.0, sd, tail)
    };
    from_order_statistics(walsh, critical, level)
}

/// Shift from `b` to `a` (positive when `a` is larger): the median of all differences `a - b`.
///
/// The interval inverts the Mann-Whitney test (Hollander & Wolfe, 4.3): exact up to [`MANN_WHITNEY_EXACT_MAX`] in
/// each sample, then by normal approximation; conservative with ties. `None` as for [`hodges_lehmann`].
pub fn hodges_lehmann_shift(a: &[f64], b: &[f64], level: f64) -> Option<HodgesLehmann> {
    let (a, b) = (sorted(a)?, sorted(b)?);
    let (m, n) = (a.len(), b.len());
    if m == 0 || n == 0 || !is_open_unit(level) {
        return None;
    }
    let differences = a
        .iter()
        .flat_map(|x| b.iter().map(move |y| x - y))
        .collect();
    let tail = (1.0 - level) / 2.0;
    let critical = if m.max(n) <= MANN_WHITNEY_EXACT_MAX {
        null::mann_whitney(m, n).lower_critical(tail)
    } else {
        let (mf, nf) = (m as f64, n as f64);
        let sd = (mf * nf * (mf + nf + 1.0) / 12.0).sqrt();
        approximate_critical(mf * nf / 2.0, sd, tail)
    };
    from_order_statistics(differences, critical, level)
}

/// The usual words for the size of [`CliffsDelta`] (Romano et al. 2006: 0.147, 0.33, 0.474).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitude {
    /// |delta| below 0.147.
    Negligible,
    /// |delta| below 0.33.
    Small,
    /// |delta| below 0.474.
    Medium,
    /// |delta| of 0.474 or more.
    Large,
}

/// How often one sample beats another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CliffsDelta {
    /// P(a > b) - P(a < b), from -1 to 1.
    pub delta: f64,
    /// Its size in a word.
    pub magnitude: Magnitude,
}

/// Cliff's delta (Psychological Bulletin 114, 1993); positive when `a` tends to be larger. `None` when a sample is empty or
/// not finite.
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Option<CliffsDelta> {
    let (wins, ties) = wins_and_ties(a, b)?;
    let pairs = a.len() * b.len();
    if pairs == 0 {
        return None;
    }
    let losses = pairs - wins - ties;
    let delta = (wins as f64 - losses as f64) / pairs as f64;
    let magnitude = match delta.abs() {
        d if d < 0.147 => Magnitude::Negligible,
        d if d < 0.33 => Magnitude::Small,
        d if d < 0.474 => Magnitude::Medium,
        _ => Magnitude::Large,
    };
    Some(CliffsDelta { delta, magnitude })
}

/// Number of pairs with a > b, and with a = b.
fn wins_and_ties(a: &[f64], b: &[f64]) -> Option<(usize, usize)> {
    let (a, b) = (sorted(a)?, sorted(b)?);
    Some(a.iter().fold((0, 0), |(wins, ties), &x| {
        let below = b.partition_point(|&y| y < x);
        let not_above = b.partition_point(|&y| y <= x);
        (wins + below, ties + not_above - below)
    }))
}

/// Lengths of the runs of equal values in an ascending slice.
fn tie_sizes(ordered: &[f64]) -> impl Iterator<Item = usize> + '_ {
    ordered.chunk_by(|a, b| a == b).map(<[f64]>::len)
}

/// Twice the midrank of each value of an ascending slice.
fn doubled_midranks(ordered: &[f64]) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(ordered.len());
    for size in tie_sizes(ordered) {
        let first = ranks.len() + 1;
        ranks.extend(std::iter::repeat_n(2 * first + size - 1, size));
    }
    ranks
}

/// Upper and lower tail by the normal law with a continuity correction of one half.
fn normal_tails(statistic: f64, mean: f64, variance: f64) -> (f64, f64) {
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let sd = variance.sqrt();
    (
        null::normal_upper((statistic - mean - 0.5) / sd),
        null::normal_lower((statistic - mean + 0.5) / sd),
    )
}

/// The lower critical count of a symmetric statistic by the normal law, rounded to the conservative side.
fn approximate_critical(mean: f64, sd: f64, tail: f64) -> usize {
    // P(W <= c - 1) <= tail with the continuity correction: c <= mean + z sd + 1/2.
    (mean + null::normal_quantile(tail) * sd + 0.5)
        .floor()
        .max(0.0) as usize
}

/// Estimate and interval from the pairwise values: the `critical`-th from either end.
fn from_order_statistics(
    mut pairwise: Vec<f64>,
    critical: usize,
    level: f64,
) -> Option<HodgesLehmann> {
    pairwise.sort_unstable_by(f64::total_cmp);
    let estimate = median_of_sorted(&pairwise).filter(|v| v.is_finite())?;
    let interval = (critical > 0).then(|| Interval {
        lo: pairwise[critical - 1],
        estimate,
        hi: pairwise[pairwise.len() - critical],
        level,
    });
    Some(HodgesLehmann {
        estimate,
        interval: interval.map(Interval::spanning_its_estimate),
    })
}

#[cfg(test)]
mod tests;
