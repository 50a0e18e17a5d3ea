//! Latency distributions: an HdrHistogram that refuses percentiles its sample cannot support.

use hdrhistogram::Histogram;

use super::is_open_unit;

/// Largest recordable latency: one hour. Anything longer is counted there.
pub const MAX_NS: u64 = 3_600_000_000_000;

const SIGNIFICANT_FIGURES: u8 = 3;

/// Latencies in nanoseconds, 1 ns to 1 h, kept to 3 significant figures (each value read back is at most 0.1% high).
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyHistogram {
    inner: Histogram<u64>,
}

impl LatencyHistogram {
    pub fn new() -> Self {
        let inner = Histogram::new_with_bounds(1, MAX_NS, SIGNIFICANT_FIGURES)
            .expect("1 ns to 1 h at 3 figures are valid HdrHistogram bounds");
        Self { inner }
    }

    /// Adds one latency in nanoseconds; above [`MAX_NS`] it counts as `MAX_NS`.
    pub fn record(&mut self, latency_ns: u64) {
        self.inner.saturating_record(latency_ns.min(MAX_NS));
    }

    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// The latency in nanoseconds below which a fraction `q` lies (0.99 for p99), or `None` when `q` is not in 0..1
    /// or fewer than [`min_samples_for`]`(q)` latencies were recorded: the number would be made of one or two values.
    pub fn percentile(&self, q: f64) -> Option<u64> {
        let needed = min_samples_for(q)?;
        (self.len() >= needed).then(|| self.inner.value_at_quantile(q))
    }
}

/// How many samples it takes before the sample extreme lies beyond the `q` quantile with 95% confidence:
/// `ceil(ln 0.05 / ln max(q, 1 - q))`, 299 for p99 and 59 for p95. `None` unless 0 < q < 1.
///
/// With n samples all lie below the quantile with probability `q^n` (Wilks 1941); low quantiles mirror high ones.
pub fn min_samples_for(q: f64) -> Option<u64> {
    is_open_unit(q).then(|| (0.05f64.ln() / q.max(1.0 - q).ln()).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(values: impl IntoIterator<Item = u64>) -> LatencyHistogram {
        let mut h = LatencyHistogram::new();
        values.into_iter().for_each(|v| h.record(v));
        h
    }

    #[test]
    fn a_p99_needs_299_samples() {
        assert_eq!(min_samples_for(0.99), Some(299));
        assert_eq!(min_samples_for(0.95), Some(59));
        assert_eq!(min_samples_for(0.9), Some(29));
        assert_eq!(min_samples_for(0.5), Some(5));
        assert_eq!(min_samples_for(0.01), Some(299));
        for q in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(min_samples_for(q), None);
        }
        assert_eq!(filled(1..=298).percentile(0.99), None);
        assert_eq!(filled(1..=299).percentile(0.99), Some(297));
    }

    #[test]
    fn values_come_back_to_three_figures() {
        let h = filled((1..=10_000).map(|i| i * 1_000));
        for (q, expected) in [(0.5, 5_000_000.0), (0.95, 9_500_000.0), (0.99, 9_900_000.0)] {
            let got = h.percentile(q).unwrap() as f64;
            assert!((got / expected - 1.0).abs() <= 1e-3, "{q}: {got}");
        }
    }

    #[test]
    fn longer_than_an_hour_counts_as_an_hour() {
        let h = filled([1, 5, u64::MAX, u64::MAX, u64::MAX]);
        assert_eq!(h.len(), 5);
        let median = h.percentile(0.5).unwrap() as f64;
        assert!((median / MAX_NS as f64 - 1.0).abs() <= 1e-3);
    }
}
