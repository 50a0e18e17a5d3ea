//! Pairs until decided: after every pair, is B slower than A by more than the tolerance, or shown not to be?
//!
//! The unit is the logarithm of a pair's ratio, B over A. Each question has a wealth that starts at 1 and bets on its answer: before
//! pair t a stake in `[0.5, 0.9]` is chosen from earlier pairs only, and then the wealth is multiplied by `1 + stake * y`, where y
//! is the distance of the log ratio from the border, divided by a scale of the earlier pairs and clipped to `[-1, 1]`. If the
//! noise of a pair is symmetric and the median is on the other side of the border, y has no positive mean, so the wealth is a
//! supermartingale, and the chance that it ever reaches 1 / alpha is at most alpha (Ville's inequality), however often one looks
//! (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS B 86). A random order of the sides
//! within each pair makes the noise symmetric.
//!
//! The choices below were made by simulation (`simulation.rs`, METHODOLOGY.md, A.5):
//!
//! - clip at 1.5 robust standard deviations: heavy tails and outliers cost little, normal noise about a tenth of the pairs;
//! - the sign alone for the first three pairs, which have no scale yet;
//! - the stake that would reach the threshold by the last pair with the least drift. It grows when the pairs run out.

use super::Interval;
use super::summary::median;

/// Pairs before which there is no scale: the sign of the distance stands for it.
const PAIRS_WITHOUT_SCALE: usize = 3;

/// Robust standard deviations at which the distance from a border is clipped.
const CLIP: f64 = 1.5;

/// The standard deviation of normal noise over its median absolute deviation.
const SD_OF_MAD: f64 = 1.4826;

/// Least standard deviation of a pair that is believed: pairs that agree by the timer's resolution say nothing of the next.
const LEAST_SD: f64 = 0.002;

/// Least and largest stake. Below 1 no pair can take everything.
const STAKES: (f64, f64) = (0.5, 0.9);

/// Stakes of the interval's bets, each with its share. They are fixed, so that the wealth falls as the border rises.
pub(super) const INTERVAL_STAKES: [(f64, f64); 3] = [(0.25, 0.2), (0.5, 0.2), (0.9, 0.6)];

/// Most further pairs that are recommended.
pub const MOST_MORE_PAIRS: usize = 1000;

/// The rule by which a cell's pairs are judged, fixed before the first pair.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairRule {
    /// Relative slow-down, or speed-up, that does not matter. 2%: pairs on a shared virtual machine differ by 1 to 3.5%.
    pub tolerance: f64,
    /// Chance that any cell of a night is called slower although none is: 0.1%. Each cell has an equal part (Bonferroni).
    pub alpha_slower: f64,
    /// Chance that a cell which is slower is called not slower: 5%. A night passes only when all of its cells do, so that there is
    /// no correction (Berger 1982, intersection-union tests).
    pub alpha_not_slower: f64,
    /// The same as `alpha_slower`, for faster: 1%, because nobody is woken by it.
    pub alpha_faster: f64,
    /// Confidence of the interval, at whatever pair the measurement ends.
    pub level: f64,
    /// Fewest pairs before a verdict. A median of fewer says little, whatever the wealth is.
    pub fewest: usize,
    /// Pairs by which a verdict is sought. The stakes aim at it.
    pub most: usize,
}

impl Default for PairRule {
    fn default() -> Self {
        Self {
            tolerance: 0.02,
            alpha_slower: 0.001,
            alpha_not_slower: 0.05,
            alpha_faster: 0.01,
            level: 0.95,
            fewest: 6,
            most: 60,
        }
    }
}

/// What the pairs of a cell show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairVerdict {
    /// B is slower than A by more than the tolerance.
    Slower,
    /// B is faster than A by more than the tolerance.
    Faster,
    /// B is not slower than A by more than the tolerance.
    NotSlower,
    Undecided,
}

/// A cell's pairs, judged.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairDecision {
    pub verdict: PairVerdict,
    /// Pairs that there are.
    pub n_pairs: usize,
    /// Whether another pair is of no use: false for an undecided cell, and for one that may yet be shown to be faster.
    pub is_final: bool,
    /// Median of the log ratios.
    pub estimate: f64,
    /// Of the median log ratio; valid although the number of pairs depends on the data. `None` below seven pairs, which
    /// exclude nothing.
    #[serde(skip)]
    pub interval: Option<Interval>,
    /// Largest wealth of "slower by more than the tolerance", as its logarithm.
    pub log_wealth_slower: f64,
    /// Largest wealth of "not slower by more than the tolerance", as its logarithm.
    pub log_wealth_not_slower: f64,
    /// About how many further pairs would decide an undecided cell; `None` for a decided one, or more than
    /// [`MOST_MORE_PAIRS`].
    pub more_pairs: Option<usize>,
}

