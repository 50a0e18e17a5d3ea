//! Pairs until decided, with two sides that may be equal: after every pair, is the ratio within the margin, or is there a
//! difference?
//!
//! The pairs, their noise and the bets are those of [`sequential`](super::sequential). *Equal* takes two bets at once: the ratio is
//! below the upper margin, and it is above the lower margin. Both must win, so that each has the whole error (Berger 1982,
//! intersection-union tests). *Different* takes a bet against no difference in each direction, of which each has half of the error.
//! All bets have the stakes of the interval, so that "equal" is said exactly when the interval lies within the margin.

use super::Interval;
use super::sequential::{
    INTERVAL_STAKES, PairRule, interval, mixed_wealth, mixed_wealths, more_pairs, scales,
};
use super::summary::median;

/// The rule by which pairs are judged, fixed before the first pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EqualityRule {
    /// Relative difference that does not matter, in both directions.
    pub margin: f64,
    /// Chance that any of the compared sides is called equal although it differs by the margin: 5%.
    pub alpha_equal: f64,
    /// Chance that any of the compared sides is called different although it is equal: 1%.
    pub alpha_different: f64,
    /// Fewest pairs before a verdict. A median of fewer says little, whatever the wealth is.
    pub fewest: usize,
}

impl Default for EqualityRule {
    fn default() -> Self {
        Self {
            margin: 0.01,
            alpha_equal: 0.05,
            alpha_different: 0.01,
            fewest: 6,
        }
    }
}

/// What pairs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EqualityVerdict {
    /// The ratio is within the margin.
    Equal,
    /// The ratio is within the margin, and it is not 1.
    DifferentWithin,
    /// The ratio is not 1. Whether it is beyond the margin is not shown.
    Different,
    /// The ratio is beyond the margin.
    DifferentBeyond,
    Undecided,
}

impl EqualityRule {
    /// For targets that serve the same requests in turns: what does not matter between two programs is what does not matter
    /// between two builds of one. The chance of a wrong *equal* is half of the usual one, so that the interval has the 95% of
    /// all tables.
    pub fn of_targets() -> Self {
        Self {
            margin: PairRule::default().tolerance,
            alpha_equal: 0.025,
            ..Self::default()
        }
    }
}

impl EqualityVerdict {
    /// Whether another pair is of no use.
    pub fn is_final(self) -> bool {
        self != Self::Undecided
    }

    /// Whether the ratio is shown to be within the margin.
    pub fn is_within(self) -> bool {
        matches!(self, Self::Equal | Self::DifferentWithin)
    }

    /// Whether the ratio is shown not to be 1, and not shown to be within the margin.
    pub fn is_different(self) -> bool {
        matches!(self, Self::Different | Self::DifferentBeyond)
    }
}

/// Pairs, judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EqualityDecision {
    pub verdict: EqualityVerdict,
    pub n_pairs: usize,
    /// Median of the log ratios.
    pub estimate: f64,
    /// Of the median log ratio; valid although the number of pairs depends on the data. `None` of few pairs, which exclude nothing.
    pub interval: Option<Interval>,
    /// About how many further pairs would decide; `None` of a decided comparison, and where the median is so near the margin that
    /// no useful number suffices.
    pub more_pairs: Option<usize>,
}

/// Judges log ratios in the order in which they were measured; `n_sides` sides are compared with the same base, and each has an equal
/// part of the errors (Bonferroni). `None` without a pair, or with one that is not finite.
pub fn decide(log_ratios: &[f64], n_sides: usize, rule: &EqualityRule) -> Option<EqualityDecision> {
    if !super::all_finite(log_ratios) {
        return None;
    }
    let estimate = median(log_ratios)?;
    let bets = Bets {
        log_ratios,
        scales: scales(log_ratios),
        fewest: rule.fewest,
    };
    let n_sides = n_sides.max(1) as f64;
    let margin = rule.margin.ln_1p();
    let goals = Goals {
        equal: (n_sides / rule.alpha_equal).ln(),
        different: (2.0 * n_sides / rule.alpha_different).ln(),
    };
    let verdict = bets.verdict(margin, goals);
    let level = 1.0 - 2.0 * rule.alpha_equal / n_sides;
    let more = || bets.more_pairs(estimate, margin, goals);
    Some(EqualityDecision {
        verdict,
        n_pairs: log_ratios.len(),
        estimate,
        interval: interval(log_ratios, &bets.scales, level),
        more_pairs: (!verdict.is_final()).then(more).flatten(),
    })
}

/// Logarithms of the wealth that proves an answer.
#[derive(Debug, Clone, Copy)]
struct Goals {
    equal: f64,
    different: f64,
}

struct Bets<'a> {
    log_ratios: &'a [f64],
    scales: Vec<f64>,
    fewest: usize,
}

impl Bets<'_> {
    fn verdict(&self, margin: f64, goals: Goals) -> EqualityVerdict {
        let different = [1.0, -1.0]
            .into_iter()
            .filter_map(|direction| self.won_at(0.0, direction, goals.different))
            .min();
        let beyond = [1.0, -1.0]
            .into_iter()
            .filter_map(|direction| self.won_at(direction * margin, direction, goals.different))
            .min();
        let below = self.won_at(margin, -1.0, goals.equal);
        let above = self.won_at(-margin, 1.0, goals.equal);
        let equal = below.zip(above).map(|(below, above)| below.max(above));
        match (equal, different, beyond) {
            // Both by chance: the first one stays.
            (Some(equal), _, Some(beyond)) if beyond < equal => EqualityVerdict::DifferentBeyond,
            (None, _, Some(_)) => EqualityVerdict::DifferentBeyond,
            (Some(_), Some(_), _) => EqualityVerdict::DifferentWithin,
            (Some(_), None, _) => EqualityVerdict::Equal,
            (None, Some(_), None) => EqualityVerdict::Different,
            (None, None, None) => EqualityVerdict::Undecided,
        }
    }

    /// The number of pairs at which a bet on a median beyond a border was won.
    fn won_at(&self, border: f64, direction: f64, goal: f64) -> Option<usize> {
        let wealths = mixed_wealths(self.log_ratios, &self.scales, border, direction);
        let mut largest = 0.0_f64;
        for (n, wealth) in (1..).zip(wealths) {
            largest = largest.max(wealth);
            if n >= self.fewest && largest >= goal {
                return Some(n);
            }
        }
        None
    }

    /// Until equality, or until a difference, whichever is nearer.
    fn more_pairs(&self, estimate: f64, margin: f64, goals: Goals) -> Option<usize> {
        let (largest_stake, share) = INTERVAL_STAKES[INTERVAL_STAKES.len() - 1];
        let largest = largest_stake.ln_1p();
        // What the other stakes lose is missing at the end.
        let lost = -share.ln();
        let to = |distance: f64, goal: f64| {
            more_pairs(
                self.log_ratios,
                distance,
                (goal + lost, largest),
                self.fewest,
            )
        };
        let inside = margin - estimate.abs();
        let equal = (inside > 0.0).then(|| to(inside, goals.equal)).flatten();
        let different = to(estimate, goals.different);
        equal.into_iter().chain(different).min()
    }
}

/// Whether the median is shown to be above 0: the question of a positive control.
pub fn is_above(log_ratios: &[f64], rule: &EqualityRule) -> bool {
    log_ratios.len() >= rule.fewest
        && super::all_finite(log_ratios)
        && mixed_wealth(log_ratios, &scales(log_ratios), 0.0, 1.0) >= -rule.alpha_equal.ln()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
