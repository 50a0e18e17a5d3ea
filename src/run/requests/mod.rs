//! Serves a plan of requests: processes, rounds, jobs in random order, targets in turns, everything into the record.

pub mod done;
pub mod in_process;
pub mod target;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Interrupt, ns, turns};
use crate::engine::clock::MonotonicClock;
use crate::host::noise_warnings;
use crate::record::Line;
use crate::record::jsonl::{RecordError, Writer};
use crate::record::requests::{JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::request::ready::{Wait, Waiting};
use crate::request::{Job, Served, TargetError};
use done::DoneJobs;
use target::ConnectedTarget;

/// Numbers of tags; warm-ups have others.
const N_TAGS: u32 = 5000;

/// Is told how far the requests are.
pub trait RequestsProgress {
    /// A server refuses everything for now, and is asked again.
    fn waits(&mut self, why: &str);
    /// A job begins at a target.
    fn begun(&mut self, job: &Job, target: &str, round: u32);
    /// It ended: `done` of `all` are.
    fn ended(&mut self, line: &JobLine, served: Option<&Served>, done: usize, all: usize);
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
        RequestsExecution {
            run: self,
            writer,
            started,
            interrupt,
            progress,
            n_done: 0,
            group_end: None,
        }
        .run()
    }

    fn n_all(&self) -> usize {
        self.plan.jobs.len() * self.targets.len() * self.plan.all_rounds() as usize
    }

    /// The targets that serve one process's rounds together, by their places. Several in-process targets are in groups of
    /// their own, so that one model at a time is in memory; their order alternates from process to process. Servers take
    /// turns with the first.
    fn groups(&self, replicate: u32) -> Vec<Vec<usize>> {
        let places = 0..self.targets.len();
        let own: Vec<usize> = places
            .clone()
            .filter(|at| self.targets[*at].is_in_process())
            .collect();
        if own.len() < 2 {
            return vec![places.collect()];
        }
        let mut groups: Vec<Vec<usize>> = turns(own.len(), replicate)
            .map(|at| vec![own[at]])
            .collect();
        groups[0].extend(places.filter(|at| !own.contains(at)));
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
    n_done: usize,
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
        self.describe(true)
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
            self.share_budget(n_later + n_groups - nth);
            match self.serve_group(&group, replicate) {
                Ok(()) | Err(Stop::BudgetSpent) => {}
                stop => return stop,
            }
            self.n_done =
                n_before + self.run.plan.jobs.len() * group.len() * self.run.plan.rounds as usize;
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
        self.n_done += 1;
        let plan = &self.run.plan;
        if self
            .run
            .done
            .has(&plan.jobs[job].name, &plan.targets[at], round)
        {
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

    /// The job as a target gets it in a round.
    fn job(&self, at: usize, target: &str, round: u32) -> Job {
        let name = &self.run.plan.jobs[at].name;
        let planned = self.run.plan.job_of(target, name);
        let planned = planned.unwrap_or(&self.run.plan.jobs[at]);
        // Every job of every round has texts of its own where there is a tag.
        let n_jobs = self.run.plan.jobs.len() as u32;
        let own = round.wrapping_mul(n_jobs).wrapping_add(at as u32);
        let own = self.run.first_tag.wrapping_add(own) % N_TAGS;
        Job {
            tag: planned.tag.map(|_| own),
            ..planned.clone()
        }
    }

    fn serve(&mut self, job: usize, at: usize, round: u32) -> Result<(), RecordError> {
        let target = self.run.plan.targets[at].clone();
        let job = self.job(job, &target, round);
        self.progress.begun(&job, &target, round);
        // The job under way when the budget ends may take a quarter of the budget more.
        let budget = self.run.plan.budget_ns.map(Duration::from_nanos);
        let end = budget.map(|budget| self.started + budget + budget / 4);
        let interrupt = self.interrupt;
        let is_over = || interrupt.is_set() || end.is_some_and(|end| Instant::now() >= end);
        let started_ns = ns(self.started.elapsed());
        let mut waiting = Waiting {
            wait: self.run.wait,
            clock: &MonotonicClock::start(),
            stop: &is_over,
            say: &mut |why| self.progress.waits(why),
        };
        let connected = &mut self.run.targets[at];
        let served = connected.serve_warm(&target, &job, &mut waiting);
        match &served {
            // The run waited for it once: every further job would wait as long.
            Err(TargetError::Unfit { .. }) => self.run.wait = Wait::default(),
            // Nothing was sent, so the job has no line.
            Err(TargetError::Interrupted) => return Ok(()),
            _ => {}
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
        let all = self.run.n_all();
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
        self.progress
            .ended(&line, served.as_ref(), self.n_done, all);
        self.writer.append(&Line::Job(Box::new(line)))
    }
}
