//! What a run's processes measured of one cell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::metric::Metric;
use crate::plan::{Case, CaseId};
use crate::request::Job;
use crate::request::shown_target;
use crate::stats::summary;

/// What identifies a cell in any run: the case of a batch, or a job of requests at a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellKey {
    /// The case; of a job, its setting.
    pub case: Case,
    /// The job and its target; `None` for a batch.
    pub job: Option<JobAtTarget>,
}

/// A job of requests and the target that serves it.
#[derive(Debug, Clone)]
pub struct JobAtTarget {
    pub job: String,
    /// As the user named it.
    pub target: String,
    /// As its run calls it: with the parts of the setting that vary there. Empty where targets are compared.
    pub in_run: String,
    /// What its run counts as an observation. It is no part of the identity.
    pub unit: SampleUnit,
}

/// What an observation of a job is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SampleUnit {
    /// A worker process of this program.
    #[default]
    Process,
    /// A round at a server, of which no process is known.
    Round,
    /// Several rounds at a server, which are told apart from others by --replicates.
    Replicate,
}

impl SampleUnit {
    /// In the singular and in the plural.
    pub fn words(self) -> [&'static str; 2] {
        match self {
            Self::Process => ["process", "processes"],
            Self::Round => ["round", "rounds"],
            Self::Replicate => ["replicate", "replicates"],
        }
    }
}

/// What the run calls the target is not part of the identity: the setting is in the case.
impl PartialEq for JobAtTarget {
    fn eq(&self, other: &Self) -> bool {
        (&self.job, &self.target) == (&other.job, &other.target)
    }
}

impl Eq for JobAtTarget {}

impl Hash for JobAtTarget {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.job, &self.target).hash(state);
    }
}

impl JobAtTarget {
    /// As [`Display`](fmt::Display) has it, with a short name of the target.
    pub fn shown(&self) -> String {
        match self.in_run.as_str() {
            "" => self.job.clone(),
            target => format!("{} at {}", self.job, shown_target(target)),
        }
    }
}

impl fmt::Display for JobAtTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_run.as_str() {
            "" => f.write_str(&self.job),
            target => write!(f, "{} at {target}", self.job),
        }
    }
}

impl CellKey {
    pub fn of_case(case: &Case) -> Self {
        Self {
            case: case.clone(),
            job: None,
        }
    }

    /// `target` as the user named it, and as its run calls it.
    pub fn of_job(job: &Job, target: &str, in_run: &str) -> Self {
        Self {
            case: job.case.clone(),
            job: Some(JobAtTarget {
                job: job.name.clone(),
                target: target.to_owned(),
                in_run: in_run.to_owned(),
                unit: SampleUnit::Process,
            }),
        }
    }

    /// Whether a server does the work.
    pub fn is_at_server(&self) -> bool {
        self.unit() != SampleUnit::Process
    }

    fn unit(&self) -> SampleUnit {
        self.job
            .as_ref()
            .map_or_else(SampleUnit::default, |job| job.unit)
    }

    /// What an observation of a metric is of, in the singular and in the plural.
    pub fn sample_unit(&self, metric: Metric) -> [&'static str; 2] {
        match self.unit() {
            SampleUnit::Process => metric.sample_unit(),
            other => other.words(),
        }
    }

