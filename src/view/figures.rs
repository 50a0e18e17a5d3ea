//! From repetitions to figures: estimates, their intervals, and a cell's step times.

use std::collections::BTreeMap;

use super::{Intervals, StepTimes};
use crate::measure::{Call, Phase};
use crate::run::stop::LEVEL;
use crate::stats::histogram::min_samples_for;
use crate::stats::{Interval, LatencyHistogram, Summary, median_interval, summary};

/// A figure, and its interval where there is enough for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The median over processes of each one's median over its repetitions.
    pub value: f64,
    /// Its 95% interval. The units are processes; repetitions where there is one process.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// Of each process's values.
    pub(super) fn of(processes: &[Vec<f64>]) -> Option<Self> {
        let processes: Vec<Vec<f64>> = processes
            .iter()
            .filter(|p| !p.is_empty())
            .cloned()
            .collect();
        if let Some(interval) = median_interval(&processes, LEVEL) {
            return Some(Self {
                value: interval.estimate,
                interval: Some(interval),
            });
        }
        let medians: Vec<f64> = processes
            .iter()
            .filter_map(|p| summary::median(p))
            .collect();
        Some(Self {
            value: summary::median(&medians)?,
            interval: None,
        })
    }

    /// Of a duration that each process shows once.
    pub(super) fn of_single(durations_ns: &[u64]) -> Option<Self> {
        let processes: Vec<Vec<f64>> = durations_ns.iter().map(|t| vec![*t as f64]).collect();
        Self::of(&processes)
    }

    /// The value as a duration.
    pub(super) fn ns(self) -> u64 {
        ns(self.value)
    }
}

/// A rounded duration; a value that is no duration becomes the nearest one.
pub(super) fn ns(value: f64) -> u64 {
    value.round() as u64
}

/// The decode steps of a cell while its record is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    /// Nanoseconds, by worker process and repetition.
    by_process: BTreeMap<u32, Vec<Vec<u64>>>,
    first_past: Option<u32>,
    n_boundary: u64,
    /// Duration, and tokens in the cache before it.
    longest: Option<(u64, u32)>,
}

impl Steps {
    /// Adds a repetition.
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

    /// What is kept of them.
    pub(super) fn kept(&self) -> super::Steps {
        let mut kept = super::Steps::default();
        for repetition in self.repetitions() {
            let first_past = self.first_past.unwrap_or(0);
            kept.push(first_past, repetition.iter().copied());
        }
        kept
    }

    pub(super) fn count(&self) -> u64 {
        self.repetitions().map(|r| r.len() as u64).sum()
    }

    pub(super) fn times(&self) -> StepTimes {
        let all: Vec<u64> = self.repetitions().flatten().copied().collect();
        let values: Vec<f64> = all.iter().map(|s| *s as f64).collect();
        let summary = Summary::of(&values);
        let [p50, p90, p95, p99] = StepTimes::QUANTILES.map(|q| percentile(&all, q));
        StepTimes {
            mean: summary.map(|s| ns(s.mean)),
            sd: summary.and_then(|s| s.sd).map(ns),
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
    pub(super) fn intervals(&self, times: &StepTimes) -> [Option<Interval>; 4] {
        let pooled = [times.p50, times.p90, times.p95, times.p99];
        std::array::from_fn(|at| {
            let interval = median_interval(&self.units(StepTimes::QUANTILES[at])?, LEVEL)?;
            // The percentile of all steps together is another estimate of the same thing.
            Some(interval.around(pooled[at]? as f64))
        })
    }

    fn units(&self, q: f64) -> Option<Vec<Vec<f64>>> {
        // Exact, as the histogram's three figures would all err to the same side.
        let unit = |steps: &[u64]| {
            let steps: Vec<f64> = steps.iter().map(|s| *s as f64).collect();
            let enough = steps.len() as u64 >= min_samples_for(q)?;
            enough.then(|| summary::quantile_type8(&steps, q))?
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

impl StepTimes {
    /// The percentiles it has.
    const QUANTILES: [f64; 4] = [0.50, 0.90, 0.95, 0.99];
}

impl Intervals {
    /// With those of the percentiles.
    pub(super) fn with_percentiles(self, [p50, p90, p95, p99]: [Option<Interval>; 4]) -> Self {
        Self {
            p50,
            p90,
            p95,
            p99,
            ..self
        }
    }
}