/// Judges the log ratios of a cell's pairs, in the order in which they were measured; the night has `n_cells` cells. `None` without
/// a pair, or with one that is not finite.
pub fn decide(log_ratios: &[f64], n_cells: usize, rule: &PairRule) -> Option<PairDecision> {
    if !super::all_finite(log_ratios) {
        return None;
    }
    let estimate = median(log_ratios)?;
    let scales = scales(log_ratios);
    let border = rule.tolerance.ln_1p();
    let [slower, not_slower, faster] = bets(log_ratios, &scales, n_cells, rule);
    let verdict = match (slower.won_at, not_slower.won_at, faster.won_at) {
        (Some(slower), not_slower, _) if not_slower.is_none_or(|at| slower <= at) => {
            PairVerdict::Slower
        }
        (_, _, Some(_)) => PairVerdict::Faster,
        (_, Some(_), None) => PairVerdict::NotSlower,
        _ => PairVerdict::Undecided,
    };
    let n_pairs = log_ratios.len();
    let may_be_faster = estimate < -border && n_pairs < rule.most;
    let is_final = match verdict {
        PairVerdict::Undecided => false,
        PairVerdict::NotSlower => !may_be_faster,
        PairVerdict::Slower | PairVerdict::Faster => true,
    };
    let nearest = if estimate > border {
        slower
    } else {
        not_slower
    };
    let lacks = verdict == PairVerdict::Undecided;
    Some(PairDecision {
        verdict,
        n_pairs,
        is_final,
        estimate,
        interval: interval(log_ratios, &scales, rule.level),
        log_wealth_slower: slower.largest,
        log_wealth_not_slower: not_slower.largest,
        more_pairs: lacks
            .then(|| {
                // However large the ratio is, a pair multiplies the wealth by no more than its stake allows.
                let largest = stake(nearest.goal, rule.most).ln_1p();
                let distance = estimate - border;
                more_pairs(log_ratios, distance, (nearest.goal, largest), rule.fewest)
            })
            .flatten(),
    })
}

/// Slower by more than the tolerance, not slower by more than it, and faster by more than it.
fn bets(log_ratios: &[f64], scales: &[f64], n_cells: usize, rule: &PairRule) -> [Bet; 3] {
    let n_cells = n_cells.max(1) as f64;
    let border = rule.tolerance.ln_1p();
    [
        (1.0, border, rule.alpha_slower / n_cells),
        (-1.0, border, rule.alpha_not_slower),
        (-1.0, -border, rule.alpha_faster / n_cells),
    ]
    .map(|(direction, border, alpha)| {
        Bet::new(direction, border, -alpha.ln()).over(log_ratios, scales, rule)
    })
}

/// Before each pair, the distance from a border that counts fully; 0 where the sign alone counts.
pub(super) fn scales(log_ratios: &[f64]) -> Vec<f64> {
    (0..log_ratios.len())
        .map(|t| match t < PAIRS_WITHOUT_SCALE {
            true => 0.0,
            false => CLIP * robust_sd(&log_ratios[..t]).unwrap_or(0.0).max(LEAST_SD),
        })
        .collect()
}

/// Median absolute deviation from the median, as the standard deviation of normal noise.
fn robust_sd(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    Some(SD_OF_MAD * median(&deviations)?)
}

/// A distance from a border in parts of the scale, at most 1.
fn clipped(distance: f64, scale: f64) -> f64 {
    if scale > 0.0 {
        (distance / scale).clamp(-1.0, 1.0)
    } else if distance == 0.0 {
        0.0
    } else {
        distance.signum()
    }
}

/// A wealth that bets on the log ratio's median being beyond a border.
#[derive(Debug, Clone, Copy)]
struct Bet {
    /// 1: above the border; -1: below.
    direction: f64,
    border: f64,
    /// Logarithm of the wealth that proves it.
    goal: f64,
    log_wealth: f64,
    largest: f64,
    /// The number of pairs at which it was proved.
    won_at: Option<usize>,
}

