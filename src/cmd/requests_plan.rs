//! Requests that are planned: which jobs each target serves, in which setting, before any model is loaded.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::offload::{self, Fits};
use super::prepare::Prepared;
use crate::model::ModelFacts;
use crate::plan::axis::Axis;
use crate::plan::budget;
use crate::plan::requests::{RequestsSpec, TIME_FOR_PAIRS};
use crate::plan::{Case, Plan};
use crate::report::Document;
use crate::report::dry_run::Over;
use crate::report::requests::dry_run::{JobPrice, RequestsDryRow, document, times};
use crate::report::rounds_of;
use crate::request::Forced;
use crate::request::plan::{Sources, UnfittedJob, unfitted_jobs};
use crate::request::prompts::{Prompt, PromptSet};
use crate::request::spec::TargetSpec;
use crate::run::requests::eta::JobEstimates;
use crate::text::plural;
use crate::units;

/// The set of prompts when none is named, and the one with matched pairs.
const PROMPTS: &str = "lab";
const PAIRS: &str = "difficulty";

/// Requests whose texts are not final yet.
pub struct PlannedRequests {
    pub(super) spec: RequestsSpec,
    pub(super) targets: Vec<PlannedTarget>,
    pub(super) seed: u64,
}

/// A target in one setting.
pub(super) struct PlannedTarget {
    /// Its name in the run: as the user named it, or with the parts of its setting that vary.
    pub name: String,
    /// As the user named it.
    pub named: String,
    pub spec: TargetSpec,
    /// Model and context. A server is asked for those parts of it that are forced.
    pub setting: Case,
    pub jobs: Vec<UnfittedJob>,
}

impl PlannedTarget {
    pub fn is_in_process(&self) -> bool {
        self.spec == TargetSpec::InProcess
    }
}

impl PlannedRequests {
    /// Every target in every setting that it can have; `forced` says which parts of a setting servers are asked for.
    ///
    /// # Errors
    /// For prompts that cannot be read, and texts that name no target.
    pub fn of(spec: RequestsSpec, settings: &[Case], forced: Forced, seed: u64) -> Result<Self> {
        let mut targets = Vec::new();
        for named in &spec.targets {
            targets.extend(in_settings(named, settings, forced)?);
        }
        let models: HashSet<&str> = settings.iter().map(|c| c.model.as_str()).collect();
        ensure!(
            models.len() < 2 || targets.iter().any(PlannedTarget::is_in_process),
            "a server gets the texts of one model: name one --model, or --target in-process too"
        );
        let set = PromptSet::open(spec.prompts.as_deref().unwrap_or(PROMPTS))?;
        let mut prompts: Vec<Prompt> = Vec::new();
        for class in &spec.class {
            prompts.extend(set.of_class(class)?.into_iter().cloned());
        }
        if spec.class.is_empty() {
            prompts = set.all().to_vec();
        }
        // Prompts of the user's own may have pairs.
        let pairs_of = match &spec.prompts {
            Some(_) => set,
            None => PromptSet::bundled(PAIRS)?,
        };
        let mut pairs: Vec<(Prompt, Prompt)> = Vec::new();
        if spec.difficulty {
            let found = pairs_of.pairs()?;
            pairs.extend(found.iter().map(|p| (p.easy.clone(), p.hard.clone())));
        }
        let sources = Sources {
            prompts: &prompts,
            pairs: &pairs,
        };
        for target in &mut targets {
            target.jobs = unfitted_jobs(&spec, sources, &target.setting, seed)?;
            target.jobs.iter_mut().for_each(|j| j.job.forced = forced);
        }
        Ok(Self {
            spec,
            targets,
            seed,
        })
    }

