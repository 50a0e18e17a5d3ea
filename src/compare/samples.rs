//! What a run's processes measured of one cell.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::{Case, CaseId};
use crate::stats::summary;

/// A cell's repetitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// The cell; of a job of requests, its setting.
    pub case: Case,
    /// Name and target of a job of requests; none of a cell.
    pub job: Option<String>,
    /// The repetitions by replicate: by process, but for one that was resumed.
    replicates: BTreeMap<u32, Vec<Sample>>,
}

/// One repetition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Its figure, positive.
    pub value: f64,
    /// Whether something else used the machine meanwhile.
    pub is_disturbed: bool,
}

/// How many of some repetitions were disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Disturbed {
    /// So many,
    pub repetitions: usize,
    /// of so many.
    pub of: usize,
}

impl Disturbed {
    /// The share, 0 to 1; 0 of none.
    pub fn share(self) -> f64 {
        self.repetitions as f64 / self.of.max(1) as f64
    }

    /// Of all of several.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        let add = |a: Self, b: Self| Self {
            repetitions: a.repetitions + b.repetitions,
            of: a.of + b.of,
        };
        all.into_iter().fold(Self::default(), add)
    }
}

impl Samples {
    /// A cell that has not been measured.
    pub fn none(case: &Case) -> Self {
        Self {
            case: case.clone(),
            job: None,
            replicates: BTreeMap::new(),
        }
    }

    /// The name of the cell or of the job.
    pub fn name(&self) -> CaseId {
        match &self.job {
            Some(job) => CaseId::of_job(job),
            None => self.case.id(),
        }
    }

    /// One more repetition.
    pub(super) fn push(&mut self, replicate: u32, sample: Sample) {
        self.replicates.entry(replicate).or_default().push(sample);
    }

    /// Median over each replicate's repetitions.
    pub fn medians(&self) -> BTreeMap<u32, f64> {
        let median = |(n, samples): (&u32, &Vec<Sample>)| {
            let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
            Some((*n, summary::median(&values)?))
        };
        self.replicates.iter().filter_map(median).collect()
    }

    /// Mean over all repetitions of all processes, as other tools report it.
    pub fn mean(&self) -> Option<f64> {
        let values: Vec<f64> = self.repetitions().map(|s| s.value).collect();
        summary::mean(&values)
    }

    /// How many repetitions were disturbed.
    pub fn disturbed(&self) -> Disturbed {
        Disturbed {
            repetitions: self.repetitions().filter(|s| s.is_disturbed).count(),
            of: self.repetitions().count(),
        }
    }

    /// The repetitions that were not; a process without any is left out.
    pub fn undisturbed(&self) -> Self {
        let mut kept = self.clone();
        for samples in kept.replicates.values_mut() {
            samples.retain(|s| !s.is_disturbed);
        }
        kept.replicates.retain(|_, samples| !samples.is_empty());
        kept
    }

    /// Replicates that were measured.
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

    fn repetitions(&self) -> impl Iterator<Item = &Sample> {
        self.replicates.values().flatten()
    }

    /// The median of these.
    pub fn median(&self) -> Option<f64> {
        let medians: Vec<f64> = self.medians().into_values().collect();
        summary::median(&medians)
    }
}
