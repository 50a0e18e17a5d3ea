//! Scores a text: cell after cell, each with a worker that has its model, everything into the record.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Interrupt;
use super::lane::failure;
use super::protocol::{DistributionsFile, Reply, Request, ScoreRequest};
use super::requests::in_process::{SILENCE, loaded};
use super::supervisor::{Worker, WorkerCommand, WorkerError};
use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::model::{FileWatch, ModelFacts};
use crate::plan::{Case, LoadKey};
use crate::record::jsonl::{self, RecordError, Writer};
use crate::record::quality::{ChunkLine, QualityCell, QualityLine, QualityPlan, QualityRole};
use crate::record::{Line, Outcome, StoppedBy};

/// Is told how far the scoring is.
pub trait QualityProgress {
    /// A worker loads a model.
    fn loading(&mut self, model: &str);
    /// A cell begins.
    fn begun(&mut self, cell: &QualityCell);
    /// Another chunk of it was scored: `done` of at most `of`.
    fn scored(&mut self, done: u32, of: u32);
    /// A cell ended; `done` of `all` cells have.
    fn ended(&mut self, line: &QualityLine, mean_nll: Option<f64>, done: usize, all: usize);
}

/// What a record has of a text already.
#[derive(Debug, Clone, Default)]
pub struct DoneChunks {
    chunks: HashMap<Case, HashSet<u32>>,
    finished: HashSet<Case>,
    next_worker: u32,
}

impl DoneChunks {
    /// Reads a run's record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(run: &Path) -> Result<Self, RecordError> {
        let mut done = Self::default();
        jsonl::read(run, |line| match line {
            Line::Chunk(line) => {
                done.next_worker = done.next_worker.max(line.worker.saturating_add(1));
                let known = done.chunks.entry(line.case).or_default();
                known.insert(line.scored.chunk);
            }
            Line::Quality(line) => {
                // A cell that ran out of time is measured; the resumed run has no more of it.
                if matches!(
                    line.outcome,
                    Outcome::Measured { .. } | Outcome::Skipped { .. }
                ) {
                    done.finished.insert(line.case);
                }
            }
            _ => {}
        })?;
        Ok(done)
    }
}

/// A text and the cells that score it.
pub struct QualityRun {
    /// What goes into the record's header.
    pub plan: QualityPlan,
    /// The text.
    pub text: String,
    /// Why cells do not fit, in the plan's order; `None` for those that do.
    pub over: Vec<Option<Outcome>>,
    /// Wall time for all cells.
    pub budget: Option<Duration>,
    /// What an interrupted run has already.
    pub done: DoneChunks,
}

/// What the workers of a run are, and what they load.
pub struct QualityWorkers<'a> {
    /// How they are started.
    pub command: &'a WorkerCommand,
    /// The engine that each must run.
    pub engine: &'a EngineFacts,
    /// The program that each must be.
    pub program: &'a BuildInfo,
    /// The models of the plan.
    pub models: &'a [ModelFacts],
}

impl QualityRun {
    /// Scores with every cell that is not done. The base's distributions are kept in the run's folder meanwhile.
    ///
    /// # Errors
    /// Only the record's; a cell that cannot be scored is a line.
    pub fn score(
        &mut self,
        workers: &QualityWorkers<'_>,
        (writer, folder): (&mut Writer, &Path),
        interrupt: &Interrupt,
        progress: &mut dyn QualityProgress,
    ) -> Result<(), RecordError> {
        let mut execution = QualityExecution {
            workers,
            writer,
            interrupt,
            progress,
            worker: None,
            watch: FileWatch::default(),
            next_worker: self.done.next_worker,
            base: None,
            ends: self.budget.map(|budget| Instant::now() + budget),
            n_left: self.plan.cells.len(),
            n_all: self.plan.cells.len(),
        };
        for (cell, over) in self.plan.cells.iter().zip(&self.over) {
            if interrupt.is_set() {
                return Ok(());
            }
            if cell.role == QualityRole::Base {
                execution.base = None;
                let needs_base = |other: &QualityCell| {
                    let base = self.plan.base_of(&other.case);
                    base == Some(cell) && !self.done.finished.contains(&other.case)
                };
                let is_needed = self.plan.cells.iter().any(needs_base);
                execution.base = is_needed.then(|| BaseFile::of(folder, &cell.case));
            }
            execution.cell(cell, over.as_ref(), &self.text, &self.done)?;
        }
        Ok(())
    }
}

