//! One repetition's figures, and a cell's step times.

use super::StepTimes;
use crate::measure::{Call, Phase};
use crate::stats::{LatencyHistogram, Summary, summary};

/// What one repetition says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RepetitionFigures {
    /// Generated tokens over the sum of decode steps.
    pub decode_tokens_per_s: Option<f64>,
    /// Prompt tokens over the sum of prefill calls.
    pub prefill_tokens_per_s: Option<f64>,
    /// The sum of prefill calls: the batch is prefilled jointly.
    pub prefill_ns: Option<u64>,
    /// Median decode step.
    pub median_step_ns: Option<f64>,
    /// Mean decode step.
    pub mean_step_ns: Option<f64>,
    /// Median of this program's own part of a decode step.
    pub overhead_ns: Option<f64>,
    /// Median of the engine's part.
    pub engine_ns: Option<f64>,
    /// Median of the part of choosing tokens.
    pub sample_ns: Option<f64>,
    /// Median of the engine's part that is spent waiting for a device.
    pub wait_ns: Option<f64>,
    /// Prefill and every decode step: how long the request took, from its prompt to its last token.
    pub request_ns: Option<u64>,
}

impl RepetitionFigures {
    /// Of a repetition's calls.
    pub fn of(calls: &[Call]) -> Self {
        let decode = || calls.iter().filter(|c| c.phase == Phase::Decode);
        let prefill = || calls.iter().filter(|c| c.phase == Phase::Prefill);
        let steps = |part: fn(&Call) -> u64| decode().map(|c| part(c) as f64).collect::<Vec<_>>();
        let step_ns = steps(Call::step_ns);
        Self {
            decode_tokens_per_s: rate(decode()),
            prefill_tokens_per_s: rate(prefill()),
            prefill_ns: prefill().map(Call::step_ns).reduce(u64::saturating_add),
            median_step_ns: summary::median(&step_ns),
            mean_step_ns: summary::mean(&step_ns),
            overhead_ns: summary::median(&steps(|c| c.build_ns)),
            engine_ns: summary::median(&steps(Call::engine_ns)),
            sample_ns: summary::median(&steps(|c| c.sample_ns)),
            wait_ns: summary::median(&steps(|c| c.wait_ns)),
            request_ns: calls.iter().map(Call::step_ns).reduce(u64::saturating_add),
        }
    }
}

/// Tokens per second of some calls; none when no time passed.
fn rate<'a>(calls: impl Iterator<Item = &'a Call>) -> Option<f64> {
    let (tokens, ns) = calls.fold((0_u64, 0_u64), |(tokens, ns), c| {
        (
            tokens.saturating_add(u64::from(c.n_tokens)),
            ns.saturating_add(c.step_ns()),
        )
    });
    (tokens > 0 && ns > 0).then(|| tokens as f64 / ns as f64 * 1e9)
}

/// A rounded duration; a value that is no duration becomes the nearest one.
pub(super) fn ns(value: f64) -> u64 {
    value.round() as u64
}

/// The median of integer durations.
pub(super) fn median_ns(values: &[u64]) -> Option<u64> {
    let values: Vec<f64> = values.iter().map(|v| *v as f64).collect();
    summary::median(&values).map(ns)
}

impl StepTimes {
    /// Of all decode steps of a cell.
    pub(super) fn of(steps_ns: &[u64]) -> Self {
        let mut histogram = LatencyHistogram::new();
        for step in steps_ns {
            histogram.record(*step);
        }
        let max = steps_ns.iter().max().copied();
        // A bucket's upper end may lie a thousandth above the longest step in it.
        let percentile = |q| histogram.percentile(q).map(|p| p.min(max.unwrap_or(p)));
        let values: Vec<f64> = steps_ns.iter().map(|s| *s as f64).collect();
        let summary = Summary::of(&values);
        Self {
            mean: summary.map(|s| ns(s.mean)),
            sd: summary.and_then(|s| s.sd).map(ns),
            p50: percentile(0.50),
            p90: percentile(0.90),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max,
        }
    }
}
