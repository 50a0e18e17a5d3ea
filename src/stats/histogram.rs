//! Latency distributions: an HdrHistogram that refuses percentiles its sample cannot support, and
//! distribution-free intervals for a percentile.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::interval::Interval;
use super::{all_finite, is_open_unit};

/// Largest recordable latency: one hour. Anything longer is counted there and in [`LatencyHistogram::clipped`].
pub const MAX_NS: u64 = 3_600_000_000_000;

const SIGNIFICANT_FIGURES: u8 = 3;

/// Why a histogram could not be read back, written or merged.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// The bytes are not a V2 HdrHistogram.
    #[error(
        "histogram bytes are not a readable V2 HdrHistogram: {0}; write them again with to_bytes"
    )]
    Decode(String),
    /// The histogram could not be encoded.
    #[error("histogram could not be encoded as V2: {0}")]
    Encode(String),
}

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

    /// Adds everything another histogram recorded.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        self.inner
            .add(&other.inner)
            .expect("every LatencyHistogram has the same bounds");
        self.clipped += other.clipped;
    }

    /// Number of latencies recorded.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// How many latencies were longer than [`MAX_NS`] (not kept by [`to_bytes`](Self::to_bytes)).
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

    /// The V2 encoding of HdrHistogram, uncompressed, readable by its Java, Go, C and Python versions.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HistogramError> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.inner, &mut bytes)
            .map_err(|e| HistogramError::Encode(format!("{e:?}")))?;
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Bounds other than 1 ns, 1 h and 3 figures are refused,
    /// because such histograms could not be merged.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, HistogramError> {
        let inner: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes)
            .map_err(|e| HistogramError::Decode(format!("{e:?}")))?;
        let found = (inner.low(), inner.high(), inner.sigfig());
        if found != (1, MAX_NS, SIGNIFICANT_FIGURES) {
            return Err(HistogramError::Decode(format!(
                "bounds and figures are {found:?}, expected {:?}",
                (1, MAX_NS, SIGNIFICANT_FIGURES)
            )));
        }
        Ok(Self { inner, clipped: 0 })
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

/// Distribution-free interval for the `q` quantile of independent samples, from their order statistics.
///
/// `ordered` must be ascending. Both tails hold at most `(1 - level) / 2` by the binomial distribution (Conover,
/// Practical Nonparametric Statistics, 3.2), so coverage is at least `level`. `None` when the samples are not
/// ascending or finite, or too few: a two-sided 95% interval for p99 needs 368. Steps of one run are
/// autocorrelated; then this interval is too narrow.
pub fn percentile_interval(ordered: &[f64], q: f64, level: f64) -> Option<Interval> {
    if !is_open_unit(q) || !is_open_unit(level) || !all_finite(ordered) || !ordered.is_sorted() {
        return None;
    }
    let n = ordered.len() as u64;
    let tail = (1.0 - level) / 2.0;
    let binomial = Binomial::new(q, n).ok()?;
    // Ranks are 1-based: x(r) lies above the quantile with probability P(count < r) = cdf(r - 1).
    let lower = last_true(n, |r| binomial.cdf(r - 1) <= tail)?;
    let upper = n + 1 - last_true(n, |back| binomial.sf(n - back) <= tail)?;
    let interval = Interval {
        lo: ordered[lower as usize - 1],
        estimate: super::summary::quantile_of_sorted(ordered, q)?,
        hi: ordered[upper as usize - 1],
        level,
    };
    Some(interval.spanning_its_estimate())
}

/// The largest of 1..=n for which a predicate that turns from true to false once still holds.
fn last_true(n: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut good, mut bad) = (0, n + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if holds(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good > 0).then_some(good)
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
    fn merging_equals_recording_together() {
        let mut left = filled((1..500).map(|i| i * 977));
        left.merge(&filled((1..500).map(|i| i * 31_337)));
        let both = filled((1..500).flat_map(|i| [i * 977, i * 31_337]));
        assert_eq!(left, both);
    }

    #[test]
    fn bytes_round_trip_and_garbage_is_refused() {
        let h = filled((1..2_000).map(|i| i * i * 13));
        assert_eq!(
            LatencyHistogram::from_bytes(&h.to_bytes().unwrap()).unwrap(),
            h
        );
        assert!(LatencyHistogram::from_bytes(b"not a histogram").is_err());
        let mut foreign = Vec::new();
        V2Serializer::new()
            .serialize(
                &Histogram::<u64>::new_with_bounds(1, 1_000, 2).unwrap(),
                &mut foreign,
            )
            .unwrap();
        let message = LatencyHistogram::from_bytes(&foreign)
            .unwrap_err()
            .to_string();
        assert!(message.contains("bounds and figures"), "{message}");
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

    #[test]
    fn percentile_interval_takes_the_binomial_ranks() {
        // Ranks from scipy 1.17 (binom.cdf, binom.sf), two-sided 95%.
        for (n, q, lo, hi) in [
            (100, 0.9, 84.0, 96.0),
            (30, 0.5, 10.0, 21.0),
            (1000, 0.99, 983.0, 997.0),
        ] {
            let x: Vec<f64> = (1..=n).map(f64::from).collect();
            let i = percentile_interval(&x, q, 0.95).unwrap();
            assert_eq!((i.lo, i.hi), (lo, hi), "n = {n}, q = {q}");
        }
    }

    #[test]
    fn percentile_interval_needs_368_samples_for_p99() {
        let x: Vec<f64> = (1..=368).map(f64::from).collect();
        assert!(percentile_interval(&x, 0.99, 0.95).is_some());
        assert_eq!(percentile_interval(&x[1..], 0.99, 0.95), None);
        assert_eq!(percentile_interval(&[2.0, 1.0], 0.5, 0.1), None);
        assert_eq!(percentile_interval(&[], 0.5, 0.95), None);
        assert_eq!(percentile_interval(&[f64::NAN; 50], 0.5, 0.95), None);
    }
}
