//! How long things take: estimated before anything ran, corrected by what did.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::schedule::CellGroup;
use crate::plan::budget::{self, Rates, TimeEstimate};
use crate::plan::{Case, CaseId, Plan, Protocol};

/// Share of the whole estimate that counts as seen before the first visit.
const PRIOR_SHARE: f64 = 0.1;

/// Part of an equal share of the time left that the cheapest visit may use: it buys such a cell many repetitions, and
/// costs the dear ones little.
const CHEAP_SHARE: f64 = 0.25;

/// The time that is left when a phase begins, and what becomes of it while the phase goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    /// With the whole phase.
    pub all: Duration,
    /// What of it the phase is expected to take.
    pub phase: Duration,
    /// By how much the time left grows while the phase overruns, per time that it does.
    pub growth: f64,
}

impl TimeLeft {
    /// Of a phase that no estimate includes: the time left stands still.
    pub fn still(all: Duration) -> Self {
        Self {
            all,
            phase: Duration::ZERO,
            growth: 0.0,
        }
    }

    /// Of a phase that overruns by as much as it goes on: one that has taken longer than expected has, in the median, as long
    /// again before it (no scale of time is special then), and `others` more visits like it take longer too.
    pub fn growing(all: Duration, phase: Duration, others: f64) -> Self {
        Self {
            all,
            phase: phase.min(all),
            growth: 1.0 + others,
        }
    }

    /// What is left when the phase has gone on for so long.
    pub fn after(&self, elapsed: Duration) -> Duration {
        match elapsed.checked_sub(self.phase) {
            None => self.all.saturating_sub(elapsed),
            Some(over) => {
                let rest = self.all.saturating_sub(self.phase);
                rest.saturating_add(budget::scaled(over, self.growth))
            }
        }
    }
}

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
    /// Models to be loaded yet, and how long the last took, or the estimate of all.
    loads_to_come: u32,
    load: Duration,
    /// Sums over visited cells, for the estimates' common error. Both begin with a share of the whole
    /// estimate, so that one short first visit does not rule the forecast.
    real_sum: Duration,
    estimated_sum: Duration,
}

impl Eta {
    /// Estimates for the cells of each lane's plan, from a machine's quickly measured rates.
    pub fn of(plans: &[&Plan], rates: &Rates) -> Self {
        let estimate = |plan: &&Plan| -> Vec<(CaseId, TimeEstimate)> {
            let cases = plan.cases.iter();
            cases
                .map(|c| (c.id(), budget::time(c, plan.model_of(c), rates)))
                .collect()
        };
        let estimates = plans.iter().flat_map(estimate).collect();
        Self {
            estimates,
            real: HashMap::new(),
            min_repetitions: plans.first().map_or(1, |p| p.protocol.min_repetitions),
            to_come: HashMap::new(),
            total: 0,
            loads_to_come: 0,
            load: plans
                .iter()
                .flat_map(|plan| &plan.models)
                .map(|m| budget::load_time(m.file_bytes))
                .max()
                .unwrap_or_default(),
            real_sum: Duration::ZERO,
            estimated_sum: Duration::ZERO,
        }
    }

    /// Adds visits to those that are to come.
    pub fn expect(&mut self, groups: &[CellGroup]) {
        let is_first = self.total == 0;
        for case in groups.iter().flat_map(|g| &g.cells).flat_map(|c| &c.cases) {
            *self.to_come.entry(case.id()).or_default() += 1;
            self.total += 1;
        }
        let loads = groups.iter().map(|g| g.loads.len()).sum::<usize>();
        self.loads_to_come += u32::try_from(loads).unwrap_or(u32::MAX);
        if !is_first {
            return;
        }
        let prior = budget::scaled(self.visits_remaining(), PRIOR_SHARE);
        self.real_sum = prior;
        self.estimated_sum = prior;
    }

    fn estimate(&self, case: &Case) -> TimeEstimate {
        self.estimates.get(&case.id()).cloned().unwrap_or_default()
    }

    /// Expected time to load a file of `bytes`.
    pub fn load(&self, file_bytes: u64) -> Duration {
        budget::load_time(file_bytes)
    }

    /// Expected time to open and warm up a cell, or longer: never less than its last whole visit.
    pub fn warm_up(&self, case: &Case) -> Duration {
        self.at_least_last_visit(case, self.estimate(case).warm_up())
    }

    /// Expected time of one repetition, or longer: never less than its last whole visit.
    pub fn repetition(&self, case: &Case) -> Duration {
        self.at_least_last_visit(case, self.estimate(case).repetition())
    }

    fn at_least_last_visit(&self, case: &Case, estimate: Duration) -> Duration {
        estimate.max(self.real.get(&case.id()).copied().unwrap_or_default())
    }

