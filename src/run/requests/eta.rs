//! How long the jobs to come take: estimated where that can be, and corrected by those that were served.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::budget::scaled;
use crate::record::requests::RequestsPlan;
use crate::run::eta::TimeLeft;

/// About the time of a job at a target in one round, by the names of both.
pub type JobEstimates = HashMap<(String, String), Duration>;

/// A job at a target.
#[derive(Debug, Clone, Copy, Default)]
struct JobTime {
    estimate: Option<Duration>,
    /// The latest, where it was served.
    real: Option<Duration>,
    /// Rounds that are still to be served.
    to_come: u32,
    /// Whether it has none whatever happens.
    is_never_served: bool,
}

/// The time of all jobs at all targets.
#[derive(Debug, Clone)]
pub(super) struct RequestsEta {
    /// A row a job, a column a target.
    jobs: Vec<Vec<JobTime>>,
    /// Sums over what was served and had an estimate, for the estimates' common error.
    real_sum: Duration,
    estimated_sum: Duration,
}

impl RequestsEta {
    pub fn of(plan: &RequestsPlan, estimates: &JobEstimates) -> Self {
        let rounds = plan.all_rounds();
        let cell = |job: &str, target: &str| JobTime {
            estimate: estimates.get(&(job.to_owned(), target.to_owned())).copied(),
            real: None,
            to_come: rounds,
            is_never_served: false,
        };
        let row = |job: &str| {
            plan.targets
                .iter()
                .map(|target| cell(job, target))
                .collect()
        };
        Self {
            jobs: plan.jobs.iter().map(|job| row(&job.name)).collect(),
            real_sum: Duration::ZERO,
            estimated_sum: Duration::ZERO,
        }
    }

    /// A target is not to serve a job in any round.
    pub fn never_served(&mut self, job: usize, at: usize) {
        self.jobs[job][at] = JobTime {
            is_never_served: true,
            ..JobTime::default()
        };
    }

    /// A job at a target is over for this round, or is not served in it.
    pub fn left(&mut self, job: usize, at: usize) {
        let to_come = &mut self.jobs[job][at].to_come;
        *to_come = to_come.saturating_sub(1);
    }

    /// It took so long.
    pub fn served(&mut self, job: usize, at: usize, took: Duration) {
        let cell = &mut self.jobs[job][at];
        cell.real = Some(took);
        if let Some(estimate) = cell.estimate {
            self.real_sum = self.real_sum.saturating_add(took);
            self.estimated_sum = self.estimated_sum.saturating_add(estimate);
        }
    }

    /// Targets have so many rounds to come: the budget ended others.
    pub fn set_rounds_to_come(&mut self, targets: &[usize], rounds: u32) {
        for row in &mut self.jobs {
            for at in targets {
                let cell = &mut row[*at];
                if !cell.is_never_served {
                    cell.to_come = rounds;
                }
            }
        }
    }

    /// A round more of a job at a target.
    pub fn expect(&mut self, job: usize, at: usize) {
        self.jobs[job][at].to_come += 1;
    }

    /// The time that is left while nothing is served.
    pub fn between(&self, budget_left: Option<Duration>) -> Option<TimeLeft> {
        let all = self.remaining()?;
        Some(TimeLeft::still(
            budget_left.map_or(all, |budget| all.min(budget)),
        ))
    }

    /// The time that is left from the beginning of a job at a target, which is among those to come. No job begins after the budget.
    pub fn during(&self, job: usize, at: usize, budget_left: Option<Duration>) -> Option<TimeLeft> {
        let all = self.remaining()?;
        if let Some(budget) = budget_left.filter(|budget| *budget < all) {
            return Some(TimeLeft::growing(budget, budget, 0.0));
        }
        let phase = self.next(job, at)?;
        let cell = &self.jobs[job][at];
        let later = f64::from(cell.to_come.saturating_sub(1));
        Some(TimeLeft::growing(
            all,
            phase,
            later + self.per_time_of(cell),
        ))
    }

    /// By how much what was never served is expected to take longer, per time that a job does.
    fn per_time_of(&self, cell: &JobTime) -> f64 {
        let Some(estimate) = cell.estimate else {
            return 0.0;
        };
        let unseen = self
            .jobs
            .iter()
            .flatten()
            .filter(|cell| cell.real.is_none());
        let unseen = unseen.filter_map(|cell| Some(cell.estimate?.saturating_mul(cell.to_come)));
        let mut unseen = unseen.fold(Duration::ZERO, Duration::saturating_add);
        if cell.real.is_none() {
            unseen = unseen.saturating_sub(estimate.saturating_mul(cell.to_come));
        }
        let estimated = self.estimated_sum.saturating_add(estimate);
        match estimated.is_zero() {
            true => 0.0,
            false => unseen.as_secs_f64() / estimated.as_secs_f64(),
        }
    }

