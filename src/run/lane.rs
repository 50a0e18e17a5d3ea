//! One plan being carried out by one kind of worker into one record.

mod repetition;

use std::time::{Duration, Instant};

use super::protocol::{Reply, Request};
use super::requests::in_process::SILENCE;
use super::resume::Done;
use super::supervisor::{Worker, WorkerCommand, WorkerError};
use super::{Course, Event, median_step_ns, ns};
use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::engine::log_report::EngineReport;
use crate::host::usage::UsageSummary;
use crate::model::FileWatch;
use crate::plan::{Case, CaseId, LoadKey, Plan};
use crate::record::jsonl::{RecordError, Writer};
use crate::record::output::OutputLine;
use crate::record::{CellLine, EndLine, Line, Opened, Outcome, WorkerLine};

pub use repetition::TurnsTaken;

/// Shortest time a worker is given to answer.
const MIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The same where a device computes: its driver may compile every kernel at its first use, which takes minutes where the
/// plug-in has no code for the device, or on a device of software.
const MIN_TIMEOUT_OF_DEVICE: Duration = Duration::from_secs(600);

/// What a network moves at least, in an estimate that is multiplied: a model goes to other machines through it.
const NETWORK_BYTES_PER_S: u64 = 100_000_000;

/// Times its estimate a worker is given to answer.
const TIMEOUT_FACTOR: u32 = 20;

/// How long the sides of a pair compute at least before it is the other's turn: shorter than most of what slows a machine for a
/// moment, and long against standing still and going on.
const TURN: Duration = Duration::from_millis(5);
/// The same with several threads, which take some milliseconds to fall asleep.
const TURN_OF_THREADS: Duration = Duration::from_millis(20);

/// A plan, its workers and its record.
pub struct Lane<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How to start workers.
    pub command: &'a WorkerCommand,
    /// The engine as the record's header has it; a worker of another build is refused.
    pub engine: &'a EngineFacts,
    /// The workers' program as the record's header has it.
    pub program: &'a BuildInfo,
    /// Where everything is written.
    pub writer: &'a mut Writer,
    /// What the record has.
    pub done: Done,
    /// The process that visits cells now.
    pub worker: LaneWorker,
    /// Whether the models' files are still those of the plan.
    pub watch: FileWatch,
}

/// The process that visits cells.
#[derive(Default)]
pub enum LaneWorker {
    /// None yet, or it died.
    #[default]
    Missing,
    /// A worker with its number, its model loaded.
    Ready(Box<Worker>, u32),
    /// It could not be had, and trying again would end the same way.
    Refused(Refused),
}

/// A worker that could not be had.
pub struct Refused {
    worker: u32,
    error: WorkerError,
    log: Vec<String>,
}

/// A cell in a process.
pub struct Visit {
    lane: usize,
    case: Case,
    id: CaseId,
    /// The replicate, from 0.
    pub replicate: u32,
    worker: Option<u32>,
    opened: Option<Opened>,
    usage: Option<UsageSummary>,
    log: Vec<String>,
    /// Repetitions that the record has of this replicate.
    pub n_repetitions: u32,
    /// Median step of each repetition of this process, nanoseconds.
    pub median_steps_ns: Vec<f64>,
    /// How it ended; none while it goes on.
    pub outcome: Option<Outcome>,
}

impl Visit {
    /// A visit that has not begun, of the lane's `case`.
    pub fn new(lane: usize, case: &Case, replicate: u32) -> Self {
        Self {
            lane,
            case: case.clone(),
            id: case.id(),
            replicate,
            worker: None,
            opened: None,
            usage: None,
            log: Vec::new(),
            n_repetitions: 0,
            median_steps_ns: Vec::new(),
            outcome: None,
        }
    }

