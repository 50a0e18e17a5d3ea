//! BCa bootstrap intervals (Efron, JASA 82, 1987; Efron & Tibshirani 1993, chapter 14) of any statistic.
//!
//! For a median over few processes use [`median_interval`](super::median_interval): a bootstrap of 3 processes covers far
//! less than it says. These are for statistics without a closed form and for at least about 10 units
//! (chunks of a text, parameters of a fit).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::interval::Interval;
use super::summary::quantile_of_sorted;
use super::{all_finite, is_open_unit};

/// BCa interval of `statistic` over independent values, seeded and repeatable.
///
/// - Fewer than 3 values: the jackknife says nothing, the acceleration is taken as 0 (2 values) or the answer is `None` (less).
/// - All resamples equal: an interval of width 0.
/// - `None` too when values are not finite, when `statistic` answers with a value that is not finite, when
///   `level` is outside 0..1 or `resamples` is 0.
pub fn bca(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    level: f64,
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    if !all_finite(values) {
        return None;
    }
    let drawn = |units: &[usize]| {
        let drawn: Vec<f64> = units.iter().map(|unit| values[*unit]).collect();
        statistic(&drawn)
    };
    bca_over_units(values.len(), drawn, level, resamples, seed)
}

/// The same over independent units that each hold several values: `statistic` is given the numbers of the drawn units, each
/// as often as it was drawn.
pub fn bca_over_units(
    n_units: usize,
    statistic: impl Fn(&[usize]) -> f64,
    level: f64,
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    if n_units < 2 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = vec![0; n_units];
    let replicates = (0..resamples)
        .map(|_| {
            for slot in &mut draw {
                *slot = rng.random_range(0..n_units);
            }
            statistic(&draw)
        })
        .collect();
    let all: Vec<usize> = (0..n_units).collect();
    let jackknife: Vec<f64> = (0..n_units)
        .map(|left_out| {
            let mut rest = all.clone();
            rest.remove(left_out);
            statistic(&rest)
        })
        .collect();
    adjusted(statistic(&all), replicates, &jackknife, level)
}

/// The BCa interval from the replicates and the jackknife values (Efron & Tibshirani, equations 14.9 to 14.15).
fn adjusted(
    estimate: f64,
    mut replicates: Vec<f64>,
    jackknife: &[f64],
    level: f64,
) -> Option<Interval> {
    if replicates.is_empty()
        || !is_open_unit(level)
        || !estimate.is_finite()
        || !all_finite(&replicates)
    {
        return None;
    }
    replicates.sort_unstable_by(f64::total_cmp);
    let total = replicates.len() as f64;
    let below = replicates.partition_point(|&r| r < estimate) as f64;
    let not_above = replicates.partition_point(|&r| r <= estimate) as f64;
    // Ties count half, as a median's replicates often equal the estimate; the clamp keeps the bias finite.
    let share =
        ((below + not_above) / 2.0 / total).clamp(1.0 / (total + 1.0), total / (total + 1.0));
    let normal = Normal::standard();
    let bias = normal.inverse_cdf(share);
    let acceleration = acceleration(jackknife);
    let end = |p: f64| {
        let z = bias + normal.inverse_cdf(p);
        // Where the correction leaves its range of validity, the extreme replicate is the answer.
        let denominator = 1.0 - acceleration * z;
        let shifted = if denominator > 0.0 {
            bias + z / denominator
        } else {
            z.signum() * f64::INFINITY
        };
        quantile_of_sorted(&replicates, normal.cdf(shifted))
    };
    let tail = (1.0 - level) / 2.0;
    Some(
        Interval {
            lo: end(tail)?,
            estimate,
            hi: end(1.0 - tail)?,
            level,
        }
        .spanning_its_estimate(),
    )
}

