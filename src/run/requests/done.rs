//! What an interrupted run of requests has served already.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::record::jsonl::{self, RecordError};
use crate::record::requests::RequestsPlan;
use crate::record::{Line, RunHeader};
use crate::request::figures::{ComparedAnswers, RequestFigures};
use crate::request::{Ending, Job};
use crate::run::requests::pairs::{RoundLatencies, answer_latency_ns};
use crate::run::stop::is_answered;

/// Job, target and round.
type JobRound = (String, String, u32);

/// What a record has of a job at a target in a round.
#[derive(Debug, Default)]
struct RoundOnRecord {
    numbers: HashSet<u32>,
    sent: Vec<(u32, RequestFigures)>,
    latencies: Vec<f64>,
    is_cut: bool,
    has_ended: bool,
}

/// The jobs at targets in rounds that an interrupted run has served whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DoneJobs {
    whole: HashSet<JobRound>,
    /// What is known of compared jobs, by job and target.
    pub answers: HashMap<(String, String), ComparedAnswers>,
    /// What is known of how targets compare.
    pub latencies: RoundLatencies,
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
                let figures = RequestFigures::of(r.round, &r.timeline);
                known.sent.push((r.timeline.number, figures));
                known.is_cut |= r.timeline.ending == Ending::Interrupted;
                known.latencies.extend(answer_latency_ns(&r.timeline));
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
        let mut whole: Vec<(JobRound, RoundOnRecord)> =
            known.into_iter().filter(is_whole).collect();
        whole.sort_unstable_by_key(|((_, _, round), _)| *round);
        let mut answers: HashMap<(String, String), ComparedAnswers> = HashMap::new();
        let mut latencies = RoundLatencies::default();
        for ((name, target, number), round) in &whole {
            latencies.add_latencies((name, target), *number, &round.latencies);
            if let Some(job) = jobs.get(name.as_str()).filter(|job| job.compared.is_some()) {
                let known = answers.entry((name.clone(), target.clone())).or_default();
                known.add(job, round.sent.iter().copied());
            }
        }
        let done = Self {
            whole: whole.into_iter().map(|(key, _)| key).collect(),
            answers,
            latencies,
            next_worker,
        };
        Ok((header, done))
    }

    /// Whether nothing is left of a plan: all rounds are whole, all comparisons are decided, and all means are known.
    pub fn has_all(&self, plan: &RequestsPlan) -> bool {
        let pairs = plan
            .targets
            .iter()
            .flat_map(|target| plan.jobs.iter().map(move |job| (job, target)));
        let mut jobs = plan.jobs.iter();
        if jobs.any(|job| self.latencies.is_open(plan, &job.name)) {
            return false;
        }
        let mut pairs =
            pairs.filter(|(job, target)| plan.never_served(&job.name, target).is_none());
        pairs.all(|(job, target)| {
            let key = (job.name.clone(), target.clone());
            let is_closed = job.compared.as_ref().is_none_or(|c| c.most.is_none());
            let is_decided = || self.answers.get(&key).is_some_and(|a| is_answered(job, a));
            let mut rounds = 0..plan.all_rounds();
            !self.latencies.is_imprecise(plan, &job.name, target)
                && rounds.all(|round| self.has(&job.name, target, round))
                && (is_closed || is_decided())
        })
    }

    /// Whether a target has served all that it was planned to.
    pub fn has_all_of(&self, plan: &RequestsPlan, target: &str) -> bool {
        let has_all = |job: &Job| (0..plan.all_rounds()).all(|n| self.has(&job.name, target, n));
        let is_never = |job: &Job| plan.never_served(&job.name, target).is_some();
        plan.jobs.iter().all(|job| is_never(job) || has_all(job))
    }

    pub(super) fn has(&self, job: &str, target: &str, round: u32) -> bool {
        let key = (job.to_owned(), target.to_owned(), round);
        self.whole.contains(&key)
    }
}
