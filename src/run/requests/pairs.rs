//! Rounds that were served: whether they have decided how the targets compare, and whether they are known precisely enough.

use std::collections::BTreeMap;

use crate::record::requests::RequestsPlan;
use crate::request::Timeline;
use crate::run::stop::{are_compared, stays_within};
use crate::stats::summary::mean;

/// Mean latency of each job at each target, by round; none where no answer was whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundLatencies(BTreeMap<(String, String), BTreeMap<u32, Option<f64>>>);

/// The latency of a whole answer that has a token, as reports count them.
pub fn answer_latency_ns(answer: &Timeline) -> Option<f64> {
    let has_tokens = !answer.arrivals.is_empty() || answer.n_generated.is_some_and(|n| n > 0);
    (answer.ending.is_whole() && has_tokens).then(|| answer.latency_ns() as f64)
}

impl RoundLatencies {
    /// Adds a round of a job at a target.
    pub fn add<'a>(
        &mut self,
        (job, target): (&str, &str),
        round: u32,
        sent: impl Iterator<Item = &'a Timeline>,
    ) {
        let answered: Vec<f64> = sent.filter_map(answer_latency_ns).collect();
        self.add_latencies((job, target), round, &answered);
    }

    /// Adds a round of a job at a target, whose answers took so long.
    pub fn add_latencies(&mut self, (job, target): (&str, &str), round: u32, latencies: &[f64]) {
        let rounds = self.0.entry((job.to_owned(), target.to_owned()));
        rounds.or_default().insert(round, mean(latencies));
    }

    /// Whether a job's targets, those that serve it, need another round.
    pub fn is_open(&self, plan: &RequestsPlan, job: &str) -> bool {
        let (Some(most), Some(base)) = (plan.most_pairs, plan.base()) else {
            return false;
        };
        let others = plan.targets.iter().filter(|target| *target != base);
        let serves = |target: &str| plan.never_served(job, target).is_none();
        let others = others.filter(|target| serves(base) && serves(target));
        let ratios: Vec<Vec<f64>> = others
            .map(|other| self.log_ratios(job, base, other))
            .collect();
        let n_rounds = |target| self.of(job, target).map_or(0, BTreeMap::len);
        let n_rounds = plan.targets.iter().map(|target| n_rounds(target)).max();
        n_rounds.is_some_and(|n| n < most as usize) && !are_compared(&ratios, plan.n_comparisons())
    }

    /// Whether a job at a target needs another replicate for the precision that the plan asks for.
    pub fn is_imprecise(&self, plan: &RequestsPlan, job: &str, target: &str) -> bool {
        let Some((precision, most)) = plan.precision_of(job) else {
            return false;
        };
        let mut replicates: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (round, latency) in self.of(job, target).into_iter().flatten() {
            let latencies = replicates.entry(plan.replicate_of(*round));
            latencies.or_default().extend(latency);
        }
        // What never answers is not asked for ever.
        let is_most = replicates.len() >= most as usize;
        let answered = replicates.into_values().filter(|unit| !unit.is_empty());
        !is_most && !stays_within(&answered.collect::<Vec<_>>(), precision)
    }

    fn of(&self, job: &str, target: &str) -> Option<&BTreeMap<u32, Option<f64>>> {
        self.0.get(&(job.to_owned(), target.to_owned()))
    }

    /// A log ratio of each round that both served, the other over the base.
    fn log_ratios(&self, job: &str, base: &str, other: &str) -> Vec<f64> {
        let (Some(base), Some(other)) = (self.of(job, base), self.of(job, other)) else {
            return Vec::new();
        };
        let in_both = other.iter().filter_map(|(round, other)| {
            let base = base.get(round).copied().flatten();
            Some(((*other)? / base.filter(|ns| *ns > 0.0)?).ln())
        });
        in_both.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::requests::{NeverServed, TargetSetting};
    use crate::request::compared::Compared;
    use crate::request::{Ending, Job};
    use crate::view::fixture::requests::{jobs, request_header};

    /// A plan of one job at two targets, and what is known after these rounds' latencies.
    fn after(rounds: &[(u64, u64)], most: Option<u32>) -> (RequestsPlan, RoundLatencies) {
        let header = request_header(&["openai:a", "in-process"], 3, jobs()[..1].to_vec());
        let mut plan = header.requests.expect("has requests");
        plan.most_pairs = most;
        let mut known = RoundLatencies::default();
        for (round, both) in (0..).zip(rounds) {
            for (target, ms) in [("in-process", both.0), ("openai:a", both.1)] {
                let empty = Timeline::unanswered(0, 0, 1, Ending::Stop);
                let answer = Timeline {
                    n_generated: Some(4),
                    ..Timeline::unanswered(0, 0, ms * 1_000_000, Ending::Stop)
                };
                known.add((&plan.jobs[0].name, target), round, [answer, empty].iter());
            }
        }
        (plan, known)
    }

    fn is_open(rounds: &[(u64, u64)], most: Option<u32>) -> bool {
        let (plan, known) = after(rounds, most);
        known.is_open(&plan, &plan.jobs[0].name)
    }

    #[test]
    fn rounds_are_added_until_the_targets_are_told_apart_or_shown_equal() {
        let different = [(100, 130), (101, 131), (99, 129), (100, 131), (98, 128)];
        assert!(is_open(&different[..3], Some(60)));
        let twice = different.repeat(2);
        assert!(!is_open(&twice, Some(60)), "different");
        let equal: Vec<(u64, u64)> = (0..30).map(|n| (1000 + n % 7, 1000 + n % 5)).collect();
        assert!(!is_open(&equal, Some(60)), "equal");
        let noisy: Vec<(u64, u64)> = (0..10).map(|n| (100, 80 + 40 * (n % 2))).collect();
        assert!(is_open(&noisy, Some(60)));
        assert!(!is_open(&noisy, Some(10)), "as many as there may be");
        assert!(!is_open(&noisy, None), "a fixed number of rounds");
    }

    #[test]
    fn the_base_is_this_program_and_what_never_answers_is_not_asked_for_ever() {
        let (plan, mut known) = after(&[(100, 130)], Some(60));
        let name = plan.jobs[0].name.clone();
        let ratios = known.log_ratios(&name, plan.base().expect("two targets"), "openai:a");
        assert!((ratios[0] - 1.3_f64.ln()).abs() < 1e-12);
        let failed = Timeline::unanswered(0, 0, 1, Ending::Interrupted);
        known = RoundLatencies::default();
        for target in &plan.targets {
            known.add((&name, target), 0, [failed.clone()].iter());
        }
        assert!(!known.is_open(&plan, &name), "no answer is whole");
    }

    #[test]
    fn a_target_that_does_not_serve_a_job_keeps_nothing_open() {
        let (plan, known) = after(&[(100, 130), (100, 131)], Some(60));
        let job = plan.jobs[0].name.clone();
        assert!(known.is_open(&plan, &job));
        for never in ["openai:a", "in-process"] {
            let mut plan = plan.clone();
            plan.never_served.push(NeverServed {
                job: job.clone(),
                target: never.to_owned(),
                outcome: Outcome::Interrupted,
            });
            assert!(!known.is_open(&plan, &job));
            assert_eq!(plan.n_comparisons(), 0);
        }
        let never = |job: &Job, target: &str| NeverServed {
            job: job.name.clone(),
            target: target.to_owned(),
            outcome: Outcome::Interrupted,
        };
        // A target that serves nothing is no base: the others are compared all the same.
        let header = request_header(
            &["in-process/a", "in-process/b", "openai:a"],
            3,
            jobs()[..2].to_vec(),
        );
        let mut plan = header.requests.expect("has requests");
        let setting = |target: &str| TargetSetting {
            target: target.to_owned(),
            named: "in-process".to_owned(),
            jobs: Vec::new(),
        };
        plan.settings = ["in-process/a", "in-process/b"].map(setting).into();
        assert_eq!(
            (plan.base(), plan.n_comparisons()),
            (Some("in-process/a"), 4)
        );
        plan.never_served = plan
            .jobs
            .iter()
            .map(|job| never(job, "in-process/a"))
            .collect();
        assert_eq!(
            (plan.base(), plan.n_comparisons()),
            (Some("in-process/b"), 2)
        );
        // A part of the plan keeps what of it was never served, wanted or not.
        plan.never_served = vec![never(&plan.jobs[0], "openai:a")];
        let some =
            plan.of_some(|job, target| (job.name == plan.jobs[0].name) != (target == "openai:a"));
        assert_eq!((some.jobs.len(), some.targets.len()), (2, 3));
        assert_eq!(some.never_served, plan.never_served);
        let one = plan.of_some(|job, target| job.name == plan.jobs[1].name && target == "openai:a");
        assert_eq!((one.jobs.len(), one.never_served.len()), (1, 0));
    }

    #[test]
    fn processes_are_added_until_the_mean_latency_is_known_twice_in_a_row() {
        let is_imprecise = |latencies: &[f64], rounds: u32, most: u32| {
            let (mut plan, _) = after(&[], None);
            (plan.replicates, plan.rounds) = (3, rounds);
            (plan.max_replicates, plan.precision) = (Some(most), Some(0.05));
            let mut known = RoundLatencies::default();
            let name = plan.jobs[0].name.clone();
            for (round, latency) in (0..).zip(latencies) {
                known.add_latencies((&name, "in-process"), round, &[*latency]);
            }
            known.is_imprecise(&plan, &name, "in-process")
        };
        let noisy = [100.0, 130.0, 80.0, 120.0];
        assert!(is_imprecise(&noisy, 1, 20));
        assert!(!is_imprecise(&noisy, 1, 4), "as many as there may be");
        let narrow = [100.0, 100.1, 99.9, 100.0];
        assert!(!is_imprecise(&narrow, 1, 20));
        assert!(is_imprecise(&narrow[..1], 1, 20), "one has no interval");
        // Rounds of one process are one unit: those that differ are averaged.
        let rounds = [100.0, 130.0, 130.0, 100.0, 100.0, 130.0];
        assert!(is_imprecise(&rounds, 1, 20));
        assert!(!is_imprecise(&rounds, 2, 20));
        // What answers nothing is counted, and not asked for ever.
        let (mut plan, mut known) = after(&[], None);
        (plan.max_replicates, plan.precision) = (Some(4), Some(0.05));
        let name = plan.jobs[0].name.clone();
        for round in 0..4 {
            assert!(known.is_imprecise(&plan, &name, "openai:a"));
            known.add_latencies((&name, "openai:a"), round, &[]);
        }
        assert!(!known.is_imprecise(&plan, &name, "openai:a"));
        plan.max_replicates = None;
        assert!(
            !known.is_imprecise(&plan, &name, "in-process"),
            "a fixed number"
        );
        // A job that asks other questions in each round has no mean of the same requests.
        plan.max_replicates = Some(9);
        assert!(known.is_imprecise(&plan, &name, "in-process"));
        plan.jobs[0].compared = Some(Compared {
            n_sides: 2,
            temperatures: Vec::new(),
            planted: None,
            most: None,
        });
        assert!(!known.is_imprecise(&plan, &name, "in-process"));
    }
}
