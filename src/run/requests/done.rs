//! What an interrupted run of requests has served already.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::record::jsonl::{self, RecordError};
use crate::record::requests::RequestsPlan;
use crate::record::{Line, RunHeader};
use crate::request::{Ending, Job};

/// Job, target and round.
type JobRound = (String, String, u32);

/// What a record has of a job at a target in a round.
#[derive(Debug, Default)]
struct RoundOnRecord {
    numbers: HashSet<u32>,
    is_cut: bool,
    has_ended: bool,
}

/// The jobs at targets in rounds that an interrupted run has served whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DoneJobs {
    whole: HashSet<JobRound>,
    /// The first worker number not yet used.
    pub next_worker: u32,
}

impl DoneJobs {
    /// Reads a run's record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(run: &Path) -> Result<(RunHeader, Self), RecordError> {
        let mut known: HashMap<JobRound, RoundOnRecord> = HashMap::new();
        let mut next_worker = 0;
        let header = jsonl::read(run, |line| match line {
            Line::Request(r) => {
                let known = known.entry((r.job, r.target, r.round)).or_default();
                if !known.numbers.insert(r.timeline.number) {
                    // The round is served again: nothing of its first try counts.
                    *known = RoundOnRecord::default();
                    known.numbers.insert(r.timeline.number);
                }
                known.is_cut |= r.timeline.ending == Ending::Interrupted;
            }
            Line::Job(job) => {
                next_worker = next_worker.max(job.worker.map_or(0, |w| w.saturating_add(1)));
                let known = known.entry((job.job, job.target, job.round)).or_default();
                known.has_ended = job.elapsed_ns.is_some();
            }
            _ => {}
        })?;
        let jobs = header.requests.iter().flat_map(|plan| &plan.jobs);
        let jobs: HashMap<&str, &Job> = jobs.map(|job| (job.name.as_str(), job)).collect();
        let is_whole = |((name, ..), known): &(JobRound, RoundOnRecord)| {
            let job = jobs.get(name.as_str());
            known.has_ended && !known.is_cut && job.is_some_and(|j| j.is_whole(known.numbers.len()))
        };
        let whole = known
            .into_iter()
            .filter(is_whole)
            .map(|(key, _)| key)
            .collect();
        Ok((header, Self { whole, next_worker }))
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.whole.len()
    }

    /// Whether a target has served all that it was planned to.
    pub fn has_all_of(&self, plan: &RequestsPlan, target: &str) -> bool {
        let has_all = |job: &Job| (0..plan.all_rounds()).all(|n| self.has(&job.name, target, n));
        plan.jobs.iter().all(has_all)
    }

    pub(super) fn has(&self, job: &str, target: &str, round: u32) -> bool {
        let key = (job.to_owned(), target.to_owned(), round);
        self.whole.contains(&key)
    }
}
