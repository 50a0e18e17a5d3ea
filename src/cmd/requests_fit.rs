//! Texts that are fitted to the models that get them: templates applied, lengths met, and memory for the contexts.

use anyhow::{Context, Result, bail, ensure};

use super::prepare::Prepared;
use super::requests_plan::{PlannedTarget, fits, largest};
use crate::model::ModelFacts;
use crate::plan::requests::RequestsSpec;
use crate::plan::{Case, remedy};
use crate::record::Outcome;
use crate::record::requests::PromptWarning;
use crate::request::fit::FitOne;
use crate::request::plan::UnfittedJob;
use crate::request::{Endpoint, Job};
use crate::run::Interrupt;
use crate::run::lane::failure;
use crate::run::requests::in_process::{InProcess, Template};
use crate::run::supervisor::WorkerError;
use crate::units;

/// Fits texts to models.
pub(super) struct Fitting<'a> {
    spec: &'a RequestsSpec,
    prepared: &'a Prepared,
    interrupt: &'a Interrupt,
    /// What about the prompts may surprise.
    pub warnings: Vec<PromptWarning>,
}

/// A target whose jobs have their final texts.
pub(super) struct FittedTarget {
    /// Its model, where it is in-process.
    pub own: Option<InProcess>,
    pub jobs: Vec<Job>,
    /// What became of each job that it is not to serve.
    pub never_served: Vec<Option<Outcome>>,
}

impl FittedTarget {
    fn server(jobs: Vec<Job>) -> Self {
        Self {
            own: None,
            never_served: vec![None; jobs.len()],
            jobs,
        }
    }

    /// Whether it is a model of this process that serves nothing.
    fn serves_nothing(&self) -> bool {
        self.own.is_some() && self.never_served.iter().all(Option::is_some)
    }
}

impl<'a> Fitting<'a> {
    pub fn new(spec: &'a RequestsSpec, prepared: &'a Prepared, interrupt: &'a Interrupt) -> Self {
        Self {
            spec,
            prepared,
            interrupt,
            warnings: Vec::new(),
        }
    }

    /// Every target's jobs. Servers get the texts of the first in-process target's model that can be loaded, or of the model that is
    /// named for their texts alone. A model that cannot be loaded, and a job that does not fit the memory, leave the others to be
    /// served.
    ///
    /// # Errors
    /// When this process is to serve and nothing is left for it, in a run without cells; when a prompt does not fit its context; when
    /// servers' texts need a model and none was loaded.
    pub fn all(&mut self, targets: &mut [PlannedTarget]) -> Result<Vec<FittedTarget>> {
        let n_own = targets.iter().filter(|t| t.is_in_process()).count();
        let is_alone = self.prepared.plan.cases.is_empty();
        let mut of_servers = match n_own {
            0 => Some(self.for_servers_alone(targets)?),
            _ => None,
        };
        let mut fitted: Vec<Option<FittedTarget>> = targets.iter().map(|_| None).collect();
        for at in 0..targets.len() {
            if !targets[at].is_in_process() {
                continue;
            }
            let jobs = std::mem::take(&mut targets[at].jobs);
            let setting = &targets[at].setting;
            let facts = self.model(setting);
            let facts = facts.context("in-process needs --model")?;
            let outcomes = outcomes_of(jobs.iter().map(largest), self.prepared);
            if outcomes.iter().all(Option::is_some) {
                // What fits nowhere is not loaded.
                fitted[at] = Some(self.without_model(jobs, facts, setting, outcomes));
                continue;
            }
            fitted[at] = Some(match self.load(facts, setting) {
                Ok(mut own) => {
                    if of_servers.is_none() {
                        of_servers = Some(self.for_servers(targets, Some(&mut own))?);
                    }
                    let jobs = self.fit(jobs, Some(&mut own))?;
                    // One model at a time is in memory.
                    if n_own > 1 {
                        own.unload();
                    }
                    FittedTarget {
                        never_served: self.never_served(&jobs, &mut own),
                        own: Some(own),
                        jobs,
                    }
                }
                Err(e) if (n_own == 1 && is_alone) || self.interrupt.is_set() => {
                    return Err(e).with_context(|| cannot_be_loaded(facts));
                }
                Err(e) => {
                    let outcomes = vec![Some(failure(&e)); jobs.len()];
                    self.without_model(jobs, facts, setting, outcomes)
                }
            });
        }
        let own = || fitted.iter().flatten();
        let nothing = n_own > 0 && own().all(FittedTarget::serves_nothing);
        if nothing && (is_alone || of_servers.is_none() && n_own < targets.len()) {
            bail!(why_nothing(own()));
        }
        let mut of_servers = of_servers.unwrap_or_default().into_iter();
        let all = fitted.into_iter().zip(targets).map(|(own, target)| {
            own.or_else(|| of_servers.next().map(FittedTarget::server))
                .with_context(|| format!("{}: no model could be loaded for its texts", target.name))
        });
        all.collect()
    }

