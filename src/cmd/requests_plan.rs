//! Requests that are planned: which jobs each target serves, in which setting, before any model is loaded.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::prepare::Prepared;
use crate::model::ModelFacts;
use crate::plan::Case;
use crate::plan::axis::Axis;
use crate::plan::budget::{self, Rates};
use crate::plan::requests::{RequestsSpec, TIME_FOR_PAIRS};
use crate::report::rounds_of;
use crate::request::plan::{Sources, UnfittedJob, unfitted_jobs};
use crate::request::prompts::{Prompt, PromptSet};
use crate::request::spec::TargetSpec;
use crate::request::{Forced, Job};
use crate::run::requests::eta::JobEstimates;
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

    /// A line for each job. Of a target in this process it has the memory and about the time, where every answer has all
    /// the tokens that it may have.
    pub fn dry_run(&self, prepared: &Prepared) -> String {
        let mut lines = Vec::new();
        let (mut whole, mut has_cost) = (Duration::ZERO, false);
        for targets in self.alike() {
            let own = targets.iter().find(|t| t.is_in_process());
            let model = own.and_then(|t| {
                prepared
                    .plan
                    .models
                    .iter()
                    .find(|m| m.name == t.setting.model)
            });
            let mut round = Duration::ZERO;
            for job in &targets[0].jobs {
                let cost = model.map(|model| cost(&job.job, &job.n_tokens, model, &prepared.rates));
                round = round.saturating_add(cost.map_or(Duration::ZERO, |(_, time)| time));
                lines.push(self.job_line(&job.job, &targets, cost));
            }
            if let Some(model) = model {
                has_cost = true;
                let load = budget::load_time(model.file_bytes);
                let process = round.saturating_mul(self.spec.rounds).saturating_add(load);
                whole = whole.saturating_add(process.saturating_mul(self.spec.replicates));
            }
        }
        lines.extend(self.open_end());
        if has_cost {
            let budget = self.spec.budget.filter(|budget| *budget < whole);
            let limit = budget.map(|budget| {
                format!("; the budget of {} ends it before, and jobs that it leaves no time for are not served", duration(budget))
            });
            lines.push(format!(
                "in-process about {} in all, where every answer is as long as it may be{}",
                duration(whole),
                limit.unwrap_or_default()
            ));
        }
        if self.targets.iter().any(|t| !t.is_in_process()) {
            lines.push("the time at a server is not known before it has answered".to_owned());
        }
        lines.join("\n")
    }

    /// About the time of each job of an in-process target in a round; a server's is not known beforehand.
    pub(super) fn estimates(&self, prepared: &Prepared) -> JobEstimates {
        let models = &prepared.plan.models;
        let mut estimates = JobEstimates::default();
        for target in self.targets.iter().filter(|t| t.is_in_process()) {
            let Some(model) = models.iter().find(|m| m.name == target.setting.model) else {
                continue;
            };
            for job in &target.jobs {
                let (_, time) = cost(&job.job, &job.n_tokens, model, &prepared.rates);
                estimates.insert((job.job.name.clone(), target.name.clone()), time);
            }
        }
        estimates
    }

    /// What may be added after the planned rounds.
    fn open_end(&self) -> Option<String> {
        let most = self.spec.max_pairs?;
        let of_targets = self.spec.most_rounds().is_some();
        let jobs = self.targets.first()?.jobs.iter().map(|j| &j.job);
        let open = jobs
            .filter(|job| of_targets || job.compared.as_ref().is_some_and(|c| c.most.is_some()));
        let names: Vec<&str> = open.map(|job| job.name.as_str()).collect();
        let time = match self.spec.budget {
            Some(budget) => format!("until {} of the run are over", duration(budget)),
            None => format!("for at most {}", duration(TIME_FOR_PAIRS)),
        };
        (!names.is_empty()).then(|| {
            format!(
                "{}: further rounds until decided, at most {most} pairs each, {time} (--max-pairs, --budget)",
                names.join(", ")
            )
        })
    }

    fn job_line(
        &self,
        job: &Job,
        targets: &[&PlannedTarget],
        cost: Option<(u64, Duration)>,
    ) -> String {
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        let cost = cost.map(|(bytes, time)| {
            format!(
                ": {}, about {} a round",
                units::bytes(bytes),
                duration(time)
            )
        });
        format!(
            "{}: {} requests at most, {} at once, {} tokens at most each, x {} x {}{}",
            job.name,
            job.n_requests,
            job.load.most_at_once(),
            job.case.n_gen,
            rounds_of(
                (self.spec.rounds, self.spec.replicates),
                targets.iter().any(|t| t.is_in_process()),
            ),
            names.join(", "),
            cost.unwrap_or_default()
        )
    }

    /// The targets whose jobs cost the same, together: all, unless there are several settings.
    fn alike(&self) -> Vec<Vec<&PlannedTarget>> {
        let own = self.targets.iter().filter(|t| t.is_in_process());
        if own.count() < 2 {
            return vec![self.targets.iter().collect()];
        }
        self.targets.iter().map(|target| vec![target]).collect()
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

/// Memory of a job, and about the time of a round in which every answer has all the tokens that it may have.
fn cost(job: &Job, n_tokens: &[Option<u32>], model: &ModelFacts, rates: &Rates) -> (u64, Duration) {
    let words = |text: &str| u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
    let prompts = job.prompts.iter().zip(n_tokens);
    let lengths: Vec<u64> = prompts
        .map(|(prompt, n)| u64::from(n.unwrap_or_else(|| words(&prompt.text))))
        .collect();
    let mean = lengths.iter().sum::<u64>() / (lengths.len() as u64).max(1);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let at_once = job.load.most_at_once().min(job.n_requests).max(1);
    let case = Case {
        n_seq: at_once,
        n_prompt: u32::try_from(mean).unwrap_or(u32::MAX),
        ..job.case.clone()
    };
    let time = budget::time(&case, model, rates);
    let whole = time.visit(job.n_requests.div_ceil(at_once));
    // A load that lasts some time ends with what is under way then.
    let most = job
        .most_ns
        .map(|ns| Duration::from_nanos(ns).saturating_add(time.visit(1)));
    let largest = Case {
        n_prompt: u32::try_from(longest)
            .unwrap_or(u32::MAX)
            .saturating_add(ROOM_FOR_A_TEMPLATE),
        ..job.case.clone()
    };
    let bytes = budget::memory(&largest, model).total_bytes();
    (bytes, most.map_or(whole, |most| whole.min(most)))
}
