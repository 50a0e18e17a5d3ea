//! Serves a plan of requests: processes, rounds, jobs in random order, targets in turns, everything into the record.

pub mod done;
pub mod eta;
pub mod in_process;
pub mod pairs;
pub mod target;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::stop::is_answered;
use super::{Interrupt, ns, turns};
use crate::engine::clock::{Clock, MonotonicClock};
use crate::host::noise_warnings;
use crate::plan::requests::TIME_FOR_PAIRS;
use crate::record::Line;
use crate::record::jsonl::{RecordError, Writer};
use crate::record::requests::{JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::request::figures::{ComparedAnswers, RequestFigures};
use crate::request::ready::{Wait, Waiting};
use crate::request::{Job, Served, TargetError};
use crate::run::eta::TimeLeft;
use done::DoneJobs;
use eta::{JobEstimates, RequestsEta};
use target::ConnectedTarget;

/// The stream of the seed's random numbers for who begins a pair; those below are for the order of jobs in a round.
const TURNS: u64 = 1 << 32;

/// Numbers of tags; warm-ups have others.
const N_TAGS: u32 = 5000;

/// Is told how far the requests are.
pub trait RequestsProgress {
    /// A server refuses everything for now, and is asked again.
    fn waits(&mut self, why: &str);
    /// A job begins at a target.
    fn begun(&mut self, job: &Job, target: &str, round: u32, at: RequestsPosition);
    /// It ended.
    fn ended(&mut self, line: &JobLine, served: Option<&Served>, at: RequestsPosition);
}

/// How far requests are.
#[derive(Debug, Clone, Copy)]
pub struct RequestsPosition {
    /// Jobs that ended, or were not begun because the budget was spent, each round at each target counted.
    pub done: usize,
    /// Jobs in all.
    pub all: usize,
    /// The time that is left, at most that of the budget; `None` where nothing is known yet.
    pub left: Option<TimeLeft>,
}

/// A plan of requests with the targets that serve it.
pub struct RequestsRun {
    /// What goes into the record's header.
    pub plan: RequestsPlan,
    /// In the plan's order.
    pub targets: Vec<ConnectedTarget>,
    /// Seed of the order.
    pub seed: u64,
    /// How long the run waits for a server that refuses everything for now.
    pub wait: Wait,
    /// What an interrupted run has already.
    pub done: DoneJobs,
    /// About the time of jobs, where that can be known beforehand.
    pub estimates: JobEstimates,
    /// The first tag, where texts have one. No two runs have the same, or a server's cache of prefixes would know the texts.
    pub first_tag: u32,
}

impl RequestsRun {
    /// Serves every job at every target in every round.
    ///
    /// # Errors
    /// Only the record's; a job that cannot be served is a line.
    pub fn serve(
        &mut self,
        writer: &mut Writer,
        started: Instant,
        interrupt: &Interrupt,
        progress: &mut dyn RequestsProgress,
    ) -> Result<(), RecordError> {
        let answers = self.answers_so_far();
        let mut eta = RequestsEta::of(&self.plan, &self.estimates);
        for at in 0..self.targets.len() {
            for (nth, job) in self.plan.jobs.iter().enumerate() {
                if !self.serves(job, at) {
                    eta.never_served(nth, at);
                }
            }
        }
        RequestsExecution {
            answers,
            eta,
            n_added: 0,
            writer,
            started,
            interrupt,
            progress,
            clock: &MonotonicClock::start(),
            waits: vec![self.wait; self.targets.len()],
            run: self,
            n_done: 0,
            group_end: None,
        }
        .run()
    }

    /// What an interrupted run knows already of compared jobs: a row a job, a column a target.
    fn answers_so_far(&mut self) -> Vec<Vec<ComparedAnswers>> {
        let known = &mut self.done.answers;
        let mut all = Vec::new();
        for job in &self.plan.jobs {
            let mut row = Vec::new();
            for target in &self.plan.targets {
                let key = (job.name.clone(), target.clone());
                row.push(known.remove(&key).unwrap_or_default());
            }
            all.push(row);
        }
        all
    }

    /// Whether rounds may be added to the planned ones, until a comparison is decided or a mean is known.
    fn has_open_end(&self) -> bool {
        if self.plan.most_pairs.is_some() || self.plan.max_replicates.is_some() {
            return true;
        }
        let mut compared = self
            .plan
            .jobs
            .iter()
            .filter_map(|job| job.compared.as_ref());
        compared.any(|compared| compared.most.is_some())
    }

    fn n_all(&self) -> usize {
        let places: Vec<usize> = (0..self.targets.len()).collect();
        self.n_served(&places) * self.plan.all_rounds() as usize
    }

    /// Jobs that these targets serve in a round, each target counted.
    fn n_served(&self, targets: &[usize]) -> usize {
        let jobs = self.plan.jobs.iter();
        let pairs = jobs.flat_map(|job| targets.iter().map(move |at| (job, *at)));
        pairs.filter(|(job, at)| self.serves(job, *at)).count()
    }

    /// Whether a target is to serve a job.
    fn serves(&self, job: &Job, at: usize) -> bool {
        let target = &self.plan.targets[at];
        self.plan.never_served(&job.name, target).is_none()
    }

    /// The targets that serve one process's rounds together, by their places. Several in-process targets are in groups of
    /// their own, so that one model at a time is in memory; their order alternates from process to process. Servers take
    /// turns with the first.
    fn groups(&self, replicate: u32) -> Vec<Vec<usize>> {
        // A target that serves nothing takes no share of the time.
        let serves = |at: &usize| self.plan.serves_anything(&self.plan.targets[*at]);
        let places: Vec<usize> = (0..self.targets.len()).filter(serves).collect();
        let is_own = |at: &usize| self.targets[*at].is_in_process();
        let own: Vec<usize> = places.iter().copied().filter(is_own).collect();
        if own.len() < 2 {
            return vec![places];
        }
        let mut groups: Vec<Vec<usize>> = turns(own.len(), replicate)
            .map(|at| vec![own[at]])
            .collect();
        groups[0].extend(places.into_iter().filter(|at| !own.contains(at)));
        groups[0].sort_unstable();
        groups
    }

    /// The jobs of a round in their order.
    fn order(&self, round: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.plan.jobs.len()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::from(round));
        order.shuffle(&mut rng);
        order
    }
}

