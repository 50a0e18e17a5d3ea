//! How much neighbouring values repeat each other: why steps of one run are not independent evidence.

use super::summary::Summary;

/// Lag-1 autocorrelation, -1 to 1. `None` for fewer than 3 values, values that are not finite, or a constant series.
///
/// The biased estimator (divisor n) of Box & Jenkins, as R's `acf`.
pub fn lag1(values: &[f64]) -> Option<f64> {
    if values.len() < 3 {
        return None;
    }
    let s = Summary::of(values)?;
    let power: f64 = values.iter().map(|v| (v - s.mean).powi(2)).sum();
    let product: f64 = values
        .windows(2)
        .map(|w| (w[0] - s.mean) * (w[1] - s.mean))
        .sum();
    (s.max > s.min && power > 0.0).then(|| product / power)
}

/// How many independent values the series is worth for its mean: `n (1 - r) / (1 + r)`, at least 1, at most n.
///
/// First-order (Thiebaux & Zwiers, J. Climate Appl. Meteor. 23, 1984); negative correlation counts as none. `None` as
/// for [`lag1`].
pub fn effective_sample_size(values: &[f64]) -> Option<f64> {
    let r = lag1(values)?.max(0.0);
    let n = values.len() as f64;
    Some((n * (1.0 - r) / (1.0 + r)).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        // Evaluated with numpy 2.4.
        let y = [3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 3.0, 4.0, 6.0, 7.0, 6.0, 5.0];
        let r = lag1(&y).unwrap();
        assert!((r - 0.671_171_171_171_171_1).abs() < 1e-12);
        assert!((effective_sample_size(&y).unwrap() - 12.0 * (1.0 - r) / (1.0 + r)).abs() < 1e-12);
    }

    #[test]
    fn alternation_is_negative_and_counts_as_independent() {
        let y: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        assert!(lag1(&y).unwrap() < -0.98);
        assert_eq!(effective_sample_size(&y), Some(100.0));
    }

    #[test]
    fn constant_short_or_not_finite_is_none() {
        assert_eq!(lag1(&[2.0; 10]), None);
        assert_eq!(lag1(&[1.0, 2.0]), None);
        assert_eq!(lag1(&[1.0, f64::NAN, 2.0, 3.0]), None);
        assert_eq!(effective_sample_size(&[]), None);
    }
}