    /// A model was loaded, or not, in so long.
    pub fn loaded(&mut self, took: Duration) {
        self.loads_to_come = self.loads_to_come.saturating_sub(1);
        self.load = took;
    }

    /// A visit of the cell took so long.
    pub fn visited(&mut self, case: &Case, took: Duration) {
        let estimated = self.estimate(case).visit(self.min_repetitions);
        self.real_sum = self.real_sum.saturating_add(took);
        self.estimated_sum = self.estimated_sum.saturating_add(estimated);
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
        let estimate = self.estimated_visit(id);
        if self.estimated_sum.is_zero() {
            estimate
        } else {
            let off = self.real_sum.as_secs_f64() / self.estimated_sum.as_secs_f64();
            budget::scaled(estimate, off)
        }
    }

    /// Expected time of everything to come.
    pub fn remaining(&self) -> Duration {
        let loads = self.load.saturating_mul(self.loads_to_come);
        self.visits_remaining().saturating_add(loads)
    }

    /// The time left from the beginning of visits of these cells, which go on together: one of each lane.
    pub fn during_visits(&self, cases: &[&Case]) -> TimeLeft {
        let ids: Vec<CaseId> = cases.iter().map(|case| case.id()).collect();
        let next = ids.iter().map(|id| self.next_visit(id));
        let phase = next.fold(Duration::ZERO, Duration::saturating_add);
        // Their own later visits take as long as this one; of cells without a visit the common error of the estimates rises.
        let later = ids.iter().filter_map(|id| self.to_come.get(id));
        let later = later.map(|n| n.saturating_sub(1)).sum::<u32>();
        let unseen = self
            .to_come
            .iter()
            .filter(|(id, _)| !self.real.contains_key(*id) && !ids.contains(id));
        let unseen = unseen.map(|(id, n)| self.estimated_visit(id).saturating_mul(*n));
        let unseen = unseen.fold(Duration::ZERO, Duration::saturating_add);
        let own = cases.iter().map(|case| self.estimated_visit(&case.id()));
        let estimated = own.fold(self.estimated_sum, Duration::saturating_add);
        let of_unseen = match estimated.is_zero() {
            true => 0.0,
            false => unseen.as_secs_f64() / estimated.as_secs_f64(),
        };
        let of_later = f64::from(later) / cases.len().max(1) as f64;
        TimeLeft::growing(self.remaining(), phase, of_later + of_unseen)
    }

    /// The same from the beginning of a model's loading.
    pub fn during_load(&self) -> TimeLeft {
        let later = self.loads_to_come.saturating_sub(1);
        TimeLeft::growing(self.remaining(), self.load, later.into())
    }

    fn estimated_visit(&self, id: &CaseId) -> Duration {
        let estimate = self.estimates.get(id);
        estimate.map_or(Duration::ZERO, |e| e.visit(self.min_repetitions))
    }