/// The base's distributions; their file is gone when this is dropped, because a resumed run makes it anew.
struct BaseFile {
    path: PathBuf,
    /// Chunks in it; `None` until the base was scored.
    n_chunks: Option<u32>,
}

impl BaseFile {
    fn of(folder: &Path, case: &Case) -> Self {
        let length = case.n_prompt.saturating_add(case.n_gen);
        Self {
            path: folder.join(format!("base-{length}.distributions")),
            n_chunks: None,
        }
    }
}

impl Drop for BaseFile {
    fn drop(&mut self) {
        // A file that cannot be removed only takes room; where the base failed there is none.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A model's worker.
struct ScoringWorker {
    worker: Worker,
    load: LoadKey,
    number: u32,
    load_ns: Option<u64>,
}

struct QualityExecution<'a> {
    workers: &'a QualityWorkers<'a>,
    writer: &'a mut Writer,
    interrupt: &'a Interrupt,
    progress: &'a mut dyn QualityProgress,
    worker: Option<ScoringWorker>,
    watch: FileWatch,
    next_worker: u32,
    base: Option<BaseFile>,
    /// When the budget is over.
    ends: Option<Instant>,
    n_left: usize,
    n_all: usize,
}

/// What scoring a cell left behind.
#[derive(Default)]
struct QualityCellProgress {
    n_chunks: u32,
    n_text_tokens: Option<u32>,
    sum_nll: f64,
    n_nll: usize,
}

impl QualityExecution<'_> {
    fn cell(
        &mut self,
        cell: &QualityCell,
        over: Option<&Outcome>,
        text: &str,
        done: &DoneChunks,
    ) -> Result<(), RecordError> {
        // Another try at the base gives its distributions to cells that are still to be scored.
        let is_base = cell.role == QualityRole::Base && self.base.is_some();
        if done.finished.contains(&cell.case) && !is_base {
            self.n_left -= 1;
            return Ok(());
        }
        self.progress.begun(cell);
        let known = done.chunks.get(&cell.case).cloned().unwrap_or_default();
        let mut seen = QualityCellProgress::default();
        let outcome = match over {
            Some(outcome) => outcome.clone(),
            None => {
                let asked = self.score(cell, text, &known, &mut seen)?;
                self.outcome(asked, &seen, known.len())
            }
        };
        self.n_left -= 1;
        if cell.role == QualityRole::Base {
            let n_chunks = seen.n_chunks;
            self.base
                .iter_mut()
                .for_each(|base| base.n_chunks = Some(n_chunks));
        }
        if outcome.is_failure() {
            self.worker = None;
        }
        let worker = self.worker.as_mut();
        let line = QualityLine {
            case_id: cell.case.id(),
            case: cell.case.clone(),
            worker: worker.as_ref().map(|w| w.number),
            load_ns: worker.and_then(|w| w.load_ns.take()),
            outcome,
            n_text_tokens: seen.n_text_tokens,
            log: self
                .worker
                .iter()
                .flat_map(|w| w.worker.take_log())
                .collect(),
        };
        let mean_nll = (seen.n_nll > 0).then(|| seen.sum_nll / seen.n_nll as f64);
        self.progress
            .ended(&line, mean_nll, self.n_all - self.n_left, self.n_all);
        match done.finished.contains(&cell.case) {
            true => Ok(()),
            false => self.writer.append(&Line::Quality(Box::new(line))),
        }
    }