/// Why no further job begins: of the run, or of a group whose share of the budget is spent.
enum Stop {
    Interrupted,
    BudgetSpent,
    Record(RecordError),
}

impl From<RecordError> for Stop {
    fn from(e: RecordError) -> Self {
        Self::Record(e)
    }
}

struct RequestsExecution<'a> {
    run: &'a mut RequestsRun,
    writer: &'a mut Writer,
    started: Instant,
    interrupt: &'a Interrupt,
    progress: &'a mut dyn RequestsProgress,
    /// By which it waits for servers.
    clock: &'a dyn Clock,
    /// How long it waits for each target.
    waits: Vec<Wait>,
    n_done: usize,
    /// Jobs that were added to those that are planned, each target counted.
    n_added: usize,
    /// The answers of compared jobs: a row a job, a column a target.
    answers: Vec<Vec<ComparedAnswers>>,
    /// How long the jobs to come take.
    eta: RequestsEta,
    /// When no further job of the group begins, since the run began.
    group_end: Option<Duration>,
}

impl RequestsExecution<'_> {
    fn run(mut self) -> Result<(), RecordError> {
        self.describe(false)?;
        for replicate in 0..self.run.plan.replicates {
            match self.replicate(replicate) {
                Ok(()) => {}
                Err(Stop::BudgetSpent) => {}
                Err(Stop::Interrupted) => return Ok(()),
                Err(Stop::Record(e)) => return Err(e),
            }
        }
        match self.until_known() {
            Ok(()) | Err(Stop::BudgetSpent) => self.describe(true),
            Err(Stop::Interrupted) => Ok(()),
            Err(Stop::Record(e)) => Err(e),
        }
    }

    /// Rounds of the jobs whose comparison is not decided, or whose mean is not known, in new processes, until all are or the time is over.
    fn until_known(&mut self) -> Result<(), Stop> {
        if !self.run.has_open_end() {
            return Ok(());
        }
        let spent = self.started.elapsed();
        let budget = self.run.plan.budget_ns.map(Duration::from_nanos);
        self.group_end = Some(budget.unwrap_or(spent.saturating_add(TIME_FOR_PAIRS)));
        let (n_planned, n_rounds) = (self.run.plan.replicates, self.run.plan.all_rounds());
        let mut coins = ChaCha8Rng::seed_from_u64(self.run.seed);
        coins.set_stream(TURNS);
        for added in 0.. {
            let open = self.open_jobs();
            if open.is_empty() {
                break;
            }
            self.n_added += open.len();
            open.iter().for_each(|(job, at)| self.eta.expect(*job, *at));
            let (replicate, round) = (n_planned + added, n_rounds + added);
            self.run.targets.iter_mut().for_each(ConnectedTarget::renew);
            let groups = self.run.groups(replicate);
            let n_groups = groups.len();
            for mut group in groups {
                for job in self.run.order(round) {
                    // What decides by pairs needs an order in them that is independent of everything else.
                    group.shuffle(&mut coins);
                    for at in group.iter().copied() {
                        if open.contains(&(job, at)) {
                            self.serve_once(job, at, round)?;
                        }
                    }
                }
                if n_groups > 1 {
                    let targets = &mut self.run.targets;
                    group.iter().for_each(|at| targets[*at].unload());
                }
            }
        }
        Ok(())
    }

    /// The jobs that need further rounds, each with its target.
    fn open_jobs(&self) -> Vec<(usize, usize)> {
        let jobs = self.answers.iter().enumerate();
        let all = jobs.flat_map(|(job, of_targets)| {
            let of_targets = of_targets.iter().enumerate();
            of_targets.map(move |(at, answers)| (job, at, answers))
        });
        let plan = &self.run.plan;
        let latencies = &self.run.done.latencies;
        all.filter(|(job, at, answers)| {
            let job = &plan.jobs[*job];
            let is_open = !is_answered(job, answers)
                || latencies.is_open(plan, &job.name)
                || latencies.is_imprecise(plan, &job.name, &plan.targets[*at]);
            self.run.serves(job, *at) && is_open
        })
        .map(|(job, at, _)| (job, at))
        .collect()
    }

    /// The rounds of one process of each target.
    fn replicate(&mut self, replicate: u32) -> Result<(), Stop> {
        if replicate > 0 {
            self.run.targets.iter_mut().for_each(ConnectedTarget::renew);
        }
        let groups = self.run.groups(replicate);
        let n_groups = groups.len();
        for (nth, group) in groups.into_iter().enumerate() {
            let n_before = self.n_done;
            let n_later = (self.run.plan.replicates - replicate - 1) as usize * n_groups;
            // Rounds that are added have a share of their own.
            let n_after = usize::from(self.run.has_open_end());
            self.share_budget(n_later + n_groups - nth + n_after);
            match self.serve_group(&group, replicate) {
                Ok(()) | Err(Stop::BudgetSpent) => {}
                stop => return stop,
            }
            let rounds_left = (self.run.plan.replicates - replicate - 1) * self.run.plan.rounds;
            self.eta.set_rounds_to_come(&group, rounds_left);
            self.n_done = n_before + self.run.n_served(&group) * self.run.plan.rounds as usize;
            if n_groups > 1 {
                // The next target's model needs the memory.
                let targets = &mut self.run.targets;
                group.iter().for_each(|at| targets[*at].unload());
            }
        }
        Ok(())
    }

    /// Gives the next of the `n` groups that are left its share of what is left of the budget.
    fn share_budget(&mut self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let budget = self.run.plan.budget_ns.map(Duration::from_nanos);
        let spent = self.started.elapsed();
        self.group_end = budget.map(|budget| spent + budget.saturating_sub(spent) / n);
    }

    fn serve_group(&mut self, group: &[usize], replicate: u32) -> Result<(), Stop> {
        for round in 0..self.run.plan.rounds {
            let round = replicate * self.run.plan.rounds + round;
            for (turn, job) in (0..).zip(self.run.order(round)) {
                for at in turns(group.len(), round.wrapping_add(turn)) {
                    self.serve_once(job, group[at], round)?;
                }
            }
        }
        Ok(())
    }

    fn serve_once(&mut self, job: usize, at: usize, round: u32) -> Result<(), Stop> {
        let plan = &self.run.plan;
        if !self.run.serves(&plan.jobs[job], at) {
            return Ok(());
        }
        self.n_done += 1;
        if self
            .run
            .done
            .has(&plan.jobs[job].name, &plan.targets[at], round)
        {
            self.eta.left(job, at);
            return Ok(());
        }
        if self.interrupt.is_set() {
            return Err(Stop::Interrupted);
        }
        if self
            .group_end
            .is_some_and(|end| self.started.elapsed() >= end)
        {
            return Err(Stop::BudgetSpent);
        }
        Ok(self.serve(job, at, round)?)
    }

    fn budget_left(&self) -> Option<Duration> {
        let budget = self.run.plan.budget_ns.map(Duration::from_nanos);
        budget.map(|budget| budget.saturating_sub(self.started.elapsed()))
    }

    fn position(&self, done: usize, left: Option<TimeLeft>) -> RequestsPosition {
        RequestsPosition {
            done,
            all: self.run.n_all() + self.n_added,
            left,
        }
    }

    fn describe(&mut self, after: bool) -> Result<(), RecordError> {
        let run = &mut *self.run;
        for (name, target) in run.plan.targets.iter().zip(&mut run.targets) {
            let (facts, reason) = match target.target().facts() {
                Ok(facts) => (Some(facts), None),
                Err(e) => (None, Some(e.to_string())),
            };
            self.writer.append(&Line::Target(Box::new(TargetLine {
                target: name.clone(),
                after,
                facts,
                reason,
            })))?;
        }
        Ok(())
    }

    /// The job as a target gets it in a round, and the number in the plan's job of its first request.
    fn job(&self, at: usize, target: &str, round: u32) -> (Job, u32) {
        let name = &self.run.plan.jobs[at].name;
        let planned = self.run.plan.job_of(target, name);
        let planned = planned.unwrap_or(&self.run.plan.jobs[at]);
        // Every job of every round has texts of its own where there is a tag.
        let n_jobs = self.run.plan.jobs.len() as u32;
        let own = round.wrapping_mul(n_jobs).wrapping_add(at as u32);
        let own = self.run.first_tag.wrapping_add(own) % N_TAGS;
        let (served, first) = planned.in_round(round);
        let tag = planned.tag.map(|_| own);
        (Job { tag, ..served }, first)
    }

    fn serve(&mut self, job: usize, at: usize, round: u32) -> Result<(), RecordError> {
        let target = self.run.plan.targets[at].clone();
        let place = job;
        let (job, first) = self.job(place, &target, round);
        let position = self.position(
            self.n_done - 1,
            self.eta.during(place, at, self.budget_left()),
        );
        self.progress.begun(&job, &target, round, position);
        let begun = Instant::now();
        // The job under way when the budget ends may take a quarter of the budget more.
        let budget = self.run.plan.budget_ns.map(Duration::from_nanos);
        let end = budget.map(|budget| self.started + budget + budget / 4);
        let interrupt = self.interrupt;
        let is_over = || interrupt.is_set() || end.is_some_and(|end| Instant::now() >= end);
        let started_ns = ns(self.started.elapsed());
        let mut waiting = Waiting {
            wait: self.waits[at],
            clock: self.clock,
            stop: &is_over,
            say: &mut |why| self.progress.waits(why),
        };
        let connected = &mut self.run.targets[at];
        let mut served = connected.serve_warm(&target, &job, &mut waiting);
        for timeline in served.iter_mut().flat_map(|s| &mut s.timelines) {
            timeline.number = timeline.number.wrapping_add(first);
        }
        self.eta.left(place, at);
        if served.is_ok() {
            self.eta.served(place, at, begun.elapsed());
        }
        match &served {
            // The run waited for it once: every further job would wait as long, until it serves one.
            Err(TargetError::Unfit { .. }) => self.waits[at] = Wait::default(),
            Ok(_) => self.waits[at] = self.run.wait,
            // Nothing was sent, so the job has no line.
            Err(TargetError::Interrupted) => return Ok(()),
            _ => {}
        }
        let planned = &self.run.plan.jobs[place];
        let sent = served.iter().flat_map(|s| &s.timelines);
        let latencies = &mut self.run.done.latencies;
        latencies.add((&job.name, &target), round, sent);
        if planned.compared.is_some() {
            let answers = &mut self.answers[place][at];
            let sent = served.iter().flat_map(|s| &s.timelines);
            answers.add(
                planned,
                sent.map(|t| (t.number, RequestFigures::of(round, t))),
            );
            // What could not be asked is not tried for ever.
            answers.n_asked = answers
                .n_asked
                .max(job.n_requests.saturating_mul(round + 1));
        }
        self.record(job, at, (round, started_ns), served)
    }

    fn record(
        &mut self,
        job: Job,
        at: usize,
        (round, started_ns): (u32, u64),
        served: Result<Served, TargetError>,
    ) -> Result<(), RecordError> {
        let position = self.position(self.n_done, self.eta.between(self.budget_left()));
        let target = &self.run.plan.targets[at];
        let connected = &mut self.run.targets[at];
        let (usage, sampled) = connected.take_usage();
        for timeline in served.iter().flat_map(|s| &s.timelines) {
            self.writer.append(&Line::Request(Box::new(RequestLine {
                job: job.name.clone(),
                target: target.clone(),
                round,
                timeline: timeline.clone(),
            })))?;
        }
        let (served, reason) = match served {
            Ok(served) => (Some(served), None),
            Err(e) => (None, Some(e.to_string())),
        };
        let line = JobLine {
            job: job.name,
            target: target.clone(),
            round,
            worker: connected.worker(),
            started_ns,
            elapsed_ns: served.as_ref().map(|s| s.elapsed_ns),
            reason,
            calls: served.as_ref().map_or_else(Vec::new, |s| s.calls.clone()),
            warnings: usage.as_ref().map_or_else(Vec::new, noise_warnings),
            usage,
            sampled,
            log: connected.take_log(),
        };
        self.progress.ended(&line, served.as_ref(), position);
        self.writer.append(&Line::Job(Box::new(line)))
    }
}

#[cfg(test)]
mod tests;
