//! Carries a plan out: the schedule, the worker processes, the stopping rule, the record.

pub mod eta;
pub mod log;
pub mod protocol;
pub mod resume;
pub mod schedule;
pub mod stop;
pub mod supervisor;
pub mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::EngineFacts;
use crate::host::noise_warnings;
use crate::measure::{Call, Phase};
use crate::plan::{Case, CaseId, Plan};
use crate::record::jsonl::{RecordError, Writer};
use crate::record::{CellLine, EndLine, Line, Opened, Outcome, Repetition, WorkerLine};
use crate::stats::summary;
use eta::Eta;
use protocol::{Reply, Request};
use resume::Done;
use schedule::Group;
use supervisor::{Worker, WorkerCommand, WorkerError};

/// Shortest time a worker is given to answer.
const MIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Times its estimate a worker is given to answer.
const TIMEOUT_FACTOR: u32 = 20;

/// Set by Ctrl-C; the run ends after the repetition in hand.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the run to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A worker starts to load a model.
    Loading {
        /// The model's name.
        model: &'a str,
        /// The replicate, from 0.
        replicate: u32,
    },
    /// A cell is opened and warmed up.
    CellStarted {
        /// The cell.
        case: &'a Case,
        /// The replicate, from 0.
        replicate: u32,
    },
    /// A repetition is in the record.
    RepetitionDone {
        /// The cell.
        case: &'a Case,
        /// The repetition.
        calls: &'a [Call],
    },
    /// A cell is done in this replicate.
    CellDone {
        /// What was recorded.
        line: &'a CellLine,
    },
}

/// Somebody who watches a run.
pub trait Observer {
    /// Something happened; `eta` knows how far the run is.
    fn event(&mut self, event: Event<'_>, eta: &Eta);
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

/// A plan being carried out.
pub struct Execution<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How to start workers.
    pub command: &'a WorkerCommand,
    /// Where everything is written.
    pub writer: &'a mut Writer,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// What an earlier, interrupted execution left.
    pub done: Done,
    /// How long things take.
    pub eta: Eta,
    /// The engine as the record's header has it; a worker of another build is refused.
    pub engine: &'a EngineFacts,
}

impl Execution<'_> {
    /// Visits every cell that is not done, and records what becomes of it.
    ///
    /// # Errors
    /// Only when the record cannot be written: a cell's failure is a line of it.
    pub fn run(mut self) -> Result<Ended, RecordError> {
        let started = Instant::now();
        let done = std::mem::take(&mut self.done);
        let groups = schedule::groups(self.plan, |case, replicate| {
            done.is_finished(&case.id(), replicate)
        });
        self.eta.expect(&groups);
        let mut run = Progress {
            started,
            next_worker: done.next_worker,
            repetitions: done.repetitions,
        };
        for group in &groups {
            if self.interrupt.is_set() {
                break;
            }
            self.visit_group(group, &mut run)?;
        }
        let interrupted = self.interrupt.is_set();
        self.writer.append(&Line::End(EndLine {
            ended_at: crate::record::timestamp(),
            interrupted,
            elapsed_ns: ns(started.elapsed()),
        }))?;
        Ok(Ended { interrupted })
    }

    /// One replicate of one model: a worker for all its cells, and a new one after each that kills it.
    fn visit_group(&mut self, group: &Group, run: &mut Progress) -> Result<(), RecordError> {
        let mut worker: Option<(Worker, u32)> = None;
        let mut refused: Option<Refused> = None;
        for case in &group.cases {
            if self.interrupt.is_set() {
                return Ok(());
            }
            if let Some(refused) = &refused {
                let Refused { worker, error, log } = refused;
                let visit = Visit::new(case, group.replicate, *worker);
                self.record_cell(visit.line(failure(error), None, log.clone()))?;
                continue;
            }
            if worker.is_none() {
                match self.load(group, run)? {
                    Ok(loaded) => worker = Some(loaded),
                    Err(failed) => {
                        let Refused { worker, error, log } = &failed;
                        let visit = Visit::new(case, group.replicate, *worker);
                        self.record_cell(visit.line(failure(error), None, log.clone()))?;
                        // A process that died may have had bad luck; an answer will be the same again.
                        if !matches!(error, WorkerError::Died(_)) {
                            refused = Some(failed);
                        }
                        continue;
                    }
                }
            }
            let Some((process, number)) = worker.as_mut() else {
                continue;
            };
            let visit = Visit::new(case, group.replicate, *number);
            if !self.visit_cell(&visit, process, run)? {
                worker = None;
            }
        }
        Ok(())
    }

