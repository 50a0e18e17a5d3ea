//! E-divisive change points (Matteson & James, JASA 109, 2014) for a history with one value a night, as MongoDB uses it
//! (Daly et al., arXiv 2003.00584): no assumption on the noise, changes in level or spread, seeded permutations.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{all_finite, is_open_unit};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EDivisive {
    /// Fewest values between two changes, at least 2.
    pub min_segment: usize,
    /// Random permutations for each test, at least 1; the smallest possible p-value is 1 / (permutations + 1).
    pub permutations: usize,
    /// A change is kept while its p-value is at most this, 0..1.
    pub alpha: f64,
    pub seed: u64,
}

impl Default for EDivisive {
    fn default() -> Self {
        EDivisive {
            min_segment: 5,
            permutations: 199,
            alpha: 0.01,
            seed: 0,
        }
    }
}

/// A change in the distribution of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// Index of the first value after the change.
    pub index: usize,
    /// Permutation p-value when it was found, at least 1 / (permutations + 1).
    pub p_value: f64,
}

/// Splits a series again and again at the most significant change until none is left; ascending by index.
///
/// Each test permutes values within the segments found so far and compares the largest statistic over all of
/// them. The time of one test is `permutations * n^2`. `None` when values are not finite or a setting is out of its range.
pub fn edivisive(values: &[f64], settings: EDivisive) -> Option<Vec<ChangePoint>> {
    let valid =
        settings.min_segment >= 2 && settings.permutations > 0 && is_open_unit(settings.alpha);
    if !valid || !all_finite(values) {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut changes: Vec<ChangePoint> = Vec::new();
    loop {
        let mut bounds: Vec<usize> = changes.iter().map(|c| c.index).collect();
        bounds.insert(0, 0);
        bounds.push(values.len());
        let Some(found) = strongest_split(values, &bounds, settings.min_segment) else {
            return Some(changes);
        };
        let mut shuffled = values.to_vec();
        let mut as_strong = 0;
        let p_value =
            |as_strong: usize| (as_strong + 1) as f64 / (settings.permutations + 1) as f64;
        for _ in 0..settings.permutations {
            for b in bounds.windows(2) {
                shuffled[b[0]..b[1]].shuffle(&mut rng);
            }
            let by_chance = strongest_split(&shuffled, &bounds, settings.min_segment);
            as_strong += usize::from(by_chance.is_some_and(|c| c.strength >= found.strength));
            // No further permutation makes it significant again; most series end here after a few.
            if p_value(as_strong) > settings.alpha {
                return Some(changes);
            }
        }
        changes.push(ChangePoint {
            index: found.index,
            p_value: p_value(as_strong),
        });
        changes.sort_by_key(|c| c.index);
    }
}

struct SplitPoint {
    index: usize,
    strength: f64,
}

fn strongest_split(values: &[f64], bounds: &[usize], min_segment: usize) -> Option<SplitPoint> {
    bounds
        .windows(2)
        .filter_map(|b| {
            let split = best_split(&values[b[0]..b[1]], min_segment)?;
            Some(SplitPoint {
                index: b[0] + split.index,
                ..split
            })
        })
        .max_by(|a, b| a.strength.total_cmp(&b.strength))
}

/// The split of one segment with the largest scaled energy statistic
/// `mn/(m+n) * (2 E|X-Y| - E|X-X'| - E|Y-Y'|)`; `None` when the segment is too short or constant.
fn best_split(x: &[f64], min_segment: usize) -> Option<SplitPoint> {
    let n = x.len();
    if n < 2 * min_segment {
        return None;
    }
    // Sums of |differences| inside the left part, inside the right part and across, moved along one value at a time.
    let from = |v: f64, part: &[f64]| part.iter().map(|w| (v - w).abs()).sum::<f64>();
    let (mut left, mut across) = (0.0, 0.0);
    let mut right: f64 = (0..n).map(|i| from(x[i], &x[i + 1..])).sum();
    let mut best: Option<SplitPoint> = None;
    for cut in 1..=n - min_segment {
        let moved = x[cut - 1];
        let (to_left, to_right) = (from(moved, &x[..cut - 1]), from(moved, &x[cut..]));
        left += to_left;
        right -= to_right;
        across += to_right - to_left;
        if cut < min_segment {
            continue;
        }
        let (m, k) = (cut as f64, (n - cut) as f64);
        let within = left / (m * (m - 1.0) / 2.0) + right / (k * (k - 1.0) / 2.0);
        let strength = m * k / (m + k) * (2.0 * across / (m * k) - within);
        if best.as_ref().is_none_or(|b| strength > b.strength) {
            best = Some(SplitPoint {
                index: cut,
                strength,
            });
        }
    }
    best.filter(|b| b.strength > 0.0)
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand_distr::StandardNormal;

    use super::*;

    fn noisy(levels: &[(usize, f64, f64)], seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        levels
            .iter()
            .flat_map(|&(n, level, sd)| std::iter::repeat_n((level, sd), n))
            .map(|(level, sd)| level + sd * rng.sample::<f64, _>(StandardNormal))
            .collect()
    }

    #[test]
    fn the_statistic_is_the_energy_distance() {
        // By hand: X = {0, 1}, Y = {4, 6}: across (4+6+3+5)/4 = 4.5, within 1 and 2, times mn/(m+n) = 1.
        let split = best_split(&[0.0, 1.0, 4.0, 6.0], 2).unwrap();
        assert_eq!(split.index, 2);
        assert!((split.strength - (2.0 * 4.5 - 1.0 - 2.0)).abs() < 1e-12);
    }

    #[test]
    fn finds_two_level_changes() {
        let x = noisy(&[(30, 100.0, 1.0), (30, 104.0, 1.0), (30, 101.0, 1.0)], 4);
        let found = edivisive(&x, EDivisive::default()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].index.abs_diff(30) <= 2 && found[1].index.abs_diff(60) <= 2);
        assert!(found.iter().all(|c| c.p_value <= 0.01));
        assert_eq!(edivisive(&x, EDivisive::default()).unwrap(), found);
    }

    #[test]
    fn finds_a_change_of_spread() {
        let x = noisy(&[(60, 100.0, 1.0), (60, 100.0, 8.0)], 2);
        let found = edivisive(&x, EDivisive::default()).unwrap();
        assert!(found.iter().any(|c| c.index.abs_diff(60) <= 6), "{found:?}");
    }

    #[test]
    fn false_alarms_stay_near_alpha() {
        let settings = EDivisive {
            alpha: 0.05,
            permutations: 99,
            ..EDivisive::default()
        };
        let alarms = (0..200)
            .filter(|&seed| {
                !edivisive(&noisy(&[(40, 10.0, 1.0)], seed), settings)
                    .unwrap()
                    .is_empty()
            })
            .count();
        // Binomial(200, 0.05): 10 expected, 20 or more has probability 0.003.
        assert!(alarms < 20, "{alarms}");
    }

    #[test]
    fn constant_short_or_not_finite() {
        let s = EDivisive::default();
        assert_eq!(edivisive(&[3.0; 50], s), Some(vec![]));
        assert_eq!(edivisive(&[3.0, 9.0], s), Some(vec![]));
        assert_eq!(edivisive(&[], s), Some(vec![]));
        assert_eq!(edivisive(&[f64::NAN; 20], s), None);
        assert_eq!(
            edivisive(
                &[1.0; 20],
                EDivisive {
                    min_segment: 1,
                    ..s
                }
            ),
            None
        );
        assert_eq!(
            edivisive(
                &[1.0; 20],
                EDivisive {
                    permutations: 0,
                    ..s
                }
            ),
            None
        );
    }
}