    /// Each job at each target, in this process with its memory and about its time.
    pub fn dry_run(&self, prepared: &Prepared) -> Document {
        let mut rows = Vec::new();
        let (mut whole, mut has_price) = (Duration::ZERO, false);
        for target in &self.targets {
            let model = self.model_of(target, prepared);
            let of_target: Vec<RequestsDryRow> = target
                .jobs
                .iter()
                .map(|job| RequestsDryRow {
                    job: job.job.name.clone(),
                    target: target.name.clone(),
                    case: job.job.case.clone(),
                    n_requests: job.job.n_requests,
                    at_once: job.job.load.most_at_once(),
                    price: model.map(|model| price(job, model, prepared)),
                })
                .collect();
            if let Some(model) = model {
                has_price = true;
                let fitting = of_target.iter().filter(|row| row.fits());
                let rounds = fitting.filter_map(|row| Some(row.price.as_ref()?.round));
                let round: Duration = rounds.fold(Duration::ZERO, Duration::saturating_add);
                let load = match round.is_zero() {
                    true => Duration::ZERO,
                    false => budget::load_time(model.file_bytes),
                };
                let process = round.saturating_mul(self.spec.rounds).saturating_add(load);
                whole = whole.saturating_add(process.saturating_mul(self.spec.replicates));
            }
            rows.extend(of_target);
        }
        let mut below = self.open_end();
        if has_price {
            let budget = self.spec.budget.filter(|budget| *budget < whole);
            let limit = budget.map(|budget| {
                format!("; the budget of {} ends it before, and jobs that it leaves no time for are not served", duration(budget))
            });
            below.push(format!(
                "in-process about {} in the planned rounds, where every answer is as long as it may be{}",
                duration(whole),
                limit.unwrap_or_default()
            ));
        }
        let has_own = self.targets.iter().any(PlannedTarget::is_in_process);
        if self.targets.iter().any(|t| !t.is_in_process()) {
            below.push("the time at a server is not known before it has answered".to_owned());
        }
        let rounds = rounds_of((self.spec.rounds, self.spec.replicates), has_own);
        let n_jobs = self.targets.first().map_or(0, |t| t.jobs.len());
        document(&rows, &times(n_jobs, &rounds), below)
    }

    /// The model of a target in this process.
    fn model_of<'a>(
        &self,
        target: &PlannedTarget,
        prepared: &'a Prepared,
    ) -> Option<&'a ModelFacts> {
        let mut models = prepared.plan.models.iter();
        models.find(|m| target.is_in_process() && m.name == target.setting.model)
    }

    /// About the time of each job of an in-process target in a round; a server's is not known beforehand.
    pub(super) fn estimates(&self, prepared: &Prepared) -> JobEstimates {
        let mut estimates = JobEstimates::default();
        for target in &self.targets {
            let Some(model) = self.model_of(target, prepared) else {
                continue;
            };
            for job in &target.jobs {
                let price = price(job, model, prepared);
                estimates.insert((job.job.name.clone(), target.name.clone()), price.round);
            }
        }
        estimates
    }

    /// What may be added after the planned rounds.
    fn open_end(&self) -> Vec<String> {
        let time = match self.spec.budget {
            Some(budget) => format!("until the run has taken {}", duration(budget)),
            None => format!("for at most {}", duration(TIME_FOR_PAIRS)),
        };
        let has_own = self.targets.iter().any(PlannedTarget::is_in_process);
        let has_mean = |t: &PlannedTarget| t.jobs.iter().any(|j| j.job.compared.is_none());
        let is_extended = self.targets.iter().any(has_mean);
        let precise = self.spec.max_replicates.filter(|_| is_extended).map(|most| {
            let (unit, most) = match has_own {
                true => ("processes", plural(most, "process", "processes")),
                false => ("rounds", plural(most, "round", "rounds")),
            };
            let precision = units::percent(self.spec.precision);
            format!(
                "further {unit} for each job until its mean latency is known to ±{precision}, at most {most} each, {time} \
                 (--max-replicates, --precision, --budget)"
            )
        });
        precise
            .into_iter()
            .chain(self.open_comparisons(&time))
            .collect()
    }

    fn open_comparisons(&self, time: &str) -> Option<String> {
        let most = self.spec.max_pairs?;
        let of_targets = self.spec.most_rounds().is_some();
        let jobs = self.targets.first()?.jobs.iter().map(|j| &j.job);
        let open = jobs
            .filter(|job| of_targets || job.compared.as_ref().is_some_and(|c| c.most.is_some()));
        let names: Vec<&str> = open.map(|job| job.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{}: further rounds until decided, at most {most} pairs each, {time} (--max-pairs, --budget)",
                names.join(", ")
            )
        })
    }
}

