//! What in a cell's record makes its figures deserve less trust.

use std::collections::BTreeMap;

use super::{Collected, RunFacts, count};
use crate::measure::steady::Steadiness;
use crate::stats::histogram::min_samples_for;
use crate::view::{CellOutcome, CellWarning, StepTimes};

/// A clock this share below the run's fastest makes a cell's times another machine's.
const CLOCK_DROP: f64 = 0.05;

impl Collected {
    pub(super) fn warnings(
        &self,
        outcome: CellOutcome,
        steps: &StepTimes,
        run: &RunFacts,
    ) -> Vec<CellWarning> {
        if outcome != CellOutcome::Measured {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        warnings.extend(self.not_steady());
        warnings.extend(self.fewer_threads(run.n_threads));
        self.warn_of_processes(run.planned, &mut warnings);
        warnings.extend(self.noise.iter().map(|(worst, n)| CellWarning::Host {
            worst: worst.clone(),
            repetitions: *n,
            of: self.n_repetitions,
        }));
        warnings.extend(run.fastest_hz.and_then(|hz| self.slow_clock(hz)));
        if let (of, processes @ 1..) = self.usage.gpu_visits() {
            let reasons = self.usage.gpu().map(|gpu| gpu.throttle_reasons);
            warnings.push(CellWarning::GpuThrottled {
                reasons: reasons.unwrap_or_default(),
                processes,
                of,
            });
        }
        let n_steps = self.steps.count();
        if let Some(needed) = min_samples_for(0.99).filter(|needed| n_steps < *needed) {
            warnings.push(CellWarning::FewSteps { n_steps, needed });
        }
        if steps.max_at_boundary() == Some(true) {
            warnings.push(CellWarning::LongestAtBoundary {
                n_boundary: steps.n_boundary,
                n_steps,
            });
        }
        warnings
    }

    fn not_steady(&self) -> Option<CellWarning> {
        let opened = || self.visits.values().filter_map(|v| v.steadiness);
        let not_steady = opened().filter(|s| *s == Steadiness::NotSteady).count();
        (not_steady > 0).then(|| CellWarning::NotSteady {
            processes: count(not_steady),
            of: count(opened().count()),
        })
    }

    fn fewer_threads(&self, asked: u32) -> Option<CellWarning> {
        let counted = self.visits.values().filter_map(|v| v.n_threads);
        let n_threads = counted.min().filter(|n| *n < asked)?;
        Some(CellWarning::FewerThreads { n_threads, asked })
    }

    /// What is missing or too little.
    fn warn_of_processes(&self, planned: u32, warnings: &mut Vec<CellWarning>) {
        let failures = self.failures();
        let mut by_cause: BTreeMap<String, u32> = BTreeMap::new();
        for failure in &failures {
            *by_cause.entry(failure.outcome.to_string()).or_default() += 1;
        }
        warnings.extend(
            by_cause
                .into_iter()
                .map(|(how, processes)| CellWarning::Failures {
                    how,
                    processes,
                    of: planned,
                }),
        );
        let measured = count(self.visits.len() - failures.len());
        if count(self.visits.len()) < planned {
            warnings.push(CellWarning::FewProcesses {
                processes: measured,
                of: planned,
            });
        }
        if self.n_repetitions == 1 {
            warnings.push(CellWarning::SingleRepetition);
        } else if planned == 1 {
            warnings.push(CellWarning::OneProcess);
        }
    }

    fn slow_clock(&self, fastest_hz: f64) -> Option<CellWarning> {
        let clocks = self.usage.clocks_hz();
        let drops = || clocks.iter().map(|hz| 1.0 - hz / fastest_hz);
        let slow = drops().filter(|drop| *drop > CLOCK_DROP).count();
        (slow > 0).then(|| CellWarning::FrequencyDropped {
            percent: 100.0 * drops().fold(0.0, f64::max),
            processes: count(slow),
            of: count(clocks.len()),
        })
    }
}