    fn outcome(
        &self,
        asked: Result<(), WorkerError>,
        seen: &QualityCellProgress,
        known: usize,
    ) -> Outcome {
        let stopped_by = match asked {
            Err(e) => return failure(&e),
            Ok(()) if self.interrupt.is_set() => return Outcome::Interrupted,
            Ok(()) if self.is_over() => StoppedBy::Budget,
            Ok(()) => StoppedBy::MaxRepetitions,
        };
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        let repetitions = seen.n_chunks.max(known);
        if repetitions == 0 {
            let reason = "the budget was over before its first chunk".to_owned();
            return Outcome::Failed { reason };
        }
        Outcome::Measured {
            repetitions,
            stopped_by,
        }
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// Asks the model's worker, and records each chunk.
    fn score(
        &mut self,
        cell: &QualityCell,
        text: &str,
        known: &HashSet<u32>,
        seen: &mut QualityCellProgress,
    ) -> Result<Result<(), WorkerError>, RecordError> {
        if let Err(e) = self.ensure_worker(&cell.case) {
            return Ok(Err(e));
        }
        let request = self.request(cell, text, known);
        let n_chunks = request.n_chunks;
        let request = Request::Score(Box::new(request));
        // What is left of the budget is divided among the cells that are left.
        let share = self.ends.map(|ends| {
            let left = ends.saturating_duration_since(Instant::now());
            let n = u32::try_from(self.n_left.max(1)).unwrap_or(u32::MAX);
            Instant::now() + left / n
        });
        let interrupt = self.interrupt;
        let stop = || interrupt.is_set() || share.is_some_and(|end| Instant::now() >= end);
        let Some(worker) = &mut self.worker else {
            return Ok(Ok(()));
        };
        let number = worker.number;
        let (writer, progress) = (&mut *self.writer, &mut *self.progress);
        let mut written = Ok(());
        let mut note = |reply: Reply| {
            let Reply::Chunk(scored) = reply else { return };
            seen.n_chunks += 1;
            seen.sum_nll += scored.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
            seen.n_nll += scored.nll.len();
            progress.scored(seen.n_chunks, n_chunks);
            if written.is_ok() && !known.contains(&scored.chunk) {
                written = writer.append(&Line::Chunk(Box::new(ChunkLine {
                    case_id: cell.case.id(),
                    case: cell.case.clone(),
                    worker: number,
                    scored,
                })));
            }
        };
        let asked = worker
            .worker
            .ask_patiently(&request, SILENCE, &stop, &mut note);
        written?;
        Ok(match asked {
            Ok(Reply::Scored { n_text_tokens }) => {
                seen.n_text_tokens = Some(n_text_tokens);
                Ok(())
            }
            Ok(other) => Err(worker.worker.out_of_turn(&other)),
            Err(e) => Err(e),
        })
    }

    /// What the worker is asked for: no more chunks than the base has.
    fn request(&self, cell: &QualityCell, text: &str, known: &HashSet<u32>) -> ScoreRequest {
        let is_base = cell.role == QualityRole::Base;
        let mut base = self.base.iter();
        let of_base = base.find(|base| is_base || base.n_chunks > Some(0));
        let distributions = match of_base {
            None => DistributionsFile::None,
            Some(base) if is_base => DistributionsFile::Write(base.path.clone()),
            Some(base) => DistributionsFile::Compare(base.path.clone()),
        };
        let in_base = of_base.and_then(|base| base.n_chunks).unwrap_or(u32::MAX);
        ScoreRequest {
            case: cell.case.clone(),
            text: text.to_owned(),
            n_chunks: cell.n_chunks.min(in_base),
            // The base's known chunks are scored again for their distributions, which no record has.
            known: match distributions {
                DistributionsFile::Write(_) => Vec::new(),
                _ => known.iter().copied().collect(),
            },
            distributions,
        }
    }

    fn ensure_worker(&mut self, case: &Case) -> Result<(), WorkerError> {
        let load = case.load_key();
        if self.worker.as_ref().is_some_and(|w| w.load == load) {
            return Ok(());
        }
        self.worker = None;
        let workers = self.workers;
        let model = workers.models.iter().find(|m| m.name == case.model);
        let model = model.ok_or_else(|| {
            WorkerError::Model(format!("{}: the plan has no such model", case.model))
        })?;
        self.progress.loading(&model.name);
        let number = self.next_worker;
        self.next_worker = self.next_worker.saturating_add(1);
        let files = (model, &mut self.watch);
        let interrupt = Some(self.interrupt);
        let (worker, load_ns) = loaded(workers.command, files, &load, number, interrupt)?;
        worker.check_build(workers.engine, Some(workers.program))?;
        self.worker = Some(ScoringWorker {
            worker,
            load,
            number,
            load_ns: Some(load_ns),
        });
        Ok(())
    }
}
