//! A cell's decode steps, as lean as they can be kept: eight bytes each.

use std::collections::BTreeMap;

use super::estimate::{percentile_of_units, whole_ns};
use super::{Intervals, StepTimes};
use crate::measure::{Call, Phase};
use crate::stats::histogram::min_samples_for;
use crate::stats::summary::{median_of_sorted, quantile_type8};
use crate::stats::{Interval, LatencyHistogram, Summary};

/// Every decode step of a cell, nanoseconds, by worker process and repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps {
    by_process: BTreeMap<u32, Vec<Vec<u64>>>,
    /// Tokens in each sequence's cache before the first step of a repetition.
    first_past: Option<u32>,
    n_boundary: u64,
    /// Duration, and tokens in the cache before it.
    longest: Option<(u64, u32)>,
}

/// The steps at one place of the generation, over all repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepsAt {
    /// Tokens in each sequence's cache before the step.
    pub n_past: u32,
    /// Fastest of all repetitions, nanoseconds.
    pub min_ns: u64,
    /// Median over repetitions, nanoseconds.
    pub median_ns: f64,
    /// Slowest of all repetitions, nanoseconds.
    pub max_ns: u64,
}

impl Steps {
    pub(super) fn note(&mut self, worker: u32, calls: &[Call]) {
        let decode = || calls.iter().filter(|c| c.phase == Phase::Decode);
        let durations = decode().map(Call::step_ns).collect();
        let first_past = decode().next().map(|c| c.n_past);
        self.first_past = self.first_past.or(first_past);
        self.by_process.entry(worker).or_default().push(durations);
        self.n_boundary += decode().filter(|c| c.is_boundary()).count() as u64;
        let longest = decode().map(|c| (c.step_ns(), c.n_past)).max();
        self.longest = self.longest.max(longest);
    }

    fn repetitions(&self) -> impl Iterator<Item = &Vec<u64>> {
        self.by_process.values().flatten()
    }

    pub(super) fn count(&self) -> u64 {
        self.repetitions().map(|r| r.len() as u64).sum()
    }

    /// All steps in ascending order, nanoseconds.
    pub fn sorted(&self) -> Vec<u64> {
        let mut sorted: Vec<u64> = self.repetitions().flatten().copied().collect();
        sorted.sort_unstable();
        sorted
    }

    /// The steps along the generation: one entry for each place that any repetition reached.
    pub fn along(&self) -> Vec<StepsAt> {
        let longest = self.repetitions().map(Vec::len).max().unwrap_or(0);
        (0..longest)
            .filter_map(|at| {
                let here = self.repetitions().filter_map(|steps| steps.get(at));
                let mut here: Vec<f64> = here.map(|ns| *ns as f64).collect();
                here.sort_unstable_by(f64::total_cmp);
                let first_past = self.first_past.unwrap_or(0);
                Some(StepsAt {
                    n_past: first_past.saturating_add(u32::try_from(at).ok()?),
                    min_ns: *here.first()? as u64,
                    median_ns: median_of_sorted(&here)?,
                    max_ns: *here.last()? as u64,
                })
            })
            .collect()
    }

    pub(super) fn times(&self) -> StepTimes {
        let all: Vec<u64> = self.repetitions().flatten().copied().collect();
        let values: Vec<f64> = all.iter().map(|s| *s as f64).collect();
        let summary = Summary::of(&values);
        let [p50, p90, p95, p99] = QUANTILES.map(|q| percentile(&all, q));
        StepTimes {
            mean: summary.map(|s| whole_ns(s.mean)),
            sd: summary.and_then(|s| s.sd).map(whole_ns),
            p50,
            p90,
            p95,
            p99,
            max: self.longest.map(|(step, _)| step),
            max_n_past: self.longest.map(|(_, n_past)| n_past),
            n_boundary: self.n_boundary,
        }
    }

    /// Intervals of the percentiles of `times`. Steps repeat their neighbours, so they are no units of evidence: a
    /// process's percentile over all its steps is one, or a repetition's where there is one process. None where a
    /// unit has too few steps for it.
    pub(super) fn intervals(&self, times: &StepTimes) -> Intervals {
        let of = |q: f64, pooled: Option<u64>| -> Option<Interval> {
            percentile_of_units(&self.units(q)?, pooled? as f64)
        };
        let [p50, p90, p95, p99] = QUANTILES;
        Intervals {
            p50: of(p50, times.p50),
            p90: of(p90, times.p90),
            p95: of(p95, times.p95),
            p99: of(p99, times.p99),
            ..Intervals::default()
        }
    }

    fn units(&self, q: f64) -> Option<Vec<Vec<f64>>> {
        // Exact, as the histogram's three figures would all err to the same side.
        let unit = |steps: &[u64]| {
            let steps: Vec<f64> = steps.iter().map(|s| *s as f64).collect();
            let enough = steps.len() as u64 >= min_samples_for(q)?;
            enough.then(|| quantile_type8(&steps, q))?
        };
        let mut processes = self.by_process.values();
        match (processes.next(), processes.next()) {
            (Some(alone), None) => {
                let repetitions: Option<Vec<f64>> = alone.iter().map(|r| unit(r)).collect();
                Some(vec![repetitions?])
            }
            _ => self
                .by_process
                .values()
                .map(|p| Some(vec![unit(&p.concat())?]))
                .collect(),
        }
    }
}

/// The percentiles of [`StepTimes`].
const QUANTILES: [f64; 4] = [0.50, 0.90, 0.95, 0.99];

/// A percentile to three significant figures; none where the steps are too few for it.
fn percentile(steps_ns: &[u64], q: f64) -> Option<u64> {
    let mut histogram = LatencyHistogram::new();
    for step in steps_ns {
        histogram.record(*step);
    }
    // A bucket's upper end may lie a thousandth above the longest step in it.
    let longest = steps_ns.iter().max()?;
    histogram.percentile(q).map(|p| p.min(*longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_over_repetitions_of_unequal_length() {
        let repetitions = vec![vec![10, 20, 30], vec![12, 26]];
        let steps = Steps {
            by_process: [(0, repetitions)].into(),
            first_past: Some(32),
            ..Steps::default()
        };
        let along = steps.along();
        let medians: Vec<f64> = along.iter().map(|s| s.median_ns).collect();
        assert_eq!(medians, [11.0, 23.0, 30.0]);
        let second = &along[1];
        assert_eq!((second.n_past, second.min_ns, second.max_ns), (33, 20, 26));
        assert_eq!(steps.sorted(), [10, 12, 20, 26, 30]);
        assert_eq!(Steps::default().along(), []);
    }
}