impl Bet {
    fn new(direction: f64, border: f64, goal: f64) -> Self {
        Self {
            direction,
            border,
            goal,
            log_wealth: 0.0,
            largest: 0.0,
            won_at: None,
        }
    }

    fn over(mut self, log_ratios: &[f64], scales: &[f64], rule: &PairRule) -> Self {
        for (t, (log_ratio, scale)) in log_ratios.iter().zip(scales).enumerate() {
            let needed = (self.goal - self.log_wealth).max(0.0);
            let stake = stake(needed, rule.most.saturating_sub(t).max(1));
            let y = clipped(self.direction * (log_ratio - self.border), *scale);
            self.log_wealth += (stake * y).ln_1p();
            self.largest = self.largest.max(self.log_wealth);
            if self.won_at.is_none() && t + 1 >= rule.fewest && self.log_wealth >= self.goal {
                self.won_at = Some(t + 1);
            }
        }
        self
    }
}

/// The stake with which a wealth grows by `needed`, as a logarithm, in a number of pairs. A stake s per standard deviation of normal
/// noise with drift d grows by `s d - s^2 / 2` a pair: what is needed in n pairs takes the least drift at `s = sqrt(2 needed / n)`.
fn stake(needed: f64, pairs_left: usize) -> f64 {
    (CLIP * (2.0 * needed / pairs_left as f64).sqrt()).clamp(STAKES.0, STAKES.1)
}

/// The medians that no bet excludes: each end by a wealth of its own, of which half of the error is.
pub(super) fn interval(log_ratios: &[f64], scales: &[f64], level: f64) -> Option<Interval> {
    let goal = (2.0 / (1.0 - level)).ln();
    let estimate = median(log_ratios)?;
    let is_excluded =
        |border: f64, direction: f64| mixed_wealth(log_ratios, scales, border, direction) >= goal;
    let largest = scales.iter().copied().fold(LEAST_SD, f64::max);
    let (least, most) = log_ratios
        .iter()
        .fold((estimate, estimate), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let end = |outside: f64, direction: f64| {
        if !is_excluded(outside, direction) {
            return None;
        }
        let (mut excluded, mut inside) = (outside, estimate);
        for _ in 0..50 {
            let middle = excluded.midpoint(inside);
            if is_excluded(middle, direction) {
                excluded = middle;
            } else {
                inside = middle;
            }
        }
        Some(excluded)
    };
    Some(Interval {
        lo: end(least - 2.0 * largest, 1.0)?,
        estimate,
        hi: end(most + 2.0 * largest, -1.0)?,
        level,
    })
}

/// The largest logarithm, over all pairs so far, of a wealth that bets on a median above (1) or below (-1) the border with each of
/// the interval's stakes.
pub(super) fn mixed_wealth(log_ratios: &[f64], scales: &[f64], border: f64, direction: f64) -> f64 {
    mixed_wealths(log_ratios, scales, border, direction).fold(0.0, f64::max)
}

/// The logarithm of that wealth after each pair.
pub(super) fn mixed_wealths(
    log_ratios: &[f64],
    scales: &[f64],
    border: f64,
    direction: f64,
) -> impl Iterator<Item = f64> {
    let mut wealth = INTERVAL_STAKES.map(|(_, share)| share);
    let pairs = log_ratios.iter().zip(scales);
    pairs.map(move |(log_ratio, scale)| {
        let y = clipped(direction * (log_ratio - border), *scale);
        for (wealth, (stake, _)) in wealth.iter_mut().zip(INTERVAL_STAKES) {
            *wealth *= 1.0 + stake * y;
        }
        wealth.iter().sum::<f64>().ln()
    })
}

/// About how many further pairs reach the goal, from the distance and the noise so far: the wealth grows by half the square of
/// their ratio a pair, at best, and by no more than `largest`.
pub(super) fn more_pairs(
    log_ratios: &[f64],
    distance: f64,
    (goal, largest): (f64, f64),
    fewest: usize,
) -> Option<usize> {
    let n = log_ratios.len();
    let fewest = fewest.saturating_sub(n).max(1);
    let sd = robust_sd(log_ratios)?.max(LEAST_SD);
    let ratio = distance.abs() / sd;
    let growth = (ratio.powi(2) / 2.0).min(largest);
    let needed = goal / growth;
    let is_within = needed.is_finite() && needed <= (MOST_MORE_PAIRS + n) as f64;
    is_within.then(|| (needed.ceil() as usize).saturating_sub(n).max(fewest))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
