//! The in-process target: a worker with a loaded model that serves whole requests.

use std::time::Duration;

use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::host::usage::{UsageDelta, UsageSummary};
use crate::model::{FileWatch, ModelFacts, has_chat_template};
use crate::plan::LoadKey;
use crate::request::IN_PROCESS;
use crate::request::fit::{FitOne, FittedText};
use crate::request::{Job, Served, Target, TargetError, TargetFacts, TargetKind};
use crate::run::Interrupt;
use crate::run::protocol::{PreparedContext, Reply, Request};
use crate::run::supervisor::{Worker, WorkerCommand, WorkerError};

/// How long loading may take: large files come from slow disks.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long the worker may be silent: as long as a single decode call takes on the slowest machine.
pub(in crate::run) const SILENCE: Duration = Duration::from_secs(600);

/// llama.cpp in a worker process, its model loaded. A worker that died is replaced when it is needed again.
pub struct InProcess {
    command: WorkerCommand,
    model: ModelFacts,
    /// Whether its files are still those that were hashed.
    watch: FileWatch,
    load: LoadKey,
    engine: EngineFacts,
    program: Option<BuildInfo>,
    /// Ctrl-C while a model is loaded.
    interrupt: Option<Interrupt>,
    /// Number of the process that serves, or served last.
    number: u32,
    /// How far the numbers of two successive processes are apart: several targets share the numbers.
    number_step: u32,
    /// Whether the worker has served a job.
    has_served: bool,
    worker: Option<Worker>,
    silence: Duration,
    job: Option<JobFacts>,
    usage: Option<UsageDelta>,
    sampled: Option<UsageSummary>,
    log: Vec<String>,
}

/// A model's chat template, as the engine takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// The engine puts it around a text.
    Applied,
    /// The file has none.
    None,
    /// The file has one, and the engine does not put it around a text: why.
    NotApplied(String),
}

/// What is known of the last job's context.
#[derive(Debug, Clone, Copy)]
struct JobFacts {
    prepared: PreparedContext,
    n_parallel: u32,
}

impl InProcess {
    /// Starts a worker and loads the model. With an `interrupt`, Ctrl-C ends the wait.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn start(
        command: &WorkerCommand,
        facts: &ModelFacts,
        load: &LoadKey,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, WorkerError> {
        let mut watch = FileWatch::default();
        let (worker, _) = loaded(command, (facts, &mut watch), load, 0, interrupt)?;
        let engine = (worker.engine().clone(), worker.program().cloned());
        Ok(Self {
            watch,
            worker: Some(worker),
            ..Self::not_loaded(command, facts, load, engine, interrupt)
        })
    }

    /// The same without a worker until the first job; `engine` and its program are those that the worker must have.
    pub fn not_loaded(
        command: &WorkerCommand,
        facts: &ModelFacts,
        load: &LoadKey,
        (engine, program): (EngineFacts, Option<BuildInfo>),
        interrupt: Option<&Interrupt>,
    ) -> Self {
        Self {
            command: command.clone(),
            model: facts.clone(),
            watch: FileWatch::default(),
            load: load.clone(),
            engine,
            program,
            interrupt: interrupt.cloned(),
            number: 0,
            number_step: 1,
            has_served: false,
            worker: None,
            silence: SILENCE,
            job: None,
            usage: None,
            sampled: None,
            log: Vec::new(),
        }
    }

    /// Numbers the processes `first`, `first + step` and so on: other targets have the numbers between.
    pub fn number_from(&mut self, first: u32, step: u32) {
        (self.number, self.number_step) = (first, step);
    }

    /// Another time that the worker may be silent before it counts as hanging.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The engine that the worker runs.
    pub fn engine(&self) -> &EngineFacts {
        &self.engine
    }

