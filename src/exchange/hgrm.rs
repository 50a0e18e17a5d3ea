//! HdrHistogram's text of a distribution (`.hgrm`), which its plotter reads: a cell's decode steps in milliseconds.

use std::io::{self, Write};

use hdrhistogram::Histogram;

/// As many figures as percentiles elsewhere.
const SIGNIFICANT_FIGURES: u8 = 3;

/// Buckets within one of the histogram's powers of two: twice ten to the figures, as a power of two.
const SUB_BUCKETS: u32 = 2048;

/// Lines for each halving of the distance to 100%, as HdrHistogram's own programs have it.
const TICKS_PER_HALF: u32 = 5;

/// Writes the distribution of durations, at least one.
///
/// # Errors
/// The writer's.
pub(crate) fn write(steps_ns: &[u64], out: &mut dyn Write) -> io::Result<()> {
    let longest = steps_ns.iter().copied().max().unwrap_or(0).max(2);
    let histogram = Histogram::<u64>::new_with_bounds(1, longest, SIGNIFICANT_FIGURES);
    let mut histogram = histogram.map_err(io::Error::other)?;
    for step in steps_ns {
        histogram.saturating_record((*step).max(1));
    }
    let ms = |ns: f64| ns / 1e6;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for at in histogram.iter_quantiles(TICKS_PER_HALF) {
        let value = ms(at.value_iterated_to() as f64);
        let share = at.quantile_iterated_to();
        let below = histogram.count_between(0, at.value_iterated_to());
        match share < 1.0 {
            true => writeln!(
                out,
                "{value:>12.3} {share:>2.12} {below:>10} {:>14.2}",
                1.0 / (1.0 - share)
            )?,
            false => writeln!(out, "{value:>12.3} {share:>2.12} {below:>10}")?,
        }
    }
    let (mean, sd) = (ms(histogram.mean()), ms(histogram.stdev()));
    writeln!(
        out,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {sd:>12.3}]"
    )?;
    let (longest, n) = (ms(histogram.max() as f64), histogram.len());
    writeln!(
        out,
        "#[Max     = {longest:>12.3}, Total count    = {n:>12}]"
    )?;
    let buckets = histogram.buckets();
    writeln!(
        out,
        "#[Buckets = {buckets:>12}, SubBuckets     = {SUB_BUCKETS:>12}]"
    )
}