    /// What became of each job that does not fit the memory. Of that the loaded model holds a part, which the price counts too: what
    /// does not fit beside it is looked at again without it.
    fn never_served(&self, jobs: &[Job], own: &mut InProcess) -> Vec<Option<Outcome>> {
        let outcomes = || outcomes_of(jobs.iter().map(|job| job.case.clone()), self.prepared);
        let found = outcomes();
        if found.iter().all(Option::is_none) {
            return found;
        }
        own.unload();
        outcomes()
    }

    /// The jobs of the servers, in the order of the targets.
    fn for_servers(
        &mut self,
        targets: &[PlannedTarget],
        mut model: Option<&mut InProcess>,
    ) -> Result<Vec<Vec<Job>>> {
        let servers = targets.iter().filter(|t| !t.is_in_process());
        let jobs = servers.map(|t| self.fit(t.jobs.clone(), model.as_deref_mut()));
        jobs.collect()
    }

    /// The same where no target is in this process: a model that is named is named for the texts.
    fn for_servers_alone(&mut self, targets: &[PlannedTarget]) -> Result<Vec<Vec<Job>>> {
        let setting = &targets.first().context("no target is named")?.setting;
        let mut model = match self.model(setting) {
            Some(facts) => {
                let loaded = self.load(facts, setting);
                Some(loaded.with_context(|| cannot_be_loaded(facts))?)
            }
            None => None,
        };
        self.for_servers(targets, model.as_mut())
    }

    fn model(&self, setting: &Case) -> Option<&'a ModelFacts> {
        let mut models = self.prepared.plan.models.iter();
        models.find(|m| m.name == setting.model)
    }

    fn load(&self, facts: &ModelFacts, setting: &Case) -> Result<InProcess, WorkerError> {
        let (command, key) = (&self.prepared.command, setting.load_key());
        InProcess::start(command, facts, &key, Some(self.interrupt))
    }

    /// The target of a model that is not loaded, and what became of its jobs. These keep the texts that they were planned with, which
    /// nobody is sent.
    fn without_model(
        &self,
        jobs: Vec<UnfittedJob>,
        facts: &ModelFacts,
        setting: &Case,
        outcomes: Vec<Option<Outcome>>,
    ) -> FittedTarget {
        let engine = self.prepared.engine.clone();
        let engine = (engine, Some(self.prepared.program.clone()));
        let (command, key) = (&self.prepared.command, setting.load_key());
        let interrupt = Some(self.interrupt);
        let own = InProcess::not_loaded(command, facts, &key, engine, interrupt);
        FittedTarget {
            own: Some(own),
            never_served: outcomes,
            jobs: jobs.into_iter().map(|unfitted| unfitted.job).collect(),
        }
    }

    fn fit(
        &mut self,
        jobs: Vec<UnfittedJob>,
        mut model: Option<&mut InProcess>,
    ) -> Result<Vec<Job>> {
        let stop = || self.interrupt.is_set();
        let (template, warnings) = template(self.spec, model.as_deref_mut(), &stop)?;
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        let mut fitted = Vec::new();
        for job in jobs {
            fitted.push(final_job(job, model.as_deref_mut(), template, &stop)?);
        }
        Ok(fitted)
    }
}

