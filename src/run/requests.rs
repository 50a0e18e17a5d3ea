//! Serves a plan of requests: rounds of jobs in random order, targets in turns, everything into the record.

use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::in_process::InProcess;
use super::{Interrupt, ns, turns};
use crate::engine::clock::MonotonicClock;
use crate::host::noise_warnings;
use crate::host::usage::{UsageDelta, UsageSummary};
use crate::record::Line;
use crate::record::jsonl::{RecordError, Writer};
use crate::record::requests::{JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::request::plan::warm_up;
use crate::request::ready::{Wait, Waiting};
use crate::request::{Job, Served, Target, TargetError};

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
        let all = n_jobs * self.seats.len() * self.plan.rounds as usize;
        let mut done = 0;
        for round in 0..self.plan.rounds {
            let mut order: Vec<usize> = (0..n_jobs).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(u64::from(round));
            order.shuffle(&mut rng);
            for (turn, at) in (0..).zip(order) {
                for seat in turns(self.seats.len(), round.wrapping_add(turn)) {
                    if self.interrupt.is_set() {
                        return Ok(());
                    }
                    done += 1;
                    self.serve(at, seat, round, (done, all))?;
                }
            }
        }
        self.describe(true)
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
        let (interrupt, seat) = (self.interrupt, &mut self.seats[seat]);
        let started_ns = ns(self.started.elapsed());
        let mut waiting = Waiting {
            wait: self.wait,
            clock: &MonotonicClock::start(),
            stop: &|| interrupt.is_set(),
            say: &mut |why| self.watcher.waits(why),
        };
        let served = serve_warm(seat, &target, &job, &mut waiting);
        if let Err(TargetError::Unfit { .. }) = served {
            // It was waited for once: every further job would wait as long.
            self.wait = Wait::default();
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
