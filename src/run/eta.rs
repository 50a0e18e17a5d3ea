//! How long things take: estimated before anything ran, corrected by what did.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::schedule::Group;
use crate::plan::budget::{self, Rates, TimeEstimate};
use crate::plan::{Case, CaseId, Plan, Protocol};

/// Estimates for every visit that is still to come.
#[derive(Debug, Clone)]
pub struct Eta {
    estimates: HashMap<CaseId, TimeEstimate>,
    /// Real length of a visit, by cell, the latest.
    real: HashMap<CaseId, Duration>,
    min_repetitions: u32,
    /// Visits to come, by cell.
    to_come: HashMap<CaseId, u32>,
    total: u32,
    /// Sums over visited cells, for the estimates' common error.
    real_sum: Duration,
    estimated_sum: Duration,
}

impl Eta {
    /// Estimates for a plan's cells, from a machine's quickly measured rates.
    pub fn of(plan: &Plan, rates: &Rates) -> Self {
        let estimates = plan
            .cases
            .iter()
            .map(|c| (c.id(), budget::time(c, plan.model_of(c), rates)))
            .collect();
        Self {
            estimates,
            real: HashMap::new(),
            min_repetitions: plan.protocol.min_repetitions,
            to_come: HashMap::new(),
            total: 0,
            real_sum: Duration::ZERO,
            estimated_sum: Duration::ZERO,
        }
    }

    /// Sets the visits to come.
    pub fn expect(&mut self, groups: &[Group]) {
        self.to_come.clear();
        for case in groups.iter().flat_map(|g| &g.cases) {
            *self.to_come.entry(case.id()).or_default() += 1;
        }
        self.total = self.to_come.values().sum();
    }

    fn estimate(&self, case: &Case) -> TimeEstimate {
        self.estimates.get(&case.id()).cloned().unwrap_or_default()
    }

    /// Expected time to load a file of so many bytes.
    pub fn load(&self, file_bytes: u64) -> Duration {
        budget::load_time(file_bytes)
    }

    /// Expected time to open and warm up a cell.
    pub fn warm_up(&self, case: &Case) -> Duration {
        self.estimate(case).warm_up()
    }

    /// Expected time of one repetition.
    pub fn repetition(&self, case: &Case) -> Duration {
        self.estimate(case).repetition()
    }

    /// A visit of the cell took so long.
    pub fn visited(&mut self, case: &Case, took: Duration) {
        self.real_sum += took;
        self.estimated_sum += self.estimate(case).visit(self.min_repetitions);
        self.real.insert(case.id(), took);
    }

    /// A visit of the cell is over, however it ended.
    pub fn left(&mut self, case: &Case) {
        if let Some(n) = self.to_come.get_mut(&case.id()) {
            *n = n.saturating_sub(1);
        }
    }

    /// Expected length of the next visit of a cell: as long as its last, or the estimate corrected by
    /// how far the estimates were off so far.
    fn next_visit(&self, id: &CaseId) -> Duration {
        if let Some(real) = self.real.get(id) {
            return *real;
        }
        let estimate = self
            .estimates
            .get(id)
            .map(|e| e.visit(self.min_repetitions))
            .unwrap_or_default();
        if self.estimated_sum.is_zero() {
            estimate
        } else {
            estimate.mul_f64(self.real_sum.as_secs_f64() / self.estimated_sum.as_secs_f64())
        }
    }

    /// Expected time of all visits to come.
    pub fn remaining(&self) -> Duration {
        self.to_come
            .iter()
            .map(|(id, n)| self.next_visit(id) * *n)
            .sum()
    }

    /// Visits over, and visits in all.
    pub fn visits(&self) -> (u32, u32) {
        (self.total - self.to_come.values().sum::<u32>(), self.total)
    }

    /// When this visit must end for the run to keep its budget: the time left is shared by the expected
    /// lengths of the visits to come. None without a budget.
    pub fn deadline(&self, case: &Case, started: Instant, protocol: &Protocol) -> Option<Instant> {
        let budget = Duration::from_nanos(protocol.budget_ns?);
        let left = budget.saturating_sub(started.elapsed());
        let remaining = self.remaining();
        let share = if remaining.is_zero() {
            1.0
        } else {
            self.next_visit(&case.id()).as_secs_f64() / remaining.as_secs_f64()
        };
        Some(Instant::now() + left.mul_f64(share.min(1.0)))
    }
}
