//! Latency distributions: an HdrHistogram that refuses percentiles its sample cannot support.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::is_open_unit;

/// Largest recordable latency: one hour. Anything longer is counted there and in [`LatencyHistogram::clipped`].
pub const MAX_NS: u64 = 3_600_000_000_000;

const SIGNIFICANT_FIGURES: u8 = 3;

/// Latencies in nanoseconds, 1 ns to 1 h, kept to 3 significant figures (each value read back is at most 0.1% high).
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyHistogram {
    inner: Histogram<u64>,
    clipped: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram.
    pub fn new() -> Self {
        let inner = Histogram::new_with_bounds(1, MAX_NS, SIGNIFICANT_FIGURES)
            .expect("1 ns to 1 h at 3 figures are valid HdrHistogram bounds");
        Self { inner, clipped: 0 }
    }

    /// Adds one latency in nanoseconds; above [`MAX_NS`] it counts as `MAX_NS` and as clipped.
    pub fn record(&mut self, latency_ns: u64) {
        self.clipped += u64::from(latency_ns > MAX_NS);
        self.inner.saturating_record(latency_ns.min(MAX_NS));
    }

    /// Number of latencies recorded.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// How many latencies were longer than [`MAX_NS`].
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Largest latency in nanoseconds, to 3 figures; `None` when empty.
    pub fn max_ns(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.inner.max())
    }

    /// Smallest latency in nanoseconds, to 3 figures; `None` when empty.
    pub fn min_ns(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.inner.min())
    }

    /// The latency in nanoseconds below which a fraction `q` lies (0.99 for p99), or `None` when `q` is not in 0..1
    /// or fewer than [`min_samples_for`]`(q)` latencies were recorded: the number would be made of one or two values.
    pub fn percentile(&self, q: f64) -> Option<u64> {
        let needed = min_samples_for(q)?;
        (self.len() >= needed).then(|| self.inner.value_at_quantile(q))
    }

    /// The percentile distribution as `.hgrm` text, which the HdrHistogram plotter reads.
    ///
    /// `unit_ns` divides every value: 1,000,000 writes milliseconds. It must be positive and finite, else `None`.
    pub fn to_hgrm(&self, unit_ns: f64) -> Option<String> {
        if !(unit_ns > 0.0 && unit_ns.is_finite()) {
            return None;
        }
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut total = 0;
        for step in self.inner.iter_quantiles(5) {
            total += step.count_since_last_iteration();
            let q = step.quantile_iterated_to();
            let value = step.value_iterated_to() as f64 / unit_ns;
            let tail = if q < 1.0 {
                format!("{:14.2}", 1.0 / (1.0 - q))
            } else {
                format!("{:>14}", "inf")
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{value:12.3} {q:.12} {total:10} {tail}");
        }
        let _ = writeln!(
            text,
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n#[Buckets = {:12}, SubBuckets     = {:12}]",
            self.inner.mean() / unit_ns,
            self.inner.stdev() / unit_ns,
            self.inner.max() as f64 / unit_ns,
            self.len(),
            self.inner.buckets(),
            SUB_BUCKETS,
        );
        Some(text)
    }
}

/// Sub-buckets that 3 significant figures need: the power of two above 2 * 10^3.
const SUB_BUCKETS: u32 = 2048;

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
        assert!((h.max_ns().unwrap() as f64 / 1e7 - 1.0).abs() <= 1e-3);
        assert_eq!(LatencyHistogram::new().max_ns(), None);
        assert_eq!(LatencyHistogram::new().min_ns(), None);
    }

    #[test]
    fn longer_than_an_hour_is_clipped_and_counted() {
        let h = filled([0, 5, u64::MAX]);
        assert_eq!((h.len(), h.clipped()), (3, 1));
        assert!(h.max_ns().unwrap() as f64 <= MAX_NS as f64 * 1.001);
    }

    #[test]
    fn hgrm_text_has_the_plotters_columns() {
        let text = filled((1..=1_000).map(|i| i * 1_000_000))
            .to_hgrm(1e6)
            .unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert!(rows.len() > 20);
        assert!(rows.iter().all(|r| r.len() == 4));
        let median = rows.iter().find(|r| r[1] == "0.500000000000").unwrap();
        assert!((median[0].parse::<f64>().unwrap() - 500.0).abs() < 0.6);
        assert_eq!((median[2], median[3]), ("500", "2.00"));
        assert_eq!(rows.last().unwrap()[2..], ["1000", "inf"]);
        assert!(text.contains("#[Max     = "));
        assert_eq!(LatencyHistogram::new().to_hgrm(0.0), None);
    }
}
