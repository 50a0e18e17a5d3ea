//! Two programs started in turns: pairs of visits, and what they show by the rule of pairs until decided.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ForeignObservation, ForeignProgram, ForeignTask, VisitError};
use crate::metric::Metric;
use crate::run::Interrupt;
use crate::stats::sequential::{self, PairDecision, PairRule};
use crate::stats::summary::median;
use crate::units::nanoseconds;

/// How long a visit may take unless something else is asked for.
pub(crate) const VISIT_TIMEOUT: Duration = Duration::from_secs(1800);

/// Repetitions of a visit unless something else is asked for: the start of a process costs about as much as a few of a small model,
/// and their median leaves out one that was disturbed.
pub(crate) const PER_VISIT: u32 = 3;

/// Failures of a side one after the other after which it is not tried again.
const MOST_FAILURES_IN_A_ROW: u32 = 3;

/// Failures of a side in all, likewise.
const MOST_FAILURES: u32 = 10;

/// A program, and what it is asked in each visit.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub program: ForeignProgram,
    pub task: ForeignTask,
}

/// One visit of each side, A's first in the array, whichever began.
#[derive(Debug)]
pub(crate) struct VisitPair {
    pub a_first: bool,
    pub visits: [Option<Visited>; 2],
}

/// A visit that was made.
#[derive(Debug)]
pub(crate) struct Visited {
    /// Since the measurement began.
    pub started_ns: u64,
    pub took_ns: u64,
    pub result: Result<Vec<ForeignObservation>, VisitError>,
}

/// What the visits of a measurement share.
pub(crate) struct PairTurns<'a> {
    pub started: Instant,
    pub timeout: Duration,
    pub interrupt: &'a Interrupt,
    /// When no further visit begins, and one under way is ended as if it were interrupted.
    pub deadline: Option<Instant>,
    coins: ChaCha8Rng,
}

impl<'a> PairTurns<'a> {
    pub fn new(seed: u64, timeout: Duration, interrupt: &'a Interrupt) -> Self {
        Self {
            started: Instant::now(),
            timeout,
            interrupt,
            deadline: None,
            coins: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A visit that the deadline ends is interrupted: its program did not fail.
    fn visit(
        &self,
        program: &ForeignProgram,
        task: &ForeignTask,
    ) -> Result<Vec<ForeignObservation>, VisitError> {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let left = self.deadline.map(left).filter(|left| *left < self.timeout);
        let Some(left) = left else {
            return program.visit(task, self.timeout, self.interrupt);
        };
        if left.is_zero() {
            return Err(VisitError::Interrupted);
        }
        match program.visit(task, left, self.interrupt) {
            Err(VisitError::TimedOut(_)) => Err(VisitError::Interrupted),
            result => result,
        }
    }

    /// One visit of each side, in an order that is independent of everything else. After a failure the other side is not started.
    pub fn pair(&mut self, sides: [&Contender; 2]) -> VisitPair {
        let a_first = self.coins.random_bool(0.5);
        let mut visits = [None, None];
        for at in if a_first { [0, 1] } else { [1, 0] } {
            let started_ns = nanoseconds(self.started.elapsed());
            let begun = Instant::now();
            let Contender { program, task } = sides[at];
            let result = self.visit(program, task);
            let is_failure = result.is_err();
            visits[at] = Some(Visited {
                started_ns,
                took_ns: nanoseconds(begun.elapsed()),
                result,
            });
            if is_failure {
                break;
            }
        }
        VisitPair { a_first, visits }
    }
}

/// What the pairs of a cell gave so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct PairSeries {
    /// B over A as times, in the order of the pairs.
    pub log_ratios: Vec<f64>,
    /// Each whole pair's medians, by side, in the metric's unit.
    pub medians: [Vec<f64>; 2],
    failures: [SideFailures; 2],
}

#[derive(Debug, Clone, Default)]
struct SideFailures {
    n: u32,
    in_a_row: u32,
    last: Option<VisitError>,
}

impl SideFailures {
    fn note(&mut self, error: &VisitError) {
        self.n += 1;
        self.in_a_row += 1;
        self.last = Some(error.clone());
    }

    fn is_given_up(&self) -> bool {
        matches!(self.last, Some(VisitError::Impossible(_)))
            || self.in_a_row >= MOST_FAILURES_IN_A_ROW
            || self.n >= MOST_FAILURES
    }
}

impl PairSeries {
    /// Takes in a pair. One with a failed side has no ratio, and is as if it had not been.
    pub fn note(&mut self, pair: &VisitPair, metric: Metric, sides: [&Contender; 2]) {
        for (visit, failures) in pair.visits.iter().zip(&mut self.failures) {
            match visit.as_ref().map(|visit| &visit.result) {
                Some(Ok(_)) => failures.in_a_row = 0,
                Some(Err(VisitError::Interrupted)) | None => {}
                Some(Err(error)) => failures.note(error),
            }
        }
        let side = |at: usize| -> Option<f64> {
            let seen = pair.visits[at].as_ref()?.result.as_ref().ok()?;
            let case = &sides[at].task.case;
            let values: Vec<f64> = seen.iter().map(|o| o.value(metric, case)).collect();
            median(&values)
        };
        if let (Some(a), Some(b)) = (side(0), side(1)) {
            self.log_ratios
                .push(metric.log_time(b) - metric.log_time(a));
            self.medians[0].push(a);
            self.medians[1].push(b);
        }
    }

    /// What the pairs show; `None` without one.
    pub fn decision(&self, n_cells: usize, rule: &PairRule) -> Option<PairDecision> {
        sequential::decide(&self.log_ratios, n_cells, rule)
    }

    /// Why a side (0 or 1) is not tried again; `None` while it is.
    pub fn given_up(&self, side: usize) -> Option<&VisitError> {
        let failures = &self.failures[side];
        failures.last.as_ref().filter(|_| failures.is_given_up())
    }

    /// How often a side failed.
    pub fn n_failures(&self, side: usize) -> u32 {
        self.failures[side].n
    }

    /// Whether no further pair is to be measured: decided, at most pairs, or given up.
    pub fn is_over(&self, n_cells: usize, rule: &PairRule) -> bool {
        let is_decided = self.decision(n_cells, rule).is_some_and(|d| d.is_final);
        is_decided
            || self.log_ratios.len() >= rule.most
            || (0..2).any(|side| self.given_up(side).is_some())
    }
}