    /// Starts a worker and loads the group's model.
    fn load(
        &mut self,
        group: &Group,
        run: &mut Progress,
    ) -> Result<Result<(Worker, u32), Refused>, RecordError> {
        let number = run.next_worker;
        run.next_worker += 1;
        self.observer.event(
            Event::Loading {
                model: &group.load.model,
                replicate: group.replicate,
            },
            &self.eta,
        );
        let facts = self.plan.model_of(&group.cases[0]);
        let refused = |error, log| Refused {
            worker: number,
            error,
            log,
        };
        let mut worker = match Worker::start(self.command) {
            Ok(worker) => worker,
            Err(e) => return Ok(Err(refused(e, Vec::new()))),
        };
        if !worker.engine().is_same_build(self.engine) {
            let e = WorkerError::Start("the program was replaced since the run began".to_owned());
            return Ok(Err(refused(e, Vec::new())));
        }
        let started = Instant::now();
        let request = Request::Load {
            path: facts.path.clone(),
            key: group.load.clone(),
            worker: number,
        };
        let timeout = self.timeout(self.eta.load(facts.file_bytes));
        let answer = worker.ask(&request, timeout, Some(&self.interrupt));
        let log = worker.take_log();
        self.eta.loaded(started.elapsed());
        let (load_ns, rss_bytes) = match &answer {
            Ok(Reply::Loaded { load_ns, rss_bytes }) => (Some(*load_ns), *rss_bytes),
            _ => (None, None),
        };
        self.writer.append(&Line::Worker(WorkerLine {
            worker: number,
            replicate: group.replicate,
            load: group.load.clone(),
            load_ns,
            rss_bytes,
            log: log.clone(),
        }))?;
        match answer {
            Ok(Reply::Loaded { .. }) => Ok(Ok((worker, number))),
            Ok(other) => Ok(Err(refused(worker.out_of_turn(&other), log))),
            Err(e) => Ok(Err(refused(e, log))),
        }
    }

    /// One cell in one process. False when the process is gone.
    fn visit_cell(
        &mut self,
        visit: &Visit<'_>,
        worker: &mut Worker,
        run: &mut Progress,
    ) -> Result<bool, RecordError> {
        self.observer.event(
            Event::CellStarted {
                case: visit.case,
                replicate: visit.replicate,
            },
            &self.eta,
        );
        let visit_started = Instant::now();
        let deadline = self
            .eta
            .deadline(visit.case, run.started, &self.plan.protocol);
        worker.take_log();
        let opened = match self.open(visit.case, worker) {
            Ok(opened) => opened,
            Err(e) => {
                self.record_cell(visit.line(failure(&e), None, worker.take_log()))?;
                return Ok(matches!(e, WorkerError::Engine(_)));
            }
        };
        let outcome = self.repeat(visit, worker, run, deadline)?;
        let closed = match &outcome {
            Ok(_) => {
                self.eta.visited(visit.case, visit_started.elapsed());
                worker
                    .ask(&Request::Close, self.timeout(Duration::ZERO), None)
                    .map(drop)
            }
            Err(e) => Err(e.clone()),
        };
        let mut log = worker.take_log();
        if let (Ok(_), Err(e)) = (&outcome, &closed) {
            // Its repetitions are whole; only the next cell needs a new process.
            log.push(format!("ggufbench: while closing the context: {e}"));
        }
        let outcome = outcome.unwrap_or_else(|e| failure(&e));
        self.record_cell(CellLine {
            usage: worker.take_usage(),
            ..visit.line(outcome, Some(opened), log)
        })?;
        Ok(matches!(closed, Ok(()) | Err(WorkerError::Engine(_))))
    }

    fn open(&self, case: &Case, worker: &mut Worker) -> Result<Opened, WorkerError> {
        let request = Request::Open {
            case: Box::new(case.clone()),
            seed: self.plan.protocol.seed,
        };
        let timeout = self.timeout(self.eta.warm_up(case));
        match worker.ask(&request, timeout, Some(&self.interrupt))? {
            Reply::Opened(opened) => Ok(*opened),
            other => Err(worker.out_of_turn(&other)),
        }
    }

