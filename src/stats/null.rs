//! Exact null distributions of the rank statistics, by dynamic programming.
//!
//! Counts are kept as `f64`: exact to 2^53 and within rounding beyond, with no subtraction anywhere.

use statrs::distribution::{ContinuousCDF, Normal};

/// A distribution over 0..=max, as cumulative probabilities.
pub(super) struct Exact {
    cumulative: Vec<f64>,
    upper: Vec<f64>,
}

impl Exact {
    fn from_counts(counts: &[f64]) -> Exact {
        let total: f64 = counts.iter().sum();
        let mut running = 0.0;
        let cumulative = counts
            .iter()
            .map(|c| {
                running += c / total;
                running
            })
            .collect();
        running = 0.0;
        let mut upper: Vec<f64> = counts
            .iter()
            .rev()
            .map(|c| {
                running += c / total;
                running
            })
            .collect();
        upper.reverse();
        Exact { cumulative, upper }
    }

    /// P(W <= w).
    pub(super) fn at_most(&self, w: usize) -> f64 {
        self.cumulative[w.min(self.cumulative.len() - 1)]
    }

    /// P(W >= w).
    pub(super) fn at_least(&self, w: usize) -> f64 {
        self.upper.get(w).copied().unwrap_or(0.0)
    }

    /// How many of the smallest values together have probability at most `tail`: 0 when not even W = 0 fits.
    pub(super) fn lower_critical(&self, tail: f64) -> usize {
        self.cumulative.partition_point(|&p| p <= tail)
    }
}

/// Sum of those ranks whose sign is positive, each sign a fair coin. Midranks are passed doubled so that ties stay
/// exact (then the statistic is doubled too).
pub(super) fn signed_rank(ranks: &[usize]) -> Exact {
    let mut counts = vec![1.0];
    for &rank in ranks {
        let mut next = vec![0.0; counts.len() + rank];
        for (sum, count) in counts.iter().enumerate() {
            next[sum] += count;
            next[sum + rank] += count;
        }
        counts = next;
    }
    Exact::from_counts(&counts)
}

/// Mann-Whitney's U for samples of `m` and `n` without ties: `f(m, n, u) = f(m - 1, n, u - n) + f(m, n - 1, u)`.
pub(super) fn mann_whitney(m: usize, n: usize) -> Exact {
    // One row: f(i, j, .) for the current i and every j.
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        row[0] = vec![1.0];
        for j in 1..=n {
            let mut counts = vec![0.0; i * j + 1];
            for (u, count) in row[j].iter().enumerate() {
                counts[u + j] += count;
            }
            for (u, count) in row[j - 1].iter().enumerate() {
                counts[u] += count;
            }
            row[j] = counts;
        }
    }
    Exact::from_counts(&row[n])
}

/// P(Z >= z) of the standard normal.
pub(super) fn normal_upper(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// The standard normal quantile of `p` in 0..1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// P(Z <= z) of the standard normal.
pub(super) fn normal_lower(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_rank_matches_the_published_table() {
        // Hollander & Wolfe table A.4: P(T+ >= 15) = 1/32 for n = 5, P(T+ >= 47) = .024 for n = 10.
        assert_eq!(signed_rank(&[1, 2, 3, 4, 5]).at_least(15), 1.0 / 32.0);
        let ten = signed_rank(&(1..=10).collect::<Vec<_>>());
        assert!((ten.at_least(47) - 0.024).abs() < 5e-4);
        assert!((ten.at_most(8) - 0.024).abs() < 5e-4);
    }

    #[test]
    fn mann_whitney_matches_counting() {
        // m = n = 2: U = 0, 1, 2, 2, 3, 4.
        let two = mann_whitney(2, 2);
        assert_eq!(two.at_most(0), 1.0 / 6.0);
        assert!((two.at_most(2) - 4.0 / 6.0).abs() < 1e-15);
        assert!((two.at_least(4) - 1.0 / 6.0).abs() < 1e-15);
        assert_eq!(mann_whitney(3, 4).cumulative.len(), 13);
    }
}
