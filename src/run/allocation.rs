//! How many repetitions the next pair of a cell gets.
//!
//! More repetitions in a pair reduce the noise that differs between them, and cost time in which further pairs could be measured. With
//! w the variance of a repetition's ratio within its pair, b the variance that all repetitions of a pair have in common, C the time of a pair's
//! beginning (loading, opening, warm-up) and c that of a repetition, the variance of the mean of T / (C + n c) pairs is smallest at
//! n = sqrt(w C / (b c)) (Cochran 1977, two-stage sampling). All four are taken from the cell's earlier pairs, so that the choice
//! depends on nothing that the next pair will show, and the bets on it stay fair.

use std::time::Duration;

use crate::stats::summary::{MAD_TO_SD, mad, mean};

/// Fewest repetitions: in two of them, ABBA, a drift cancels.
pub const FEWEST: u32 = 2;
/// Most repetitions. Further ones gain little, and a pair should not outlast what disturbs the machine.
pub const MOST: u32 = 16;
/// Pairs before the first choice: variances of fewer say little.
const FEWEST_PAIRS: usize = 6;
/// Least share of the within-variance that is believed to be common to a pair.
const LEAST_COMMON: f64 = 0.02;
/// What earlier pairs of a cell took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PairCosts {
    beginnings: Duration,
    n_pairs: u32,
    repetitions: Duration,
    n_repetitions: u32,
}

impl PairCosts {
    /// Adds a pair with so many repetitions of each side.
    pub fn add(&mut self, beginning: Duration, repetitions: Duration, n_repetitions: u32) {
        self.beginnings += beginning;
        self.n_pairs += 1;
        self.repetitions += repetitions;
        self.n_repetitions += n_repetitions;
    }

    /// The time of a pair's beginning over that of a repetition of both sides.
    fn beginning_over_repetition(&self) -> Option<f64> {
        let per = |time: Duration, n: u32| (n > 0).then(|| time.as_secs_f64() / f64::from(n));
        let repetition = per(self.repetitions, self.n_repetitions).filter(|s| *s > 0.0)?;
        Some(per(self.beginnings, self.n_pairs)? / repetition)
    }
}

/// Repetitions of the next pair, an even number, from the log ratios of each repetition of earlier pairs.
pub fn repetitions_of_next(pairs: &[Vec<f64>], costs: &PairCosts) -> u32 {
    let optimal = || {
        let common = common_share(pairs)?;
        Some((costs.beginning_over_repetition()? / common).sqrt())
    };
    let Some(n) = optimal().filter(|n| n.is_finite()) else {
        return FEWEST;
    };
    let even = 2.0 * (n / 2.0).round();
    even.clamp(f64::from(FEWEST), f64::from(MOST)) as u32
}

/// The variance that a pair's repetitions have in common, over that of a repetition within its pair; robust against outliers.
fn common_share(pairs: &[Vec<f64>]) -> Option<f64> {
    let pairs: Vec<&Vec<f64>> = pairs.iter().filter(|pair| pair.len() > 1).collect();
    if pairs.len() < FEWEST_PAIRS {
        return None;
    }
    let mut within = Vec::new();
    let mut of_pairs = Vec::new();
    let mut parts = Vec::new();
    for pair in &pairs {
        let middle = mean(pair)?;
        let n = pair.len() as f64;
        let unbiased = (n / (n - 1.0)).sqrt();
        within.extend(pair.iter().map(|ratio| (ratio - middle) * unbiased));
        of_pairs.push(middle);
        parts.push(1.0 / n);
    }
    let variance = |values: &[f64]| Some((MAD_TO_SD * mad(values)?).powi(2));
    let (within, of_pairs) = (variance(&within)?, variance(&of_pairs)?);
    let common = of_pairs - within * mean(&parts)?;
    (within > 0.0).then(|| (common / within).max(LEAST_COMMON))
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    fn costs(beginning_ms: u64, repetition_ms: u64) -> PairCosts {
        let mut costs = PairCosts::default();
        costs.add(
            Duration::from_millis(beginning_ms),
            2 * Duration::from_millis(repetition_ms),
            2,
        );
        costs
    }

    /// Pairs of so many repetitions, which differ by `within`, and whose common part differs by `common`.
    fn pairs_of(n_repetitions: usize, (within, common): (f64, f64), n: usize) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut normal = || rng.sample::<f64, _>(StandardNormal);
        let mut pair = || {
            let own = common * normal();
            (0..n_repetitions)
                .map(|_| own + within * normal())
                .collect()
        };
        (0..n).map(|_| pair()).collect()
    }

    fn pairs(within: f64, common: f64, n: usize) -> Vec<Vec<f64>> {
        pairs_of(2, (within, common), n)
    }

    #[test]
    fn the_number_follows_variances_and_costs() {
        // sqrt(4 * 9) = 6, and the variances are estimates.
        let n = repetitions_of_next(&pairs(0.04, 0.02, 400), &costs(900, 100));
        assert!((4..=8).contains(&n), "{n}");
        let cheap_pairs = repetitions_of_next(&pairs(0.04, 0.02, 400), &costs(100, 100));
        assert_eq!(cheap_pairs, FEWEST);
        let all_common = repetitions_of_next(&pairs(0.001, 0.05, 400), &costs(900, 100));
        assert_eq!(all_common, FEWEST);
        let nothing_common = repetitions_of_next(&pairs(0.05, 0.0, 400), &costs(9000, 100));
        assert_eq!(nothing_common, MOST);
    }

    #[test]
    fn longer_pairs_do_not_change_what_is_best() {
        let mut mixed = pairs_of(12, (0.04, 0.02), 200);
        mixed.extend(pairs_of(2, (0.04, 0.02), 200));
        let n = repetitions_of_next(&mixed, &costs(900, 100));
        assert!((4..=8).contains(&n), "{n}");
    }

    #[test]
    fn few_pairs_and_equal_times_choose_nothing() {
        assert_eq!(
            repetitions_of_next(&pairs(0.05, 0.0, 5), &costs(9000, 100)),
            FEWEST
        );
        assert_eq!(
            repetitions_of_next(&vec![vec![0.0, 0.0]; 20], &costs(9000, 100)),
            FEWEST
        );
        assert_eq!(
            repetitions_of_next(&pairs(0.05, 0.0, 50), &PairCosts::default()),
            FEWEST
        );
    }

    #[test]
    fn outliers_do_not_choose() {
        let mut some = pairs(0.001, 0.02, 100);
        some[3][0] = 2.0;
        some[50][1] = -2.0;
        assert_eq!(repetitions_of_next(&some, &costs(900, 100)), FEWEST);
    }
}