    /// Decode steps of a turn within a repetition: as many as take [`TURN`], by the warm-up.
    pub fn steps_of_turn(&self) -> u32 {
        let turn = if self.case.n_threads > 1 {
            TURN_OF_THREADS
        } else {
            TURN
        };
        let warmup = self.opened.as_ref().map(|opened| &opened.warmup_calls[..]);
        let step = warmup.and_then(median_step_ns);
        let n = step.map_or(1.0, |step| (ns(turn) as f64 / step.max(1.0)).ceil());
        (n as u32).max(1)
    }

    /// The case's id.
    pub fn id(&self) -> &CaseId {
        &self.id
    }
}

impl Lane<'_> {
    /// Lets the worker go; the next cell gets a new one.
    pub fn dismiss(&mut self) {
        self.worker = LaneWorker::Missing;
    }

    /// Ensures a loaded worker, or records why loading failed.
    ///
    /// # Errors
    /// Only the record's.
    pub fn ensure_worker(
        &mut self,
        visit: &Visit,
        load: &LoadKey,
        course: &mut Course<'_>,
    ) -> Result<(), RecordError> {
        if matches!(self.worker, LaneWorker::Missing) {
            self.worker = self.load(visit, load, course)?;
        }
        Ok(())
    }

    /// Checks the output of a cell's setting, unless the record has it. Failures end the visit.
    ///
    /// # Errors
    /// Only the record's.
    pub fn check_output(
        &mut self,
        visit: &mut Visit,
        course: &mut Course<'_>,
    ) -> Result<(), RecordError> {
        let LaneWorker::Ready(worker, number) = &mut self.worker else {
            return Ok(());
        };
        if !self.plan.protocol.check_output || self.done.has_output(&visit.case) {
            return Ok(());
        }
        visit.worker = Some(*number);
        course.observer.event(
            Event::CheckingOutput {
                lane: visit.lane,
                case: &visit.case,
            },
            &course.eta,
        );
        worker.take_log();
        let request = Request::CheckOutput(Box::new(visit.case.clone()));
        // It decodes about two hundred tokens alone, whatever the cell's length is.
        let expected = course
            .eta
            .repetition(&visit.case)
            .max(SILENCE / TIMEOUT_FACTOR);
        let timeout = timeout(self.plan, &visit.case, expected);
        let answer = match worker.ask(&request, timeout, Some(&course.interrupt)) {
            Ok(Reply::OutputChecked(checked)) => Ok(*checked),
            Ok(other) => Err(worker.out_of_turn(&other)),
            Err(e) => Err(e),
        };
        let worker = *number;
        match answer {
            Err(e) => self.fail(visit, &e),
            Ok(checked) => {
                self.done.note_output(&visit.case);
                self.writer.append(&Line::Output(Box::new(OutputLine {
                    case_id: visit.id.clone(),
                    case: visit.case.clone(),
                    worker,
                    checked,
                })))?;
            }
        }
        Ok(())
    }

    /// Opens and warms up a cell. Failures end the visit.
    pub fn open(&mut self, visit: &mut Visit, course: &mut Course<'_>) {
        if visit.outcome.is_some() {
            return;
        }
        match &mut self.worker {
            LaneWorker::Missing => visit.outcome = Some(Outcome::Interrupted),
            LaneWorker::Refused(refused) => {
                visit.worker = Some(refused.worker);
                visit.log.clone_from(&refused.log);
                visit.outcome = Some(failure(&refused.error));
                // A process that died may have had bad luck; an answer will be the same again.
                if matches!(refused.error, WorkerError::Died(_)) {
                    self.dismiss();
                }
            }
            LaneWorker::Ready(worker, number) => {
                visit.worker = Some(*number);
                visit.n_repetitions = self.done.n_repetitions(&visit.id, visit.replicate);
                course.observer.event(
                    Event::CellStarted {
                        lane: visit.lane,
                        case: &visit.case,
                        replicate: visit.replicate,
                    },
                    &course.eta,
                );
                worker.take_log();
                let request = Request::Open {
                    case: Box::new(visit.case.clone()),
                    seed: self.plan.protocol.seed,
                };
                let timeout = timeout(self.plan, &visit.case, course.eta.warm_up(&visit.case));
                let answer = match worker.ask(&request, timeout, Some(&course.interrupt)) {
                    Ok(Reply::Opened(opened)) => Ok(*opened),
                    Ok(other) => Err(worker.out_of_turn(&other)),
                    Err(e) => Err(e),
                };
                match answer {
                    Ok(opened) => visit.opened = Some(opened),
                    Err(e) => self.fail(visit, &e),
                }
            }
        }
    }

    /// Starts a worker and loads a model.
    fn load(
        &mut self,
        visit: &Visit,
        load: &LoadKey,
        course: &mut Course<'_>,
    ) -> Result<LaneWorker, RecordError> {
        let number = self.done.next_worker;
        self.done.next_worker += 1;
        course.observer.event(
            Event::Loading {
                lane: visit.lane,
                model: &load.model,
                replicate: visit.replicate,
            },
            &course.eta,
        );
        let refused = |error, log| {
            LaneWorker::Refused(Refused {
                worker: number,
                error,
                log,
            })
        };
        let mut worker = match self.start(&visit.case) {
            Ok(worker) => worker,
            Err(e) => return Ok(refused(e, Vec::new())),
        };
        let request = Request::Load {
            path: self.plan.model_of(&visit.case).path.clone(),
            key: load.clone(),
            worker: number,
        };
        let timeout = self.load_timeout(&visit.case, course);
        let started = Instant::now();
        let answer = worker.ask(&request, timeout, Some(&course.interrupt));
        let answer = match answer {
            Err(WorkerError::Interrupted) => answer,
            // The file may have changed while it was read, and a process that reads a shortened file dies.
            answer => self.check_files(&visit.case).and(answer),
        };
        let log = worker.take_log();
        course.eta.loaded(started.elapsed());
        let (load_ns, rss_bytes, gpu_memory) = match &answer {
            Ok(Reply::Loaded {
                load_ns,
                rss_bytes,
                gpu_memory,
            }) => (Some(*load_ns), *rss_bytes, *gpu_memory),
            _ => (None, None, None),
        };
        self.writer.append(&Line::Worker(Box::new(WorkerLine {
            worker: number,
            replicate: visit.replicate,
            load: load.clone(),
            load_ns,
            rss_bytes,
            gpu_memory,
            found: found(&log),
            log: log.clone(),
        })))?;
        Ok(match answer {
            Ok(Reply::Loaded { .. }) => LaneWorker::Ready(Box::new(worker), number),
            Ok(other) => refused(worker.out_of_turn(&other), log),
            Err(e) => refused(e, log),
        })
    }

    /// A worker of the run's build, if the files of the model did not change.
    fn start(&mut self, case: &Case) -> Result<Worker, WorkerError> {
        self.check_files(case)?;
        let worker = Worker::start(self.command)?;
        worker.check_build(self.engine, Some(self.program))?;
        Ok(worker)
    }

    fn load_timeout(&self, case: &Case, course: &Course<'_>) -> Duration {
        let bytes = self.plan.model_of(case).file_bytes;
        let mut expected = course.eta.load(bytes);
        if !case.rpc.is_none() {
            expected += Duration::from_secs(bytes / NETWORK_BYTES_PER_S);
        }
        timeout(self.plan, case, expected)
    }

    /// Drops the cell's context and records what became of it; `took` is the length of the whole visit.
    ///
    /// # Errors
    /// Only the record's.
    pub fn close(
        &mut self,
        mut visit: Visit,
        took: Duration,
        course: &mut Course<'_>,
    ) -> Result<(), RecordError> {
        let outcome = visit.outcome.take().unwrap_or(Outcome::Interrupted);
        if let (LaneWorker::Ready(worker, _), None) = (&self.worker, &visit.usage) {
            visit.usage = worker.take_usage();
        }
        if let (LaneWorker::Ready(worker, _), false) = (&mut self.worker, outcome.is_failure()) {
            course.eta.visited(&visit.case, took);
            let closed = worker.ask(
                &Request::Close,
                timeout(self.plan, &visit.case, Duration::ZERO),
                None,
            );
            visit.log.extend(worker.take_log());
            if let Err(e) = closed {
                // Its repetitions are whole; only the next cell needs a new process.
                let note = format!("ggufbench: while closing the context: {e}");
                visit.log.push(note);
                if !matches!(e, WorkerError::Engine(_)) {
                    self.dismiss();
                }
            }
        }
        if matches!(outcome, Outcome::Measured { .. }) {
            self.done.finish(visit.id.clone(), visit.replicate);
        }
        let line = Line::Cell(Box::new(CellLine {
            case_id: visit.id,
            case: visit.case,
            replicate: Some(visit.replicate),
            worker: visit.worker,
            outcome,
            opened: visit.opened,
            usage: visit.usage,
            found: found(&visit.log),
            log: visit.log,
        }));
        self.writer.append(&line)?;
        if let Line::Cell(line) = &line {
            course.eta.left(&line.case);
            let done = Event::CellDone {
                lane: visit.lane,
                line,
            };
            course.observer.event(done, &course.eta);
        }
        Ok(())
    }

    /// Records the end.
    ///
    /// # Errors
    /// The record's.
    pub fn end(&mut self, interrupted: bool, elapsed: Duration) -> Result<(), RecordError> {
        self.writer.append(&Line::End(EndLine {
            ended_at: crate::record::timestamp(),
            interrupted,
            elapsed_ns: ns(elapsed),
        }))
    }

    /// Whether the case's model is what it was when it was hashed.
    fn check_files(&mut self, case: &Case) -> Result<(), WorkerError> {
        let checked = self.watch.check(self.plan.model_of(case));
        checked.map_err(|e| WorkerError::Model(e.to_string()))
    }

    /// Ends a visit by a failure; a worker that only reported an error stays. A process that reads a shortened file dies: then the
    /// file is the reason.
    fn fail(&mut self, visit: &mut Visit, error: &WorkerError) {
        let changed = match error {
            WorkerError::Interrupted | WorkerError::Model(_) => None,
            _ => self.check_files(&visit.case).err(),
        };
        let error = changed.as_ref().unwrap_or(error);
        if let LaneWorker::Ready(worker, _) = &mut self.worker {
            visit.log.extend(worker.take_log());
            visit.usage = worker.take_usage();
        }
        visit.outcome = Some(failure(error));
        if !matches!(error, WorkerError::Engine(_)) {
            self.dismiss();
        }
    }
}

