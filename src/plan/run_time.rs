//! How long the cells of a run take, before it is begun.

use std::collections::HashSet;
use std::time::Duration;

use super::budget::{self, Rates};
use super::{Case, LoadKey, Plan};
use crate::stats::sequential::PairRule;
use crate::units;

/// From the fewest repetitions of every cell to the most, with the loading of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTime {
    /// What is measured whatever the budget is.
    pub fewest: Duration,
    /// Without a budget.
    pub most: Duration,
    /// The budget.
    pub budget: Option<Duration>,
    /// Of pairs until decided: as many of every cell as a verdict needs, with their number.
    pub least_decided: Option<(Duration, u32)>,
    /// Processes of each cell, and repetitions in each, that are made in any case.
    pub n_fewest: (u32, u32),
}

impl RunTime {
    /// Of the cells of each lane's plan that are measured.
    pub fn of(plans: &[&Plan], rates: &Rates, is_measured: impl Fn(&Case) -> bool) -> Self {
        let protocol = plans.first().map(|plan| plan.protocol.clone());
        let protocol = protocol.unwrap_or_default();
        // A cell without any pair would be missing; every further pair is of the budget.
        let fewest = match protocol.pair_tolerance {
            Some(_) => 1,
            None => protocol.replicates,
        };
        let sum = |n_processes: u32, n_repetitions: u32| {
            let of_plan = |plan: &&Plan| process(plan, rates, n_repetitions, &is_measured);
            let once = plans.iter().map(of_plan);
            let once = once.fold(Duration::ZERO, Duration::saturating_add);
            once.saturating_mul(n_processes)
        };
        Self {
            fewest: sum(fewest, protocol.min_repetitions),
            most: sum(protocol.most_replicates(), protocol.max_repetitions),
            budget: protocol.budget_ns.map(Duration::from_nanos),
            least_decided: protocol.pair_tolerance.map(|_| {
                let n_pairs = PairRule::default().fewest.try_into().unwrap_or(u32::MAX);
                (sum(n_pairs, protocol.min_repetitions), n_pairs)
            }),
            n_fewest: (fewest, protocol.min_repetitions),
        }
    }

    /// The most time that the run takes with its budget.
    pub fn most_in_budget(&self) -> Duration {
        let most = self
            .budget
            .map_or(self.most, |budget| budget.min(self.most));
        most.max(self.fewest)
    }

    /// The processes and the repetitions in each that fit the budget where the plan's fewest do not, or one of each where nothing does:
    /// rather fewer repetitions than fewer processes, over which the intervals are. `None` where the plan's fit.
    pub fn shortened(
        plan: &Plan,
        rates: &Rates,
        is_measured: impl Fn(&Case) -> bool,
    ) -> Option<(u32, u32)> {
        let whole = Self::of(&[plan], rates, &is_measured);
        whole.budget.filter(|budget| *budget < whole.fewest)?;
        let fits = |processes: u32, repetitions: u32| {
            let time = process(plan, rates, repetitions, &is_measured).saturating_mul(processes);
            whole.budget.is_some_and(|budget| time <= budget)
        };
        let (most, repetitions) = whole.n_fewest;
        let fewer = (1..repetitions).rev().map(|n| (most, n));
        let mut fewer = fewer.chain((1..most).rev().map(|processes| (processes, 1)));
        let found = fewer.find(|(processes, repetitions)| fits(*processes, *repetitions));
        Some(found.unwrap_or((1, 1))).filter(|found| *found != whole.n_fewest)
    }

    /// What a user whose budget is too short must know before the run begins.
    pub fn over_budget(&self) -> Option<String> {
        let budget = self.budget?;
        if budget >= self.fewest {
            let (time, n_pairs) = self.least_decided.filter(|(time, _)| budget < *time)?;
            return Some(format!(
                "the budget of {} decides little: a verdict needs at least {n_pairs} pairs of a cell, and those of all cells take about \
                 {}",
                show(budget),
                show(time)
            ));
        }
        let (processes, repetitions) = self.n_fewest;
        Some(format!(
            "the run takes longer than its budget of {}: the fewest repetitions, {repetitions} in {} of every cell, take about {} and are \
             measured in any case; fewer cells, a smaller --n-gen, --replicates or --repetitions make it shorter",
            show(budget),
            match processes {
                1 => "one process".to_owned(),
                n => format!("each of {n} processes"),
            },
            show(self.fewest)
        ))
    }
}

/// A process of a plan: every model is loaded once, and every cell visited with so many repetitions.
fn process(
    plan: &Plan,
    rates: &Rates,
    n_repetitions: u32,
    is_measured: &impl Fn(&Case) -> bool,
) -> Duration {
    let mut loads: HashSet<LoadKey> = HashSet::new();
    let mut time = Duration::ZERO;
    for case in plan.cases.iter().filter(|case| is_measured(case)) {
        let model = plan.model_of(case);
        if loads.insert(case.load_key()) {
            time = time.saturating_add(budget::load_time(model.file_bytes));
        }
        let visit = budget::time(case, model, rates).visit(n_repetitions);
        time = time.saturating_add(visit);
    }
    time
}

