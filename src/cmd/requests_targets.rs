//! From planned requests to a run: models loaded, texts fitted to them, servers that answer.

use std::time::Duration;

use anyhow::{Context, Result};

use super::prepare::Prepared;
use super::requests_fit::{FittedTarget, Fitting};
use super::requests_plan::{PlannedRequests, PlannedTarget};
use crate::engine::clock::MonotonicClock;
use crate::plan::requests::RequestsSpec;
use crate::record::RunHeader;
use crate::record::requests::{NeverServed, PromptWarning, RequestsPlan, TargetSetting};
use crate::request::Job;
use crate::request::http::Patience;
use crate::request::ready::{Wait, Waiting};
use crate::request::spec::TargetSpec;
use crate::run::Interrupt;
use crate::run::requests::RequestsRun;
use crate::run::requests::done::DoneJobs;
use crate::run::requests::eta::JobEstimates;
use crate::run::requests::in_process::InProcess;
use crate::run::requests::target::ConnectedTarget;
use crate::run::supervisor::WorkerCommand;
use crate::streams::note;

/// Most requests of a job whose texts are all different.
const MOST_TAGGED: u32 = 20_000;

impl PlannedRequests {
    /// Loads the models, fits the texts and asks every server what it is. `None` when Ctrl-C came first.
    ///
    /// # Errors
    /// When a target cannot be reached, or a prompt fits neither the context nor the memory.
    pub fn connected(
        self,
        prepared: &Prepared,
        interrupt: &Interrupt,
    ) -> Result<Option<RequestsRun>> {
        match self.connect(prepared, interrupt) {
            Err(_) if interrupt.is_set() => Ok(None),
            run => run.map(Some),
        }
    }

    fn connect(mut self, prepared: &Prepared, interrupt: &Interrupt) -> Result<RequestsRun> {
        let stop = || interrupt.is_set();
        let estimates = self.estimates(prepared);
        let mut fitting = Fitting::new(&self.spec, prepared, interrupt);
        let fitted = fitting.all(&mut self.targets)?;
        let warnings = fitting.warnings;
        let never_served = never_served(&self.targets, &fitted);
        for never in &never_served {
            note(format!(
                "{} at {}: {}",
                never.job, never.target, never.outcome
            ));
        }
        let (own, mut jobs): (Vec<_>, Vec<_>) = fitted
            .into_iter()
            .map(|fitted| (fitted.own, fitted.jobs))
            .unzip();
        let has_server = self.targets.iter().any(|t| !t.is_in_process());
        for job in jobs.iter_mut().flatten().filter(|_| has_server) {
            // The same text twice would be answered from a server's cache of prefixes. Every request has a text of its
            // own then, which is made beforehand.
            job.tag = Some(0);
            job.n_requests = job.n_requests.min(MOST_TAGGED);
        }
        let names = self.targets.iter().map(|t| t.named.as_str());
        let connected = connected(names, own, 0, self.spec.timeout, &stop)?;
        Ok(RequestsRun {
            estimates,
            plan: RequestsPlan {
                never_served,
                ..plan(&self.spec, &self.targets, jobs, warnings)
            },
            targets: connected,
            seed: self.seed,
            wait: Wait::of(self.spec.timeout),
            done: DoneJobs::default(),
            first_tag: first_tag(),
        })
    }
}

/// The jobs that targets are not to serve.
fn never_served(targets: &[PlannedTarget], fitted: &[FittedTarget]) -> Vec<NeverServed> {
    let mut all = Vec::new();
    for (target, fitted) in targets.iter().zip(fitted) {
        for (job, outcome) in fitted.jobs.iter().zip(&fitted.never_served) {
            all.extend(outcome.clone().map(|outcome| NeverServed {
                job: job.name.clone(),
                target: target.name.clone(),
                outcome,
            }));
        }
    }
    all
}

/// A tag that hardly any other run begins with.
fn first_tag() -> u32 {
    rand::random()
}

/// What goes into the record's header. A target has jobs of its own where they are not those of the first.
fn plan(
    spec: &RequestsSpec,
    targets: &[PlannedTarget],
    mut jobs: Vec<Vec<Job>>,
    warnings: Vec<PromptWarning>,
) -> RequestsPlan {
    let shared = jobs.first().cloned().unwrap_or_default();
    let settings = targets.iter().zip(&mut jobs).filter_map(|(target, jobs)| {
        let differs = *jobs != shared;
        (differs || target.name != target.named).then(|| TargetSetting {
            target: target.name.clone(),
            named: target.named.clone(),
            jobs: if differs {
                std::mem::take(jobs)
            } else {
                Vec::new()
            },
        })
    });
    RequestsPlan {
        settings: settings.collect(),
        targets: targets.iter().map(|t| t.name.clone()).collect(),
        replicates: spec.replicates,
        max_replicates: spec.max_replicates,
        precision: spec.max_replicates.map(|_| spec.precision),
        rounds: spec.rounds,
        budget_ns: spec
            .budget
            .map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
        most_pairs: spec.most_rounds(),
        jobs: shared,
        never_served: Vec::new(),
        warnings,
    }
}