/// Whether the model's chat template is put around the prompts here, and what may surprise about that.
fn template(
    spec: &RequestsSpec,
    own: Option<&mut InProcess>,
    stop: &dyn Fn() -> bool,
) -> Result<(bool, Vec<PromptWarning>)> {
    // A server that gets messages puts its own template around them.
    let own = match (spec.chat_template, spec.endpoint) {
        (Some(asked), _) => return Ok((asked, Vec::new())),
        (None, Some(Endpoint::Chat)) => return Ok((false, Vec::new())),
        (None, _) => own,
    };
    let Some(own) = own else {
        let bare = spec.targets.iter().filter(|_| spec.endpoint.is_none());
        let warnings = bare.map(|target| PromptWarning::NoTemplate {
            target: target.clone(),
        });
        return Ok((false, warnings.collect()));
    };
    Ok(match own.template(stop)? {
        Template::Applied => (true, Vec::new()),
        Template::None => (false, Vec::new()),
        Template::NotApplied(reason) => (false, vec![PromptWarning::TemplateNotApplied { reason }]),
    })
}

/// The outcome of each context that does not fit.
fn outcomes_of(cases: impl Iterator<Item = Case>, prepared: &Prepared) -> Vec<Option<Outcome>> {
    let fits = fits(cases.collect(), prepared).into_iter();
    fits.map(|(_, outcome)| outcome).collect()
}

fn cannot_be_loaded(model: &ModelFacts) -> String {
    format!("{}: cannot be loaded", model.path.display())
}

/// Why no job of these targets is served: what became of the first.
fn why_nothing<'a>(own: impl Iterator<Item = &'a FittedTarget>) -> String {
    let jobs = own.flat_map(|target| target.jobs.iter().zip(&target.never_served));
    let first = jobs.filter_map(|(job, outcome)| Some((job, outcome.as_ref()?)));
    let Some((job, outcome)) = first.take(1).next() else {
        return "there is no job".to_owned();
    };
    let Outcome::Skipped {
        needs_bytes,
        has_bytes,
        device,
        n_gpu_layers,
    } = outcome
    else {
        return format!("{}: {outcome}", job.case.model);
    };
    let remedy = remedy::of_memory([&job.case], device.is_some());
    format!(
        "{}: {} sequences of {} tokens need {} of memory{}, there are {}{}: {}",
        job.name,
        job.case.n_seq,
        job.case.n_ctx_seq(),
        units::bytes(*needs_bytes),
        device
            .as_ref()
            .map_or_else(String::new, |device| format!(" on {device}")),
        units::bytes(*has_bytes),
        remedy::of_layers(*n_gpu_layers),
        remedy.as_deref().unwrap_or("it needs a smaller model")
    )
}

/// The job with its final texts.
fn final_job(
    unfitted: UnfittedJob,
    own: Option<&mut InProcess>,
    template: bool,
    stop: &dyn Fn() -> bool,
) -> Result<Job> {
    let texts = match own {
        Some(own) => {
            let texts = unfitted.job.prompts.iter().zip(&unfitted.n_tokens);
            let texts = texts.map(|(prompt, n_tokens)| FitOne {
                text: prompt.text.clone(),
                n_tokens: *n_tokens,
                template,
            });
            let fitted = own.fit(texts.collect(), stop);
            let fitted = fitted.with_context(|| format!("{}: its prompts", unfitted.job.name))?;
            fitted
                .into_iter()
                .map(|f| (f.text, Some(f.n_tokens)))
                .collect()
        }
        None => {
            ensure!(
                unfitted.n_tokens.iter().all(Option::is_none) && !template,
                "{}: needs the model's tokenizer or template: name its file with --model",
                unfitted.job.name
            );
            unfitted
                .job
                .prompts
                .iter()
                .map(|p| (p.text.clone(), None))
                .collect()
        }
    };
    Ok(unfitted.with_texts(texts)?)
}