fn show(time: Duration) -> String {
    units::duration(units::nanoseconds(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;
    use crate::plan::fixture::{RATES, plan};

    fn protocol(budget_s: Option<u64>) -> Protocol {
        Protocol {
            replicates: 3,
            min_repetitions: 2,
            max_repetitions: 10,
            budget_ns: budget_s.map(|s| s * 1_000_000_000),
            ..Protocol::default()
        }
    }

    #[test]
    fn a_run_takes_from_the_fewest_to_the_most_repetitions_and_loads_its_models() {
        let plan = plan(protocol(None));
        let time = RunTime::of(&[&plan], &RATES, |_| true);
        let visits = |n| {
            let of = |case: &Case| budget::time(case, plan.model_of(case), &RATES).visit(n);
            plan.cases.iter().map(of).sum::<Duration>()
        };
        let load = budget::load_time(plan.models[0].file_bytes);
        assert_eq!(time.fewest, (visits(2) + load) * 3);
        assert_eq!(time.most, (visits(10) + load) * 3);
        assert_eq!(time.most_in_budget(), time.most);
        assert_eq!(time.over_budget(), None);
        let twice = RunTime::of(&[&plan, &plan], &RATES, |_| true);
        assert_eq!(twice.fewest, 2 * time.fewest);
        let one = RunTime::of(&[&plan], &RATES, |case| case.n_seq == 1);
        assert!(one.fewest < time.fewest && one.fewest > 3 * load);
        let none = RunTime::of(&[&plan], &RATES, |_| false);
        assert_eq!(none.fewest, Duration::ZERO);
    }

    #[test]
    fn a_budget_that_the_fewest_repetitions_exceed_says_so() {
        let roomy = RunTime::of(&[&plan(protocol(Some(100_000)))], &RATES, |_| true);
        assert_eq!(roomy.over_budget(), None);
        assert_eq!(roomy.most_in_budget(), roomy.most);
        let short = RunTime {
            fewest: Duration::from_secs(90),
            most: Duration::from_secs(300),
            budget: Some(Duration::from_secs(60)),
            ..roomy
        };
        let text = short.over_budget().expect("too short");
        assert!(text.contains("its budget of 60.0 s"), "{text}");
        assert!(
            text.contains("2 in each of 3 processes of every cell, take about 90.0 s"),
            "{text}"
        );
        assert_eq!(short.most_in_budget(), short.fewest);
        let between = RunTime {
            budget: Some(Duration::from_secs(120)),
            ..short
        };
        assert_eq!(between.most_in_budget(), Duration::from_secs(120));
    }

    #[test]
    fn a_short_budget_takes_repetitions_before_processes() {
        let whole = RunTime::of(&[&plan(protocol(None))], &RATES, |_| true);
        let shortened = |share: f64| {
            let budget = whole.fewest.mul_f64(share);
            let protocol = Protocol {
                budget_ns: Some(units::nanoseconds(budget)),
                ..protocol(None)
            };
            RunTime::shortened(&plan(protocol), &RATES, |_| true)
        };
        assert_eq!(shortened(1.01), None);
        assert_eq!(shortened(0.99), Some((3, 1)));
        assert_eq!(shortened(1e-6), Some((1, 1)));
        assert_eq!(
            RunTime::shortened(&plan(protocol(None)), &RATES, |_| true),
            None
        );
    }

    #[test]
    fn pairs_beyond_the_first_are_of_the_budget() {
        let until_decided = Protocol {
            pair_tolerance: Some(0.02),
            ..protocol(None)
        };
        let plan = plan(until_decided);
        let pair = RunTime::of(&[&plan, &plan], &RATES, |_| true);
        assert!(pair.fewest * 3 < pair.most);
        let fixed = crate::plan::fixture::plan(protocol(None));
        let fixed = RunTime::of(&[&fixed, &fixed], &RATES, |_| true);
        assert_eq!(fixed.fewest, 3 * pair.fewest);
        assert_eq!(pair.least_decided, Some((6 * pair.fewest, 6)));
        let within = |share: f64| RunTime {
            budget: Some(pair.fewest.mul_f64(share)),
            ..pair
        };
        assert_eq!(within(6.1).over_budget(), None);
        let text = within(5.9).over_budget().expect("too short for a verdict");
        assert!(text.contains("at least 6 pairs of a cell"), "{text}");
        let text = within(0.9).over_budget().expect("too short for a pair");
        assert!(text.contains("are measured in any case"), "{text}");
    }
}