/// A target in each of the settings that make a difference to it.
fn in_settings(named: &str, settings: &[Case], forced: Forced) -> Result<Vec<PlannedTarget>> {
    let spec: TargetSpec = named.parse()?;
    let is_told = |axis: &Axis| match &spec {
        TargetSpec::InProcess => true,
        TargetSpec::Ollama { .. } => match axis.name() {
            "threads" => forced.n_threads,
            "n_ctx" => forced.n_ctx,
            _ => false,
        },
        TargetSpec::Openai { .. } => false,
    };
    let mut axes = Axis::varying(settings);
    axes.retain(is_told);
    let mut targets: Vec<PlannedTarget> = Vec::new();
    for setting in settings {
        let parts = axes.iter().map(|axis| format!("/{}", axis.label(setting)));
        let name = format!("{named}{}", parts.collect::<String>());
        if targets.iter().all(|t| t.name != name) {
            targets.push(PlannedTarget {
                name,
                named: named.to_owned(),
                spec: spec.clone(),
                setting: setting.clone(),
                jobs: Vec::new(),
            });
        }
    }
    Ok(targets)
}

fn duration(time: Duration) -> String {
    units::duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The most tokens that a chat template and the tag of a text add.
const ROOM_FOR_A_TEMPLATE: u32 = 32;

/// Memory of a job in this process, and about the time of a round in which every answer has all the tokens that it may have.
fn price(unfitted: &UnfittedJob, model: &ModelFacts, prepared: &Prepared) -> JobPrice {
    let job = &unfitted.job;
    let lengths = prompt_lengths(unfitted);
    let sum = lengths.iter().map(|n| u64::from(*n)).sum::<u64>();
    let mean = sum / (lengths.len() as u64).max(1);
    let at_once = job.load.most_at_once().min(job.n_requests).max(1);
    let case = Case {
        n_seq: at_once,
        n_prompt: u32::try_from(mean).unwrap_or(u32::MAX),
        ..job.case.clone()
    };
    let time = budget::time(&case, model, &prepared.rates);
    let whole = time.visit(job.n_requests.div_ceil(at_once));
    // A load that lasts some time ends with what is under way then.
    let most = job
        .most_ns
        .map(|ns| Duration::from_nanos(ns).saturating_add(time.visit(1)));
    let (memory, outcome) = fits([largest(unfitted)].into(), prepared).remove(0);
    JobPrice {
        memory_bytes: memory.total_bytes(),
        fits: Over::check(outcome.as_ref()),
        round: most.map_or(whole, |most| whole.min(most)),
    }
}

/// Tokens of each prompt; its words where nothing else is known.
fn prompt_lengths(unfitted: &UnfittedJob) -> Vec<u32> {
    let words = |text: &str| u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
    let prompts = unfitted.job.prompts.iter().zip(&unfitted.n_tokens);
    let lengths = prompts.map(|(prompt, n)| n.unwrap_or_else(|| words(&prompt.text)));
    lengths.collect()
}

/// The context that a job needs, before its texts are fitted.
pub(super) fn largest(unfitted: &UnfittedJob) -> Case {
    let longest = prompt_lengths(unfitted).into_iter().max().unwrap_or(0);
    Case {
        n_prompt: longest.saturating_add(ROOM_FOR_A_TEMPLATE),
        ..unfitted.job.case.clone()
    }
}

/// The memory of contexts, and the outcome of those that do not fit.
pub(super) fn fits(cases: Vec<Case>, prepared: &Prepared) -> Fits {
    let plan = Plan {
        cases,
        ..prepared.plan.clone()
    };
    offload::fits(&[(&plan, &prepared.engine)]).remove(0)
}