    /// Texts made ready for this model: template applied, trimmed or padded to exact counts.
    ///
    /// # Errors
    /// [`TargetError::Unfit`] when a text cannot have that many tokens, or the model has no template.
    pub fn fit(
        &mut self,
        prompts: Vec<FitOne>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<FittedText>, TargetError> {
        match self.ask(&Request::Fit { prompts }, stop)? {
            Reply::Fitted { prompts } => Ok(prompts),
            other => Err(self.out_of_turn(&other)),
        }
    }

    /// What the engine makes of the model's chat template.
    ///
    /// # Errors
    /// [`TargetError`] when the worker is gone.
    pub fn template(&mut self, stop: &dyn Fn() -> bool) -> Result<Template, TargetError> {
        let one = FitOne {
            text: "hello".to_owned(),
            n_tokens: None,
            template: true,
        };
        match self.fit(vec![one], stop) {
            Ok(_) => Ok(Template::Applied),
            // A file that cannot be read any more had one, as far as is known.
            Err(TargetError::Unfit { reason, .. }) => match has_chat_template(&self.model.path) {
                Ok(false) => Ok(Template::None),
                Ok(true) | Err(_) => Ok(Template::NotApplied(reason)),
            },
            Err(e) => Err(e),
        }
    }

    /// Ends a worker that has served: the next job gets a fresh process.
    pub fn renew(&mut self) {
        if std::mem::take(&mut self.has_served) {
            self.unload();
        }
    }

    /// Ends the worker, so that the model leaves the memory until the next job.
    pub fn unload(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.log.extend(worker.take_log());
        }
    }

    /// Number of the process that serves, or served last.
    pub fn worker(&self) -> u32 {
        self.number
    }

    /// What machine and worker did during the last job; none when it was not served.
    pub fn take_usage(&mut self) -> Option<UsageDelta> {
        self.usage.take()
    }

    /// The same, sampled along the way.
    pub fn take_sampled(&mut self) -> Option<UsageSummary> {
        self.sampled.take()
    }

    /// The last job's context: what making it, tokenising and warming up took.
    pub fn prepared(&self) -> Option<PreparedContext> {
        self.job.map(|job| job.prepared)
    }

    /// The engine's log since the last call, oldest line first.
    pub fn take_log(&mut self) -> Vec<String> {
        let mut log = std::mem::take(&mut self.log);
        log.extend(self.worker.iter().flat_map(Worker::take_log));
        log
    }

    /// Asks for something that is answered in one piece.
    fn ask(&mut self, request: &Request, stop: &dyn Fn() -> bool) -> Result<Reply, TargetError> {
        self.ask_for_parts(request, stop, &mut |_| {})
    }

    /// Asks the worker, a new one if the last is gone.
    fn ask_for_parts(
        &mut self,
        request: &Request,
        stop: &dyn Fn() -> bool,
        part: &mut dyn FnMut(Reply),
    ) -> Result<Reply, TargetError> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => {
                self.number = self.number.saturating_add(self.number_step);
                let model = (&self.model, &mut self.watch);
                let interrupt = self.interrupt.as_ref();
                let worker = loaded(&self.command, model, &self.load, self.number, interrupt);
                let (worker, _) = worker.map_err(|e| match e {
                    WorkerError::Interrupted => TargetError::Interrupted,
                    e => TargetError::Worker(e.to_string()),
                })?;
                worker
                    .check_build(&self.engine, self.program.as_ref())
                    .map_err(|e| TargetError::Worker(e.to_string()))?;
                none.insert(worker)
            }
        };
        worker
            .ask_patiently(request, self.silence, stop, part)
            .map_err(|e| self.failed(e))
    }

    /// An engine that says no lives on; any other worker is gone.
    fn failed(&mut self, e: WorkerError) -> TargetError {
        if let WorkerError::Engine(reason) = e {
            return TargetError::Unfit {
                target: IN_PROCESS.to_owned(),
                reason,
            };
        }
        if let Some(worker) = self.worker.take() {
            self.log.extend(worker.take_log());
        }
        match e {
            WorkerError::Interrupted => TargetError::Interrupted,
            // A process that reads a shortened file dies: then the file is the reason.
            e => TargetError::Worker(match self.watch.check(&self.model) {
                Err(changed) => changed.to_string(),
                Ok(()) => e.to_string(),
            }),
        }
    }

    fn out_of_turn(&mut self, reply: &Reply) -> TargetError {
        match &mut self.worker {
            Some(worker) => {
                let e = worker.out_of_turn(reply);
                self.failed(e)
            }
            None => TargetError::Worker(format!("an answer out of turn: {reply:?}")),
        }
    }

    /// A context for the job, made and warm.
    fn prepare(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<(), TargetError> {
        let request = Request::Prepare {
            job: Box::new(job.clone()),
            warm_up: true,
        };
        match self.ask(&request, stop)? {
            Reply::Prepared(prepared) => {
                self.job = Some(JobFacts {
                    prepared,
                    n_parallel: job.case.n_seq.min(job.load.most_at_once()),
                });
                Ok(())
            }
            other => Err(self.out_of_turn(&other)),
        }
    }
}