/// The targets in the order in which they are named, each with its own model where it is in-process. The worker
/// processes have numbers from `first_worker` on.
fn connected<'a>(
    named: impl Iterator<Item = &'a str>,
    own: Vec<Option<InProcess>>,
    first_worker: u32,
    timeout: Option<Duration>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<ConnectedTarget>> {
    let patience = Patience::of(timeout);
    let mut waiting = Waiting {
        wait: Wait::of(timeout),
        clock: &MonotonicClock::start(),
        stop,
        say: &mut |text: &str| note(text),
    };
    let n_own = own.iter().flatten().count();
    let n_own = u32::try_from(n_own).unwrap_or(u32::MAX);
    let mut numbers = first_worker..;
    let mut targets = Vec::new();
    for (name, own) in named.zip(own) {
        targets.push(match name.parse::<TargetSpec>()?.server(patience)? {
            None => {
                let mut own = own.context("in-process needs --model")?;
                own.number_from(numbers.next().unwrap_or(u32::MAX), n_own);
                ConnectedTarget::InProcess(Box::new(own))
            }
            Some(mut server) => {
                // A server that cannot be reached is reported before anything is measured.
                let facts = waiting.facts(server.as_mut())?;
                for text in facts.notes {
                    note(format!("{name}: {text}"));
                }
                ConnectedTarget::Server(server)
            }
        });
    }
    Ok(targets)
}

/// What an interrupted run lacks: its own jobs, with the texts that it made, at targets that are connected anew. `None`
/// when it lacks nothing.
///
/// # Errors
/// When a target cannot be reached, or a model cannot be loaded.
pub fn again(
    header: &RunHeader,
    done: DoneJobs,
    command: &WorkerCommand,
    interrupt: &Interrupt,
) -> Result<Option<RequestsRun>> {
    let Some(plan) = header.requests.clone() else {
        return Ok(None);
    };
    if done.has_all(&plan) {
        return Ok(None);
    }
    let own = own_again(header, &plan, &done, command, interrupt)?;
    let named = plan.targets.iter().map(|t| plan.named(t));
    // Servers have the patience of the default: a record does not say what the user asked for.
    let targets = connected(named, own, done.next_worker, None, &|| interrupt.is_set())?;
    Ok(Some(RequestsRun {
        seed: header.plan.protocol.seed,
        wait: Wait::of(None),
        targets,
        plan,
        done,
        estimates: JobEstimates::default(),
        first_tag: first_tag(),
    }))
}

/// The models of a run's in-process targets, in the order of its targets. A target that lacks nothing is not loaded.
fn own_again(
    header: &RunHeader,
    plan: &RequestsPlan,
    done: &DoneJobs,
    command: &WorkerCommand,
    interrupt: &Interrupt,
) -> Result<Vec<Option<InProcess>>> {
    let n_own = plan.targets.iter().filter(|t| plan.is_in_process(t));
    let is_alone = n_own.count() < 2;
    let mut all = Vec::new();
    for target in &plan.targets {
        if !plan.is_in_process(target) {
            all.push(None);
            continue;
        }
        let case = &plan
            .jobs_of(target)
            .next()
            .context("the run has no job")?
            .case;
        let model = header.plan.models.iter().find(|m| m.name == case.model);
        let model = model.with_context(|| format!("{}: the run's header lacks it", case.model))?;
        let (load, interrupt) = (case.load_key(), Some(interrupt));
        all.push(Some(if done.has_all_of(plan, target) {
            let engine = (header.engine.clone(), Some(header.program.clone()));
            InProcess::not_loaded(command, model, &load, engine, interrupt)
        } else {
            let started = InProcess::start(command, model, &load, interrupt);
            let mut own =
                started.with_context(|| format!("{}: cannot be loaded", model.path.display()))?;
            if !is_alone {
                own.unload();
            }
            own
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::jsonl::Writer;
    use crate::run::protocol::EngineChoice;
    use crate::view::fixture::requests::{OLLAMA, OWN, in_process, jobs, lines, request_header};

    /// What a run of one round with these targets has, where this program's own served all its jobs but `n_left`.
    fn done_but(n_left: usize) -> (RunHeader, DoneJobs) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let header = request_header(&[OWN, OLLAMA], 1, jobs());
        let mut writer = Writer::create(folder.path(), header).expect("writes");
        let jobs = jobs();
        for job in &jobs[n_left..] {
            for line in lines(job, OWN, 0, in_process(job, 0)) {
                writer.append(&line).expect("writes");
            }
        }
        DoneJobs::read(folder.path()).expect("reads what was written")
    }

    #[test]
    fn a_model_without_work_is_not_loaded_again() {
        let command = WorkerCommand {
            program: "/no/such/program".into(),
            engine: EngineChoice::default(),
        };
        let again = |n_left: usize| {
            let (header, done) = done_but(n_left);
            let plan = header.requests.clone().expect("has requests");
            own_again(&header, &plan, &done, &command, &Interrupt::default())
        };
        let own = again(0).expect("no program is started");
        assert_eq!(
            own.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false]
        );
        let e = again(1).err().expect("the program is not there");
        assert!(format!("{e:#}").contains("cannot be loaded"), "{e:#}");
    }
}