/// What a log says that the engine did; none where it says nothing, as the cost model's.
fn found(log: &[String]) -> Option<EngineReport> {
    let found = EngineReport::of(log.iter().map(String::as_str));
    (found != EngineReport::default()).then_some(found)
}

fn timeout(plan: &Plan, case: &Case, expected: Duration) -> Duration {
    let least = match case.n_gpu_layers {
        0 => MIN_TIMEOUT,
        _ => MIN_TIMEOUT_OF_DEVICE,
    };
    match plan.protocol.timeout_ns {
        Some(ns) => Duration::from_nanos(ns),
        None => expected.saturating_mul(TIMEOUT_FACTOR).max(least),
    }
}

pub(crate) fn failure(error: &WorkerError) -> Outcome {
    match error {
        WorkerError::Engine(reason) => Outcome::Failed {
            reason: reason.clone(),
        },
        WorkerError::Model(_) | WorkerError::Start(_) | WorkerError::OutOfTurn(_) => {
            Outcome::Failed {
                reason: error.to_string(),
            }
        }
        WorkerError::Interrupted => Outcome::Interrupted,
        WorkerError::Died(how) => Outcome::Crashed { how: how.clone() },
        WorkerError::TimedOut(after) => Outcome::TimedOut {
            after_ns: ns(*after),
        },
    }
}
