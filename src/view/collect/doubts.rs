//! What in a cell's record makes its figures deserve less trust.

use std::collections::BTreeMap;

use super::{CellLines, RunFacts, count};
use crate::measure::steady::Steadiness;
use crate::stats::histogram::min_samples_for;
use crate::view::warning::Repeated;
use crate::view::{CellOutcome, CellWarning, CountOf, StepTimes};

/// A clock this share below the run's fastest makes a cell's times another machine's.
const CLOCK_DROP: f64 = 0.05;

impl CellLines {
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
        warnings.extend(
            self.disturbances
                .warnings(self.n_repetitions, Repeated::Repetition),
        );
        warnings.extend(run.fastest_hz.and_then(|hz| self.slow_clock(hz)));
        let processes = self.usage.throttled_visits();
        if processes.n > 0 {
            let reasons = self.usage.gpu().map(|gpu| gpu.throttle_reasons);
            let reasons = reasons.unwrap_or_default();
            warnings.push(CellWarning::GpuThrottled { reasons, processes });
        }
        let n_steps = self.steps.count();
        // Without any step single steps were not timed, and more of them would not be either.
        let few = |needed: &u64| (1..*needed).contains(&n_steps);
        if let Some(needed) = min_samples_for(0.99).filter(few) {
            warnings.push(CellWarning::FewSteps { n_steps, needed });
        }
        if steps.max_at_boundary() == Some(true) {
            let n_boundary = steps.n_boundary;
            warnings.push(CellWarning::LongestAtBoundary {
                n_boundary,
                n_steps,
            });
        }
        warnings
    }

    fn not_steady(&self) -> Option<CellWarning> {
        let opened = || self.visits.values().filter_map(|v| v.steadiness);
        let n = count(opened().filter(|s| *s == Steadiness::NotSteady).count());
        let of = count(opened().count());
        (n > 0).then_some(CellWarning::NotSteady(CountOf { n, of }))
    }

    fn fewer_threads(&self, asked: u32) -> Option<CellWarning> {
        let counted = self.visits.values().filter_map(|v| v.n_threads);
        let n_threads = counted.min().filter(|n| *n < asked)?;
        Some(CellWarning::FewerThreads { n_threads, asked })
    }

    /// What is missing or too little.
    fn warn_of_processes(&self, planned: u32, warnings: &mut Vec<CellWarning>) {
        let of_planned = |n| CountOf { n, of: planned };
        let failures = self.failures();
        let mut by_cause: BTreeMap<String, u32> = BTreeMap::new();
        for failure in &failures {
            *by_cause.entry(failure.outcome.to_string()).or_default() += 1;
        }
        warnings.extend(by_cause.into_iter().map(|(how, n)| CellWarning::Failures {
            how,
            processes: of_planned(n),
        }));
        if count(self.visits.len()) < planned {
            let measured = count(self.visits.len() - failures.len());
            warnings.push(CellWarning::FewProcesses(of_planned(measured)));
        }
        if self.n_repetitions == 1 {
            warnings.push(CellWarning::SingleRepetition);
        } else if planned == 1 && self.processes.len() <= 1 {
            warnings.push(CellWarning::OneProcess);
        }
    }

    fn slow_clock(&self, fastest_hz: f64) -> Option<CellWarning> {
        let clocks = self.usage.clocks_hz();
        let drops = || clocks.iter().map(|hz| 1.0 - hz / fastest_hz);
        let n = count(drops().filter(|drop| *drop > CLOCK_DROP).count());
        let of = count(clocks.len());
        (n > 0).then(|| CellWarning::FrequencyDropped {
            percent: 100.0 * drops().fold(0.0, f64::max),
            processes: CountOf { n, of },
        })
    }
}