    /// The same of several cells, in the plural.
    pub fn units_of<'a>(keys: impl IntoIterator<Item = &'a Self>, metric: Metric) -> String {
        let mut units: Vec<&str> = Vec::new();
        for key in keys {
            let [_, unit] = key.sample_unit(metric);
            if !units.contains(&unit) {
                units.push(unit);
            }
        }
        match units.is_empty() {
            true => metric.sample_unit()[1].to_owned(),
            false => units.join(" or "),
        }
    }

    /// Whether a name that a user typed for cells means it: its own, a job's alone or a job's at the target as the user named
    /// that, whatever its setting.
    pub fn is_named_by(&self, glob: &glob::Pattern) -> bool {
        let of_job = self.job.iter().any(|job| {
            glob.matches(&job.job) || glob.matches(&format!("{} at {}", job.job, job.target))
        });
        of_job || glob.matches(self.name().as_str())
    }

    /// The name in reports and JSON.
    pub fn name(&self) -> CaseId {
        match &self.job {
            Some(job) => CaseId::of_job(&job.to_string()),
            None => self.case.id(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    pub key: CellKey,
    /// The repetitions by replicate: by process, except in a run that was resumed.
    replicates: BTreeMap<u32, Vec<RepetitionValue>>,
    /// Replicates in which the cell failed or was interrupted, and was not measured afterwards.
    unfinished: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct RepetitionValue {
    /// The metric's value, positive.
    pub value: f64,
    /// Whether something else used the machine meanwhile.
    pub is_disturbed: bool,
    /// Where the metric is the decode step, and the repetition took turns with the other side's: its number and all its steps,
    /// nanoseconds.
    pub steps: Option<(u32, Vec<f64>)>,
}

impl RepetitionValue {
    /// Of something that is more than a decode step.
    pub fn of(value: f64, is_disturbed: bool) -> Self {
        Self {
            value,
            is_disturbed,
            steps: None,
        }
    }
}

/// How many repetitions of how many were disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Disturbed {
    pub repetitions: usize,
    pub of: usize,
}

impl Disturbed {
    /// From 0 to 1; 0 without a repetition.
    pub fn share(self) -> f64 {
        self.repetitions as f64 / self.of.max(1) as f64
    }

    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        let add = |a: Self, b: Self| Self {
            repetitions: a.repetitions + b.repetitions,
            of: a.of + b.of,
        };
        all.into_iter().fold(Self::default(), add)
    }
}

impl Samples {
    /// A cell without any repetition yet.
    pub fn of(key: CellKey) -> Self {
        Self {
            key,
            replicates: BTreeMap::new(),
            unfinished: BTreeSet::new(),
        }
    }

    pub(super) fn push(&mut self, replicate: u32, sample: RepetitionValue) {
        self.replicates.entry(replicate).or_default().push(sample);
    }

    /// What became of the cell in a replicate.
    pub(super) fn note_end(&mut self, replicate: u32, is_measured: bool) {
        match is_measured {
            true => self.unfinished.remove(&replicate),
            false => self.unfinished.insert(replicate),
        };
    }

    /// Replicates that did not end before they were measured.
    pub(super) fn finished(&self) -> impl Iterator<Item = u32> {
        self.replicates().filter(|n| !self.unfinished.contains(n))
    }

    /// Median over each replicate's repetitions.
    pub fn medians(&self) -> BTreeMap<u32, f64> {
        let median = |(n, samples): (&u32, &Vec<RepetitionValue>)| {
            let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
            Some((*n, summary::median(&values)?))
        };
        self.replicates.iter().filter_map(median).collect()
    }

    /// The steps of a replicate's repetitions, with those of the same number of `other`.
    pub(super) fn steps_with<'a>(
        &'a self,
        other: &'a Self,
        replicate: u32,
    ) -> Vec<(&'a [f64], &'a [f64])> {
        let of = |samples: &'a Self| {
            let values = samples.replicates.get(&replicate).into_iter().flatten();
            values.filter_map(|value| value.steps.as_ref())
        };
        let theirs = |number: u32| of(other).find(|(n, _)| *n == number);
        let both = |(number, mine): &'a (u32, Vec<f64>)| Some((&mine[..], &theirs(*number)?.1[..]));
        of(self).filter_map(both).collect()
    }

    /// Mean over all repetitions of all processes, as other tools report it.
    pub fn mean(&self) -> Option<f64> {
        let values: Vec<f64> = self.repetitions().map(|s| s.value).collect();
        summary::mean(&values)
    }

    pub fn disturbed(&self) -> Disturbed {
        Disturbed {
            repetitions: self.repetitions().filter(|s| s.is_disturbed).count(),
            of: self.repetitions().count(),
        }
    }

    /// Without the disturbed repetitions, and without processes that have no others.
    pub fn undisturbed(&self) -> Self {
        let mut kept = self.clone();
        for samples in kept.replicates.values_mut() {
            samples.retain(|s| !s.is_disturbed);
        }
        kept.replicates.retain(|_, samples| !samples.is_empty());
        kept
    }

    pub fn replicates(&self) -> impl Iterator<Item = u32> {
        self.replicates.keys().copied()
    }

    /// Exchanges a replicate with the same one of another run.
    pub fn swap_replicate(&mut self, other: &mut Self, replicate: u32) {
        let (mine, theirs) = (
            self.replicates.remove(&replicate),
            other.replicates.remove(&replicate),
        );
        self.replicates.extend(theirs.map(|s| (replicate, s)));
        other.replicates.extend(mine.map(|s| (replicate, s)));
    }

    fn repetitions(&self) -> impl Iterator<Item = &RepetitionValue> {
        self.replicates.values().flatten()
    }

    /// Median over the replicates' medians.
    pub fn median(&self) -> Option<f64> {
        let medians: Vec<f64> = self.medians().into_values().collect();
        summary::median(&medians)
    }
}