    fn visits_remaining(&self) -> Duration {
        self.to_come
            .iter()
            .map(|(id, n)| self.next_visit(id).saturating_mul(*n))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Visits over, and visits in all.
    pub fn visits(&self) -> (u32, u32) {
        (self.total - self.to_come.values().sum::<u32>(), self.total)
    }

    /// When this visit, of a case in each lane, must end for the run to keep its budget: the time left is shared by the
    /// expected lengths of the visits to come. None without a budget.
    pub fn deadline(
        &self,
        cases: &[Case],
        started: Instant,
        protocol: &Protocol,
    ) -> Option<Instant> {
        let budget = Duration::from_nanos(protocol.budget_ns?);
        let left = budget.saturating_sub(started.elapsed());
        let remaining = self.remaining();
        let share = if remaining.is_zero() {
            1.0
        } else {
            let visits = cases.iter().map(|case| self.next_visit(&case.id()));
            let visit = visits.fold(Duration::ZERO, Duration::saturating_add);
            let to_come = self.to_come.values().sum::<u32>().max(1);
            let equal = cases.len() as f64 / f64::from(to_come);
            (visit.as_secs_f64() / remaining.as_secs_f64()).max(CHEAP_SHARE * equal)
        };
        Some(Instant::now() + left.mul_f64(share.min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;
    use crate::plan::fixture::{self, RATES};
    use crate::run::schedule;

    fn plan() -> Plan {
        fixture::plan(Protocol {
            replicates: 2,
            budget_ns: Some(10_000_000_000),
            ..Protocol::default()
        })
    }

    fn expect_all(eta: &mut Eta, plan: &Plan) {
        for replicate in 0..plan.protocol.replicates {
            eta.expect(&schedule::groups(&[plan], replicate, |_| false));
        }
    }

    #[test]
    fn visits_shrink_what_remains_and_teach_the_estimate() {
        let plan = plan();
        let mut eta = Eta::of(&[&plan], &RATES);
        expect_all(&mut eta, &plan);
        assert_eq!(eta.visits(), (0, 4));
        let before = eta.remaining();
        assert!(before > Duration::ZERO);
        let [one, eight] = &plan.cases[..] else {
            panic!("two cases")
        };
        // The first cell takes three times its estimate: so will its second visit, and the other cell's
        // forecast rises, by less than that.
        let slow = eta.next_visit(&one.id()) * 3;
        let forecast = eta.next_visit(&eight.id());
        eta.visited(one, slow);
        eta.left(one);
        assert_eq!(eta.visits(), (1, 4));
        assert_eq!(eta.next_visit(&one.id()), slow);
        let risen = eta.next_visit(&eight.id());
        assert!(
            risen > forecast && risen < forecast * 3,
            "{forecast:?} -> {risen:?}"
        );
        for case in [one, eight, eight] {
            eta.visited(case, slow);
            eta.left(case);
        }
        assert_eq!(eta.visits(), (4, 4));
        for _ in 0..2 {
            assert!(
                eta.remaining() > Duration::ZERO,
                "a load for each replicate"
            );
            eta.loaded(slow);
        }
        assert_eq!(eta.remaining(), Duration::ZERO);
    }

    #[test]
    fn time_left_runs_down_and_grows_when_a_phase_overruns() {
        let s = Duration::from_secs;
        // 10 s are left after a phase of 5 s, with two more like it.
        let left = TimeLeft::growing(s(15), s(5), 2.0);
        let after: Vec<u64> = [0, 3, 5, 6, 10].map(|t| left.after(s(t)).as_secs()).into();
        assert_eq!(after, [15, 12, 10, 13, 25]);
        // The last phase: it never says that nothing is left for as long as it overruns.
        let last = TimeLeft::growing(s(5), s(5), 0.0);
        assert_eq!(last.after(s(5)), Duration::ZERO);
        assert_eq!(last.after(s(40)), s(35));
        // A load that was thought to take longer than all that is left.
        assert_eq!(
            TimeLeft::growing(s(1), s(9), 0.0).after(s(1)),
            Duration::ZERO
        );
        assert_eq!(TimeLeft::still(s(7)).after(s(60)), s(7));
        let endless = TimeLeft::growing(Duration::MAX, s(1), f64::INFINITY);
        assert_eq!(endless.after(s(2)), Duration::MAX);
    }

    #[test]
    fn what_is_said_while_a_visit_overruns_is_what_is_said_after_it() {
        let plan = plan();
        let [one, eight] = &plan.cases[..] else {
            panic!("two cases")
        };
        let mut eta = Eta::of(&[&plan], &RATES);
        expect_all(&mut eta, &plan);
        for (case, factor) in [(one, 8.0), (eight, 3.0), (one, 2.0)] {
            let during = eta.during_visits(&[case]);
            let took = budget::scaled(during.phase, factor);
            let own_rest = took - during.phase;
            let said = during.after(took) - own_rest;
            let before = eta.remaining();
            eta.visited(case, took);
            eta.left(case);
            let off = said.as_secs_f64() / eta.remaining().as_secs_f64();
            assert!((off - 1.0).abs() < 0.02, "{off}");
            assert!(during.after(took) > before - during.phase, "it grew");
        }
        let load = eta.during_load();
        assert!(load.after(load.phase * 3) > load.after(load.phase));
    }

    #[test]
    fn visits_in_turns_are_one_phase() {
        let plan = plan();
        let mut eta = Eta::of(&[&plan], &RATES);
        expect_all(&mut eta, &plan);
        let [one, eight] = &plan.cases[..] else {
            panic!("two cases")
        };
        let both = eta.during_visits(&[one, eight]);
        let each = [one, eight].map(|case| eta.during_visits(&[case]).phase);
        assert_eq!(both.phase, each[0] + each[1]);
        assert_eq!(both.all, eta.remaining());
    }

    #[test]
    fn the_budget_is_shared_by_expected_length() {
        let plan = plan();
        let mut eta = Eta::of(&[&plan], &RATES);
        expect_all(&mut eta, &plan);
        let now = Instant::now();
        let until = |case: &Case| {
            eta.deadline(std::slice::from_ref(case), now, &plan.protocol)
                .expect("a budget")
                .saturating_duration_since(now)
        };
        let [one, eight] = &plan.cases[..] else {
            panic!("two cases")
        };
        assert!(
            until(one) < until(eight),
            "eight sequences take longer than one"
        );
        assert!(
            until(one) + until(eight) < Duration::from_secs(6),
            "half of the budget each pass"
        );
        let unlimited = Protocol {
            budget_ns: None,
            ..plan.protocol.clone()
        };
        assert_eq!(eta.deadline(&plan.cases[..1], now, &unlimited), None);
    }
}