/// A new worker with the model, whose files are watched, and how long loading took, nanoseconds.
pub(in crate::run) fn loaded(
    command: &WorkerCommand,
    (facts, watch): (&ModelFacts, &mut FileWatch),
    load: &LoadKey,
    number: u32,
    interrupt: Option<&Interrupt>,
) -> Result<(Worker, u64), WorkerError> {
    let mut check = || {
        let checked = watch.check(facts);
        checked.map_err(|e| WorkerError::Model(e.to_string()))
    };
    check()?;
    let mut worker = Worker::start(command)?;
    let request = Request::Load {
        path: facts.path.clone(),
        key: load.clone(),
        worker: number,
    };
    match worker.ask(&request, LOAD_TIMEOUT, interrupt)? {
        Reply::Loaded { load_ns, .. } => check().map(|()| (worker, load_ns)),
        other => Err(worker.out_of_turn(&other)),
    }
}

impl Target for InProcess {
    fn facts(&mut self) -> Result<TargetFacts, TargetError> {
        Ok(TargetFacts {
            kind: TargetKind::InProcess,
            name: IN_PROCESS.to_owned(),
            version: Some(self.engine.version.clone()),
            model: Some(self.model.name.clone()),
            sha256: self.model.sha256.clone(),
            file_type: Some(self.model.file_type.clone()),
            size_bytes: None,
            size_vram_bytes: None,
            n_ctx: self.job.map(|job| job.prepared.n_ctx_seq),
            n_parallel: self.job.map(|job| job.n_parallel),
            notes: Vec::new(),
        })
    }

    /// Makes the job's context, warms it up and tokenises, all untimed; then serves.
    fn serve(&mut self, job: &Job, stop: &dyn Fn() -> bool) -> Result<Served, TargetError> {
        (self.usage, self.sampled) = (None, None);
        self.prepare(job, stop)?;
        self.has_served = true;
        if stop() {
            self.ask(&Request::Close, stop)?;
            return Err(TargetError::Interrupted);
        }
        let mut served = Served::default();
        let reply = self.ask_for_parts(&Request::Serve, stop, &mut |part| {
            if let Reply::Part { timelines, calls } = part {
                served.timelines.extend(timelines);
                served.calls.extend(calls);
            }
        })?;
        self.sampled = self.worker.as_ref().and_then(Worker::take_usage);
        if let Err(e) = self.watch.check(&self.model) {
            return Err(self.failed(WorkerError::Model(e.to_string())));
        }
        match reply {
            Reply::Served { elapsed_ns, usage } => {
                self.usage = Some(usage);
                served.elapsed_ns = elapsed_ns;
                Ok(served)
            }
            other => Err(self.out_of_turn(&other)),
        }
    }
}
