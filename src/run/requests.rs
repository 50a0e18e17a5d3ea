//! Serves a plan of requests: rounds of jobs in random order, targets in turns, everything into the record.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::in_process::InProcess;
use super::{Interrupt, ns, turns};
use crate::engine::clock::MonotonicClock;
use crate::host::noise_warnings;
use crate::host::usage::{UsageDelta, UsageSummary};
use crate::record::jsonl::{self, RecordError, Writer};
use crate::record::requests::{JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::record::{Line, RunHeader};
use crate::request::plan::warm_up;
use crate::request::ready::{Wait, Waiting};
use crate::request::{Ending, Job, Served, Target, TargetError};

/// Job, target and round.
type Key = (String, String, u32);

/// What a record has of a job at a target in a round.
#[derive(Debug, Default)]
struct Known {
    numbers: HashSet<u32>,
    is_cut: bool,
    has_ended: bool,
}

/// The jobs at targets in rounds that an interrupted run has served whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DoneJobs {
    whole: HashSet<Key>,
    /// The first worker number not yet used.
    pub next_worker: u32,
}

impl DoneJobs {
    /// Reads a run's record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(run: &Path) -> Result<(RunHeader, Self), RecordError> {
        let mut known: HashMap<Key, Known> = HashMap::new();
        let mut next_worker = 0;
        let header = jsonl::read(run, |line| match line {
            Line::Request(r) => {
                let known = known.entry((r.job, r.target, r.round)).or_default();
                if !known.numbers.insert(r.timeline.number) {
                    // The round is served again: nothing of its first try counts.
                    *known = Known::default();
                    known.numbers.insert(r.timeline.number);
                }
                known.is_cut |= r.timeline.ending == Ending::Interrupted;
            }
            Line::Job(job) => {
                next_worker = next_worker.max(job.worker.map_or(0, |w| w.saturating_add(1)));
                let known = known.entry((job.job, job.target, job.round)).or_default();
                known.has_ended = job.elapsed_ns.is_some();
            }
            _ => {}
        })?;
        let jobs = header.requests.iter().flat_map(|plan| &plan.jobs);
        let jobs: HashMap<&str, &Job> = jobs.map(|job| (job.name.as_str(), job)).collect();
        let is_whole = |((name, ..), known): &(Key, Known)| {
            let job = jobs.get(name.as_str());
            known.has_ended && !known.is_cut && job.is_some_and(|j| j.is_whole(known.numbers.len()))
        };
        let whole = known
            .into_iter()
            .filter(is_whole)
            .map(|(key, _)| key)
            .collect();
        Ok((header, Self { whole, next_worker }))
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.whole.len()
    }

    fn has(&self, job: &str, target: &str, round: u32) -> bool {
        let key = (job.to_owned(), target.to_owned(), round);
        self.whole.contains(&key)
    }
}

/// Somebody who watches requests being served.
pub trait Watcher {
    /// A server is waited for.
    fn waits(&mut self, why: &str);
    /// A job begins at a target.
    fn begun(&mut self, job: &Job, target: &str, round: u32);
    /// It ended: `done` of `all` are.
    fn ended(&mut self, line: &JobLine, served: Option<&Served>, done: usize, all: usize);
}

/// A target that takes part.
pub enum Seat {
    /// llama.cpp in a worker of ours.
    InProcess(Box<InProcess>),
    /// A server.
    Server(Box<dyn Target>),
}

impl Seat {
    fn target(&mut self) -> &mut dyn Target {
        match self {
            Self::InProcess(target) => target.as_mut(),
            Self::Server(target) => target.as_mut(),
        }
    }

    /// The worker process that serves; none for servers, whose processes are not ours.
    fn worker(&self) -> Option<u32> {
        match self {
            Self::InProcess(target) => Some(target.worker()),
            Self::Server(_) => None,
        }
    }

    fn renew(&mut self) {
        if let Self::InProcess(target) = self {
            target.renew();
        }
    }

    fn take_log(&mut self) -> Vec<String> {
        match self {
            Self::InProcess(target) => target.take_log(),
            Self::Server(_) => Vec::new(),
        }
    }

    fn take_usage(&mut self) -> (Option<UsageDelta>, Option<UsageSummary>) {
        match self {
            Self::InProcess(target) => (target.take_usage(), target.take_sampled()),
            // Its process may be on another machine, and is not ours to watch.
            Self::Server(_) => (None, None),
        }
    }
}