/// Jackknife acceleration: sum d^3 / (6 (sum d^2)^1.5) with d = mean - value; 0 when it cannot be told.
fn acceleration(jackknife: &[f64]) -> f64 {
    if jackknife.len() < 3 || !all_finite(jackknife) {
        return 0.0;
    }
    let mean = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let (squares, cubes) = jackknife.iter().fold((0.0, 0.0), |(s, c), v| {
        let d = mean - v;
        (s + d * d, c + d * d * d)
    });
    let a = cubes / (6.0 * squares.powf(1.5));
    if a.is_finite() { a } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::summary::median;

    /// Spatial test scores A of 26 children (Efron & Tibshirani 1993, table 14.1).
    const SPATIAL: [f64; 26] = [
        48.0, 36.0, 20.0, 29.0, 42.0, 42.0, 20.0, 42.0, 22.0, 41.0, 45.0, 14.0, 6.0, 0.0, 33.0,
        28.0, 34.0, 4.0, 32.0, 24.0, 47.0, 41.0, 24.0, 26.0, 30.0, 41.0,
    ];

    fn plug_in_variance(x: &[f64]) -> f64 {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64
    }

    fn sample_median(x: &[f64]) -> f64 {
        median(x).unwrap()
    }

    #[test]
    fn agrees_with_the_textbook_and_scipy() {
        // The book: variance 171.5, acceleration 0.061, 90% BCa (115.8, 259.6) from 2,000 resamples.
        // scipy 1.17 bootstrap(method="BCa", n_resamples=400000): (115.50, 261.12).
        let jackknife: Vec<f64> = (0..26)
            .map(|i| plug_in_variance(&[&SPATIAL[..i], &SPATIAL[i + 1..]].concat()))
            .collect();
        assert!((acceleration(&jackknife) - 0.061).abs() < 5e-4);
        let i = bca(&SPATIAL, plug_in_variance, 0.9, 20_000, 1).unwrap();
        assert!((i.estimate - 171.534).abs() < 1e-3);
        assert!((i.lo - 115.50).abs() < 1.5, "{i:?}");
        assert!((i.hi - 261.12).abs() < 1.5 * 2.0, "{i:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let run = |seed| bca(&SPATIAL, sample_median, 0.95, 500, seed).unwrap();
        assert_eq!(run(7), run(7));
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        assert_ne!(
            bca(&SPATIAL, mean, 0.95, 500, 7),
            bca(&SPATIAL, mean, 0.95, 500, 8)
        );
    }

    #[test]
    fn units_of_one_value_are_the_values() {
        let variance = |units: &[usize]| {
            let drawn: Vec<f64> = units.iter().map(|unit| SPATIAL[*unit]).collect();
            plug_in_variance(&drawn)
        };
        let of_units = bca_over_units(SPATIAL.len(), variance, 0.9, 500, 3);
        assert_eq!(of_units, bca(&SPATIAL, plug_in_variance, 0.9, 500, 3));
        assert_eq!(bca_over_units(1, |_| 1.0, 0.9, 500, 3), None);
    }

    #[test]
    fn degenerate_shapes_are_answered_as_documented() {
        let equal = bca(&[4.0; 9], sample_median, 0.95, 200, 1).unwrap();
        assert_eq!((equal.lo, equal.estimate, equal.hi), (4.0, 4.0, 4.0));
        assert!(bca(&[1.0, 2.0], sample_median, 0.95, 200, 1).is_some());
    }

    #[test]
    fn what_cannot_be_answered_is_none() {
        for bad in [&[][..], &[1.0], &[1.0, f64::NAN]] {
            assert_eq!(bca(bad, sample_median, 0.95, 10, 1), None);
        }
        assert_eq!(bca(&SPATIAL, |_| f64::NAN, 0.95, 10, 1), None);
        assert_eq!(bca(&SPATIAL, sample_median, 1.0, 10, 1), None);
        assert_eq!(bca(&SPATIAL, sample_median, 0.95, 0, 1), None);
    }
}
