//! What a run of requests leaves behind: lines of their own in the same record.

use crate::request::shown_target;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::HostWarning;
use crate::host::usage::{UsageDelta, UsageSummary};
use crate::measure::Call;
use crate::record::Outcome;
use crate::request::{IN_PROCESS, Job, TargetFacts, Timeline};
use crate::text::{cut_end, plain};

/// Columns of a reason in a sentence.
const REASON_COLUMNS: usize = 200;

/// The requests that a run was to send: every job at every target, in every round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestsPlan {
    /// The targets, `in-process` among them: as the user named them, or with a part of their setting's after that, such as
    /// `in-process/t2`, where one that is named is measured in several settings.
    pub targets: Vec<String>,
    /// Worker processes in which everything is done. Records of programs that did everything in one do not say so.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub replicates: u32,
    /// Most of them, where some are added to each job whose mean latency is not known to the precision; none: nothing is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicates: Option<u32>,
    /// That precision: the relative half-width of the interval; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// How often everything is done in each; the order of jobs is shuffled in each round, and targets take turns.
    pub rounds: u32,
    /// Wall time after which nothing more is begun; none without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ns: Option<u64>,
    /// How the targets compare is to be decided: rounds in which they take turns are added until then, up to this number in
    /// all; none: nothing is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_pairs: Option<u32>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The targets that are one of several settings of what the user named. No record has it where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<TargetSetting>,
    /// The jobs that a target is not to serve in any round: they do not fit, or its model cannot be loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_served: Vec<NeverServed>,
    /// What about the prompts may surprise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<PromptWarning>,
}

/// A job that a target is not to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeverServed {
    /// Its name.
    pub job: String,
    /// The target.
    pub target: String,
    /// Why: skipped, or what loading the model ended with.
    pub outcome: Outcome,
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

impl RequestsPlan {
    /// The plan of some jobs at some targets: each job and each target of which a pair is wanted. A target is asked for
    /// by the name that the user gave it, and by its own job.
    #[must_use]
    pub fn of_some(&self, is_wanted: impl Fn(&Job, &str) -> bool) -> Self {
        let is_pair = |name: &str, target: &str| {
            let job = self.job_of(target, name);
            job.is_some_and(|job| is_wanted(job, self.named(target)))
        };
        let mut plan = self.clone();
        plan.jobs
            .retain(|job| self.targets.iter().any(|t| is_pair(&job.name, t)));
        plan.targets
            .retain(|t| plan.jobs.iter().any(|job| is_pair(&job.name, t)));
        plan.settings.retain(|s| plan.targets.contains(&s.target));
        // Every job is served at every target that is left, so that one which could not be served then is not tried now.
        let is_left = |n: &NeverServed| {
            plan.targets.contains(&n.target) && plan.jobs.iter().any(|job| job.name == n.job)
        };
        plan.never_served = self
            .never_served
            .iter()
            .filter(|n| is_left(n))
            .cloned()
            .collect();
        for setting in &mut plan.settings {
            let is_kept = |job: &Job| plan.jobs.iter().any(|kept| kept.name == job.name);
            setting.jobs.retain(is_kept);
        }
        // The budget was the whole run's, and so was the question of how targets compare.
        plan.budget_ns = None;
        plan.most_pairs = None;
        plan.max_replicates = None;
        plan.precision = None;
        plan
    }

    /// Rounds in all processes together.
    pub fn all_rounds(&self) -> u32 {
        self.rounds.saturating_mul(self.replicates)
    }

    /// Whether rounds are served in several replicates: planned ones, or some that are added.
    pub fn is_replicated(&self) -> bool {
        self.replicates > 1 || self.max_replicates.is_some_and(|most| most > 1)
    }

    /// The precision to which a job's mean latency is to be known, and the most replicates for it. `None` where nothing is added for it:
    /// a job whose answers are compared asks other questions in each round, so that its mean is none of the same requests.
    pub fn precision_of(&self, job: &str) -> Option<(f64, u32)> {
        let job = self.jobs.iter().find(|own| own.name == job)?;
        let both = self.precision.zip(self.max_replicates);
        both.filter(|_| job.compared.is_none())
    }

    /// The replicate of a round. Each round that was added to the planned ones is one of its own.
    pub fn replicate_of(&self, round: u32) -> u32 {
        match round.checked_sub(self.all_rounds()) {
            Some(added) => self.replicates.saturating_add(added),
            None => round / self.rounds.max(1),
        }
    }

    /// The target that the others are compared with, of those that serve anything: in-process where there is it, else the first.
    pub fn base(&self) -> Option<&str> {
        let serving = || self.targets.iter().filter(|t| self.serves_anything(t));
        let own = serving().find(|t| self.is_in_process(t));
        own.or(serving().next()).map(String::as_str)
    }

    /// Each job at each target but the base, where both serve it: they share the chance of a wrong decision.
    pub fn n_comparisons(&self) -> usize {
        let Some(base) = self.base() else {
            return 0;
        };
        let others = self.targets.iter().filter(|target| *target != base);
        let serves = |job: &Job, target: &str| self.never_served(&job.name, target).is_none();
        let both = |other: &String| {
            let jobs = self.jobs.iter();
            jobs.filter(|job| serves(job, base) && serves(job, other))
                .count()
        };
        others.map(both).sum()
    }

    /// Whether a target is to serve any job.
    pub fn serves_anything(&self, target: &str) -> bool {
        let mut jobs = self.jobs.iter();
        jobs.any(|job| self.never_served(&job.name, target).is_none())
    }

    /// The target as the user named it.
    pub fn named<'a>(&'a self, target: &'a str) -> &'a str {
        self.setting(target).map_or(target, |s| &s.named)
    }

