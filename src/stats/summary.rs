//! Location and spread of one sample.

use serde::{Deserialize, Serialize};

use super::sorted;

/// Multiply a raw [`mad`] by this to estimate the standard deviation of normal noise: 1 / z(0.75).
pub const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// What one sample looks like, in the unit of its values (`n` and `cv` have none).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of values, at least 1.
    pub n: usize,
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); `None` for a single value.
    pub sd: Option<f64>,
    /// Coefficient of variation, sd / |mean|; `None` when there is no sd or the mean is 0.
    pub cv: Option<f64>,
    pub min: f64,
    pub max: f64,
    /// Middle value (mean of the two middle ones for an even count).
    pub median: f64,
    /// Median absolute deviation from the median, raw: multiply by [`MAD_TO_SD`] to compare with `sd`.
    pub mad: f64,
}

impl Summary {
    /// Summarises a sample; `None` when it is empty, not finite, or so large that its variance overflows.
    ///
    /// Mean and variance by Welford's update (Technometrics 4, 1962), which does not cancel.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let ordered = sorted(values)?;
        let (&min, &max) = (ordered.first()?, ordered.last()?);
        let n = ordered.len();
        let (mut mean, mut m2) = (0.0, 0.0);
        for (i, &x) in values.iter().enumerate() {
            let delta = x - mean;
            mean += delta / (i + 1) as f64;
            m2 += delta * (x - mean);
        }
        if !mean.is_finite() || !m2.is_finite() {
            return None;
        }
        // Rounding may leave the running mean an ulp outside the sample.
        let mean = mean.clamp(min, max);
        let sd = (n > 1).then(|| (m2 / (n - 1) as f64).sqrt());
        Some(Summary {
            n,
            mean,
            sd,
            cv: sd.filter(|_| mean != 0.0).map(|sd| sd / mean.abs()),
            min,
            max,
            median: median_of_sorted(&ordered)?,
            mad: mad(values)?,
        })
    }
}

/// Arithmetic mean; `None` when empty or not finite.
pub fn mean(values: &[f64]) -> Option<f64> {
    Summary::of(values).map(|s| s.mean)
}

/// Middle value, or the mean of the two middle ones; `None` when empty or not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    median_of_sorted(&sorted(values)?)
}

/// [`median`] of values already in ascending order.
pub(crate) fn median_of_sorted(ordered: &[f64]) -> Option<f64> {
    let n = ordered.len();
    let upper = *ordered.get(n / 2)?;
    Some(if n % 2 == 1 {
        upper
    } else {
        ordered[n / 2 - 1].midpoint(upper)
    })
}

/// Median absolute deviation from the median, raw (see [`MAD_TO_SD`]); `None` when empty or not finite.
pub fn mad(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    median(&deviations)
}

/// Quantile by linear interpolation at `(n - 1) q`: type 7 of Hyndman & Fan 1996, as R and NumPy by default.
///
/// `None` when empty, not finite, or `q` outside 0..=1. For tails of latencies use
/// [`LatencyHistogram::percentile`](super::LatencyHistogram::percentile), which refuses small samples.
pub fn quantile_type7(values: &[f64], q: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(values)?, q)
}

/// [`quantile_type7`] of values already in ascending order.
pub(super) fn quantile_of_sorted(ordered: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) || ordered.is_empty() {
        return None;
    }
    Some(between(ordered, (ordered.len() - 1) as f64 * q))
}

/// The value at a position, counted from 0, that may lie between two; `ordered` is not empty.
fn between(ordered: &[f64], position: f64) -> f64 {
    let position = position.clamp(0.0, (ordered.len() - 1) as f64);
    let below = position.floor() as usize;
    let (lower, upper) = (ordered[below], ordered[position.ceil() as usize]);
    (lower + (position - below as f64) * (upper - lower)).clamp(lower, upper)
}

/// Quantile by linear interpolation at `(n + 1/3) q + 1/3` (counted from 1): type 8 of Hyndman & Fan 1996, which on
/// average errs to neither side of the quantile, whatever the distribution. For a single sample's own tail prefer
/// [`LatencyHistogram::percentile`](super::LatencyHistogram::percentile); this is for quantiles that are evidence.
///
/// `None` when empty, not finite, or `q` outside 0..=1.
pub fn quantile_type8(values: &[f64], q: f64) -> Option<f64> {
    let ordered = sorted(values)?;
    if !(0.0..=1.0).contains(&q) || ordered.is_empty() {
        return None;
    }
    let third = 1.0 / 3.0;
    let position = (ordered.len() as f64 + third) * q + third - 1.0;
    Some(between(&ordered, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: [f64; 8] = [2.1, 3.4, 1.9, 5.6, 4.4, 3.3, 2.8, 9.7];

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn agrees_with_numpy_and_scipy() {
        // numpy 2.4, scipy 1.17: mean, std(ddof=1), median, median_abs_deviation, quantile, gmean.
        let s = Summary::of(&SAMPLE).unwrap();
        assert_eq!((s.n, s.min, s.max), (8, 1.9, 9.7));
        close(s.mean, 4.15);
        close(s.sd.unwrap(), 2.545_023_154_539_631_3);
        close(s.cv.unwrap(), 2.545_023_154_539_631_3 / 4.15);
        close(s.median, 3.35);
        close(s.mad, 1.15);
        close(quantile_type7(&SAMPLE, 0.1).unwrap(), 2.04);
        close(quantile_type7(&SAMPLE, 0.25).unwrap(), 2.625);
        close(quantile_type7(&SAMPLE, 0.9).unwrap(), 6.83);
    }

    #[test]
    fn type_8_follows_its_formula() {
        // Position 8 1/3 * q + 1/3 of the eight: 1 1/6, 4 1/2, 7 5/6, and beyond the last.
        for (q, expected) in [
            (0.1, 1.9 + 0.2 / 6.0),
            (0.5, 3.35),
            (0.9, 5.6 + 4.1 * 5.0 / 6.0),
            (0.99, 9.7),
            (0.0, 1.9),
        ] {
            close(quantile_type8(&SAMPLE, q).unwrap(), expected);
        }
        assert_eq!(quantile_type8(&[], 0.5), None);
        assert_eq!(quantile_type8(&[1.0, f64::NAN], 0.5), None);
        assert_eq!(quantile_type8(&[1.0], 1.5), None);
    }

    #[test]
    fn a_large_offset_does_not_cancel_the_variance() {
        // NIST StRD NumAcc4: 1001 values around 10,000,000.2, sd exactly 0.1.
        let values: Vec<f64> = std::iter::once(10_000_000.2)
            .chain((0..1000).map(|i| {
                if i % 2 == 0 {
                    10_000_000.1
                } else {
                    10_000_000.3
                }
            }))
            .collect();
        let s = Summary::of(&values).unwrap();
        assert!((s.sd.unwrap() - 0.1).abs() < 1e-8);
    }

    #[test]
    fn one_value_has_no_spread_and_no_values_have_no_summary() {
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!(
            (one.sd, one.cv, one.mad, one.median),
            (None, None, 0.0, 7.0)
        );
        assert_eq!(Summary::of(&[0.0, 0.0]).unwrap().cv, None);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(quantile_type7(&[], 0.5), None);
    }

    #[test]
    fn not_finite_is_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Summary::of(&[1.0, bad]), None);
            assert_eq!(median(&[1.0, bad]), None);
            assert_eq!(mad(&[bad]), None);
            assert_eq!(quantile_type7(&[1.0, bad], 0.5), None);
            assert_eq!(quantile_type7(&[1.0], bad), None);
        }
    }
}