    /// Repetitions until the stopping rule, Ctrl-C or a failure.
    fn repeat(
        &mut self,
        visit: &Visit<'_>,
        worker: &mut Worker,
        run: &mut Progress,
        deadline: Option<Instant>,
    ) -> Result<Result<Outcome, WorkerError>, RecordError> {
        let key = (visit.id.clone(), visit.replicate);
        // Median step of each repetition of this process, nanoseconds.
        let mut here = Vec::new();
        loop {
            let n_here = run.repetitions.get(&key).copied().unwrap_or(0);
            let over = deadline.is_some_and(|d| Instant::now() >= d);
            if let Some(stopped_by) = stop::verdict(&here, n_here, over, &self.plan.protocol) {
                return Ok(Ok(Outcome::Measured {
                    repetitions: n_here,
                    stopped_by,
                }));
            }
            if self.interrupt.is_set() {
                return Ok(Ok(Outcome::Interrupted));
            }
            let started_ns = ns(run.started.elapsed());
            let timeout = self.timeout(self.eta.repetition(visit.case));
            let (usage, calls) = match worker.ask(&Request::Repeat, timeout, None) {
                Ok(Reply::Repetition { usage, calls }) => (usage, calls),
                Ok(other) => return Ok(Err(worker.out_of_turn(&other))),
                Err(e) => return Ok(Err(e)),
            };
            if let Some(median) = median_step_ns(&calls) {
                here.push(median);
            }
            run.repetitions.insert(key.clone(), n_here + 1);
            let line = Line::Repetition(Box::new(Repetition {
                case_id: visit.id.clone(),
                case: visit.case.clone(),
                replicate: visit.replicate,
                worker: visit.worker,
                repetition: n_here,
                started_ns,
                warnings: noise_warnings(&usage),
                usage,
                calls,
            }));
            self.writer.append(&line)?;
            if let Line::Repetition(r) = &line {
                self.observer.event(
                    Event::RepetitionDone {
                        case: visit.case,
                        calls: &r.calls,
                    },
                    &self.eta,
                );
            }
        }
    }

    fn record_cell(&mut self, line: CellLine) -> Result<(), RecordError> {
        let line = Line::Cell(Box::new(line));
        self.writer.append(&line)?;
        if let Line::Cell(cell) = &line {
            self.eta.left(&cell.case);
            self.observer
                .event(Event::CellDone { line: cell }, &self.eta);
        }
        Ok(())
    }

    fn timeout(&self, expected: Duration) -> Duration {
        match self.plan.protocol.timeout_ns {
            Some(ns) => Duration::from_nanos(ns),
            None => (expected * TIMEOUT_FACTOR).max(MIN_TIMEOUT),
        }
    }
}

/// What is known while the run goes on.
struct Progress {
    started: Instant,
    next_worker: u32,
    /// Repetitions made, by cell and replicate.
    repetitions: HashMap<(CaseId, u32), u32>,
}

/// A worker that could not be had.
struct Refused {
    worker: u32,
    error: WorkerError,
    log: Vec<String>,
}

/// A cell in a process.
struct Visit<'a> {
    case: &'a Case,
    id: CaseId,
    replicate: u32,
    worker: u32,
}

impl<'a> Visit<'a> {
    fn new(case: &'a Case, replicate: u32, worker: u32) -> Self {
        Self {
            case,
            id: case.id(),
            replicate,
            worker,
        }
    }

    fn line(&self, outcome: Outcome, opened: Option<Opened>, log: Vec<String>) -> CellLine {
        CellLine {
            case_id: self.id.clone(),
            case: self.case.clone(),
            replicate: Some(self.replicate),
            worker: Some(self.worker),
            outcome,
            opened,
            usage: None,
            log,
        }
    }
}

fn failure(error: &WorkerError) -> Outcome {
    match error {
        WorkerError::Engine(reason) => Outcome::Failed {
            reason: reason.clone(),
        },
        WorkerError::Start(_) | WorkerError::OutOfTurn(_) => Outcome::Failed {
            reason: error.to_string(),
        },
        WorkerError::Interrupted => Outcome::Interrupted,
        WorkerError::Died(how) => Outcome::Crashed { how: how.clone() },
        WorkerError::TimedOut(after) => Outcome::TimedOut {
            after_ns: ns(*after),
        },
    }
}

fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The median decode step of a repetition, nanoseconds; none when it has no decode call.
pub fn median_step_ns(calls: &[Call]) -> Option<f64> {
    let steps: Vec<f64> = calls
        .iter()
        .filter(|c| c.phase == Phase::Decode)
        .map(|c| c.step_ns() as f64)
        .collect();
    summary::median(&steps)
}