    /// Whether a target is llama.cpp in a worker of this program.
    pub fn is_in_process(&self, target: &str) -> bool {
        self.named(target) == IN_PROCESS
    }

    /// The jobs of a target, in the order of [`RequestsPlan::jobs`]: its own where its setting or its texts differ.
    pub fn jobs_of<'a>(&'a self, target: &str) -> impl Iterator<Item = &'a Job> + use<'a> {
        let own = self.setting(target).map_or(&[][..], |s| &s.jobs);
        let of_target = |job: &'a Job| -> &'a Job {
            own.iter().find(|own| own.name == job.name).unwrap_or(job)
        };
        self.jobs.iter().map(of_target)
    }

    /// What became of a job that a target is not to serve; `None` of one that it is.
    pub fn never_served(&self, job: &str, target: &str) -> Option<&Outcome> {
        let mut all = self.never_served.iter();
        let found = all.find(|never| never.job == job && never.target == target);
        found.map(|never| &never.outcome)
    }

    /// A target's job by its name.
    pub fn job_of(&self, target: &str, name: &str) -> Option<&Job> {
        self.jobs_of(target).find(|job| job.name == name)
    }

    /// Adds what another run of this kind has: targets, jobs, and the jobs of targets that differ from the first run's.
    pub fn merge(&mut self, other: &Self) {
        if self.rounds == other.rounds {
            self.replicates = self.replicates.saturating_add(other.replicates);
        } else {
            self.rounds = self.all_rounds().saturating_add(other.all_rounds());
            self.replicates = 1;
        }
        // What one of the runs has served is not missing.
        let serves = |plan: &Self, never: &NeverServed| {
            let has_both = plan.targets.contains(&never.target)
                && plan.jobs.iter().any(|job| job.name == never.job);
            has_both && plan.never_served(&never.job, &never.target).is_none()
        };
        let of_other = other.never_served.iter();
        let of_other =
            of_other.filter(|n| !serves(self, n) && self.never_served(&n.job, &n.target).is_none());
        let of_other: Vec<NeverServed> = of_other.cloned().collect();
        self.never_served.retain(|never| !serves(other, never));
        self.never_served.extend(of_other);
        let before: Vec<String> = self.jobs.iter().map(|job| job.name.clone()).collect();
        let is_new = |job: &&Job| !before.contains(&job.name);
        self.jobs.extend(other.jobs.iter().filter(is_new).cloned());
        for target in &other.targets {
            let is_known = self.targets.contains(target);
            if !is_known {
                self.targets.push(target.clone());
            }
            // A job that both have is the first run's.
            let mut own: Vec<Job> = other.jobs_of(target).cloned().collect();
            own.retain(|job| (!is_known || is_new(&job)) && !self.jobs.contains(job));
            match self.settings.iter_mut().find(|s| s.target == *target) {
                Some(setting) => setting.jobs.extend(own),
                None if own.is_empty() && other.named(target) == target => {}
                None => self.settings.push(TargetSetting {
                    target: target.clone(),
                    named: other.named(target).to_owned(),
                    jobs: own,
                }),
            }
        }
        for warning in &other.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }

    fn setting(&self, target: &str) -> Option<&TargetSetting> {
        self.settings.iter().find(|s| s.target == target)
    }
}

/// A target in one of several settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetSetting {
    /// Its name in the plan.
    pub target: String,
    /// The target as the user named it.
    pub named: String,
    /// The jobs with its setting and with its model's texts; empty where they are the plan's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
}

/// How prompts go out otherwise than their reader may think.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PromptWarning {
    /// The model file has a chat template that the engine cannot apply.
    TemplateNotApplied {
        /// The engine's reason.
        reason: String,
    },
    /// A server that nothing is known of gets the bare texts.
    NoTemplate {
        /// The server as the user named it.
        target: String,
    },
}

impl fmt::Display for PromptWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemplateNotApplied { reason } => write!(
                f,
                "the prompts go out without the model's chat template, which was not applied: {reason}; \
                 --chat-template=false says that this is meant",
                reason = cut_end(&plain(reason), REASON_COLUMNS)
            ),
            Self::NoTemplate { target } => write!(
                f,
                "the prompts go to {target} as they are, without a chat template; --endpoint chat has the server \
                 apply its own, --endpoint completion says that this is meant",
                target = shown_target(target)
            ),
        }
    }
}

/// A target as it described itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetLine {
    /// Its name in the plan.
    pub target: String,
    /// Whether all its jobs were done by then.
    pub after: bool,
    /// What it said; none when it did not answer.
    pub facts: Option<TargetFacts>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLine {
    /// Its job's name.
    pub job: String,
    /// The target.
    pub target: String,
    /// The round, from 0.
    pub round: u32,
    /// What was seen of it.
    pub timeline: Timeline,
}

/// What became of a job at a target in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobLine {
    /// Its name.
    pub job: String,
    /// The target.
    pub target: String,
    /// The round, from 0, counted over all processes.
    pub round: u32,
    /// The worker process that served it; none for servers, and in records of programs that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// When it began, nanoseconds after the run did.
    pub started_ns: u64,
    /// From its begin to its last request's end; none when it could not be served.
    pub elapsed_ns: Option<u64>,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The decode calls of an in-process target, in order.
    pub calls: Vec<Call>,
    /// What machine and worker did meanwhile; none for servers, whose process is not ours to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageDelta>,
    /// The same, sampled along the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<UsageSummary>,
    /// The engine's log meanwhile, in-process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What makes it deserve less trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<HostWarning>,
}