    fn remaining(&self) -> Option<Duration> {
        let rows = self.jobs.iter().enumerate();
        let cells = rows.flat_map(|(job, row)| (0..row.len()).map(move |at| (job, at)));
        let mut to_come = cells.filter(|(job, at)| self.jobs[*job][*at].to_come > 0);
        to_come.try_fold(Duration::ZERO, |sum, (job, at)| {
            let all = self
                .next(job, at)?
                .saturating_mul(self.jobs[job][at].to_come);
            Some(sum.saturating_add(all))
        })
    }

    /// Expected time of a job at a target: as long as its last, or the corrected estimate. At a server, of which nothing is known
    /// beforehand, it is that of the same job elsewhere, or the mean of those that were served.
    fn next(&self, job: usize, at: usize) -> Option<Duration> {
        let cell = &self.jobs[job][at];
        let elsewhere = || {
            let row = &self.jobs[job];
            mean(row.iter().filter_map(|cell| cell.real))
                .or_else(|| row.iter().find_map(|cell| self.corrected(cell)))
        };
        let known = cell
            .real
            .or_else(|| self.corrected(cell))
            .or_else(elsewhere);
        known.or_else(|| mean(self.jobs.iter().flatten().filter_map(|cell| cell.real)))
    }

    fn corrected(&self, cell: &JobTime) -> Option<Duration> {
        let estimate = cell.estimate?;
        if self.estimated_sum.is_zero() {
            return Some(estimate);
        }
        let off = self.real_sum.as_secs_f64() / self.estimated_sum.as_secs_f64();
        Some(scaled(estimate, off))
    }
}

fn mean(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let (sum, n) = times.fold((Duration::ZERO, 0_u32), |(sum, n), time| {
        (sum.saturating_add(time), n + 1)
    });
    sum.checked_div(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::requests::{OWN, jobs, request_header};

    const SERVER: &str = "openai:a";

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Two jobs at these targets in three rounds; in-process they are thought to take 1 s and 4 s.
    fn eta(targets: &[&str]) -> RequestsEta {
        let header = request_header(targets, 3, jobs()[..2].to_vec());
        let plan = header.requests.expect("has requests");
        let names = plan.jobs.iter().map(|job| job.name.clone());
        let estimates = names.zip([s(1), s(4)]);
        let estimates = estimates.map(|(job, time)| ((job, OWN.to_owned()), time));
        RequestsEta::of(&plan, &estimates.collect())
    }

    fn serve(eta: &mut RequestsEta, job: usize, at: usize, took: Duration) {
        eta.served(job, at, took);
        eta.left(job, at);
    }

    #[test]
    fn the_first_job_has_a_time_left_and_corrects_the_others() {
        let mut eta = eta(&[OWN]);
        let rounds = eta.jobs[0][0].to_come;
        let before = eta.during(0, 0, None).expect("estimated");
        assert_eq!((before.all, before.phase), (s(5) * rounds, s(1)));
        // It takes thrice as long: so do its later rounds and the other job.
        serve(&mut eta, 0, 0, s(3));
        let after = eta.between(None).expect("known").all;
        assert_eq!(after, s(3) * (rounds - 1) + s(12) * rounds);
        // What was said meanwhile grew to that, beside the rest of the job itself.
        assert_eq!(before.after(s(3)), after + s(2));
        serve(&mut eta, 1, 0, s(4));
        assert_eq!(eta.during(1, 0, None).expect("known").phase, s(4));
    }

    #[test]
    fn of_a_server_nothing_is_known_before_its_first_answer() {
        let mut alone = eta(&[SERVER]);
        assert_eq!(alone.during(0, 0, None), None);
        assert_eq!(alone.between(None), None);
        serve(&mut alone, 0, 0, s(2));
        let rounds = alone.jobs[1][0].to_come;
        assert_eq!(
            alone.between(None).expect("a mean").all,
            s(2) * (2 * rounds - 1)
        );
        // Beside this program's own time it is taken to be as fast.
        let beside = eta(&[OWN, SERVER]);
        assert_eq!(
            beside.during(1, 1, None).expect("as in-process").phase,
            s(4)
        );
    }

    #[test]
    fn no_more_time_is_expected_than_the_budget_leaves() {
        let mut eta = eta(&[OWN]);
        let all = eta.between(None).expect("known").all;
        assert_eq!(eta.between(Some(s(2))).expect("known").all, s(2));
        assert_eq!(eta.between(Some(all * 2)).expect("known").all, all);
        let cut = eta.during(0, 0, Some(s(2))).expect("known");
        // The job under way may end after the budget.
        assert_eq!((cut.after(s(2)), cut.after(s(3))), (s(0), s(1)));
        eta.set_rounds_to_come(&[0], 1);
        assert_eq!(eta.between(None).expect("known").all, s(5));
        eta.expect(0, 0);
        assert_eq!(eta.between(None).expect("known").all, s(6));
        eta.set_rounds_to_come(&[0], 0);
        assert_eq!(eta.between(None).expect("nothing is left").all, s(0));
    }
}