/// Requests being served.
pub struct Serving<'a> {
    /// What is to be done.
    pub plan: &'a RequestsPlan,
    /// The targets, in the plan's order.
    pub seats: &'a mut [Seat],
    /// Where everything is written.
    pub writer: &'a mut Writer,
    /// When the run began.
    pub started: Instant,
    /// Seed of the order.
    pub seed: u64,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// How long is waited for a server that refuses everything for now.
    pub wait: Wait,
    /// What an interrupted run has already.
    pub done: DoneJobs,
    /// Who watches.
    pub watcher: &'a mut dyn Watcher,
}

impl Serving<'_> {
    /// Every job at every target in every round.
    ///
    /// # Errors
    /// Only the record's; a job that cannot be served is a line.
    pub fn run(mut self) -> Result<(), RecordError> {
        self.describe(false)?;
        let n_jobs = self.plan.jobs.len();
        let all = n_jobs * self.seats.len() * self.plan.all_rounds() as usize;
        let mut done = 0;
        for round in 0..self.plan.all_rounds() {
            if round > 0 && round % self.plan.rounds.max(1) == 0 {
                self.seats.iter_mut().for_each(Seat::renew);
            }
            let mut order: Vec<usize> = (0..n_jobs).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(u64::from(round));
            order.shuffle(&mut rng);
            for (turn, at) in (0..).zip(order) {
                for seat in turns(self.seats.len(), round.wrapping_add(turn)) {
                    done += 1;
                    let (job, target) = (&self.plan.jobs[at].name, &self.plan.targets[seat]);
                    if self.done.has(job, target, round) {
                        continue;
                    }
                    if self.interrupt.is_set() {
                        return Ok(());
                    }
                    if self.left().is_some_and(|left| left.is_zero()) {
                        return self.describe(true);
                    }
                    self.serve(at, seat, round, (done, all))?;
                }
            }
        }
        self.describe(true)
    }

    /// What is left of the budget; none without one.
    fn left(&self) -> Option<Duration> {
        let budget = Duration::from_nanos(self.plan.budget_ns?);
        Some(budget.saturating_sub(self.started.elapsed()))
    }

    fn describe(&mut self, after: bool) -> Result<(), RecordError> {
        for (name, seat) in self.plan.targets.iter().zip(&mut *self.seats) {
            let (facts, reason) = match seat.target().facts() {
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

    fn serve(
        &mut self,
        at: usize,
        seat: usize,
        round: u32,
        (done, all): (usize, usize),
    ) -> Result<(), RecordError> {
        let target = self.plan.targets[seat].clone();
        let planned = &self.plan.jobs[at];
        // Every job of every round has texts of its own where there is a tag.
        let n_jobs = self.plan.jobs.len() as u32;
        let own = round.wrapping_mul(n_jobs).wrapping_add(at as u32);
        let job = Job {
            tag: planned.tag.map(|_| own),
            ..planned.clone()
        };
        self.watcher.begun(&job, &target, round);
        // What is in hand when the budget is over has a quarter more.
        let budget = self.plan.budget_ns.map(Duration::from_nanos);
        let over = budget.map(|budget| self.started + budget + budget / 4);
        let interrupt = self.interrupt;
        let is_over = || interrupt.is_set() || over.is_some_and(|over| Instant::now() >= over);
        let seat = &mut self.seats[seat];
        let started_ns = ns(self.started.elapsed());
        let mut waiting = Waiting {
            wait: self.wait,
            clock: &MonotonicClock::start(),
            stop: &is_over,
            say: &mut |why| self.watcher.waits(why),
        };
        let served = serve_warm(seat, &target, &job, &mut waiting);
        if let Err(TargetError::Unfit { .. }) = served {
            // It was waited for once: every further job would wait as long.
            self.wait = Wait::default();
        }
        if let Err(TargetError::Interrupted) = served {
            // Nothing was sent: it is as if the job had not begun.
            return Ok(());
        }
        let (usage, sampled) = seat.take_usage();
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
            target,
            round,
            worker: seat.worker(),
            started_ns,
            elapsed_ns: served.as_ref().map(|s| s.elapsed_ns),
            reason,
            calls: served.as_ref().map_or_else(Vec::new, |s| s.calls.clone()),
            warnings: usage.as_ref().map_or_else(Vec::new, noise_warnings),
            usage,
            sampled,
            log: seat.take_log(),
        };
        self.watcher.ended(&line, served.as_ref(), done, all);
        self.writer.append(&Line::Job(Box::new(line)))
    }
}

/// A server is warmed up by requests that nobody records; a worker warms its fresh context up by itself.
fn serve_warm(
    seat: &mut Seat,
    name: &str,
    job: &Job,
    waiting: &mut Waiting<'_>,
) -> Result<Served, TargetError> {
    let stop = waiting.stop;
    if let Seat::Server(server) = seat {
        waiting.warm(name, &mut || server.serve(&warm_up(job), stop))?;
    }
    seat.target().serve(job, stop)
}
