//! Requests as a record tells them: of every job at every target what was sent, how it ended, and how long it took.
//!
//! Numbers are kept, not texts, but for a few sample answers. Definitions are METHODOLOGY.md's, section "Requests".

mod collect;
mod counting;
mod doubts;
mod figures;
mod outcome;
mod request;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{CellOutcome, CellUsage, CellWarning, CountOf, Estimate};
use crate::metric::Metric;
use crate::record::Outcome;
use crate::record::requests::PromptWarning;
use crate::request::prompts::Prompt;
use crate::request::{Ending, Experiment, Job, Load, TargetFacts, TargetKind};
use crate::text::brief;
pub(super) use collect::RequestsCollector;
pub use counting::Counting;
pub use doubts::JobDoubt;
pub use request::RequestView;

/// Every job at every target.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestsView {
    pub targets: Vec<TargetView>,
    /// The target that its plan compares the others with; none without a plan.
    pub base: Option<String>,
    /// Each job at each target, in the plan's order: a job at all its targets, then the next job.
    pub jobs: Vec<JobView>,
    /// What about the prompts may surprise.
    pub warnings: Vec<PromptWarning>,
    /// The comparisons of targets that share the chance of a wrong decision, where rounds were added until each was decided; none
    /// with a fixed number of rounds.
    pub n_comparisons: Option<usize>,
    /// Lines of jobs or targets that the plan does not have.
    pub n_strays: u32,
}

/// A target as it described itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetView {
    pub name: String,
    pub before: Option<TargetFacts>,
    pub after: Option<TargetFacts>,
    /// Why it said nothing, the last time it was asked in vain.
    pub reason: Option<String>,
}

/// A job at a target, over all rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// What was asked for.
    pub job: Arc<Job>,
    /// Of whom.
    pub target: String,
    /// What kind of target that is; none where it never described itself and its name does not tell.
    pub kind: Option<TargetKind>,
    /// Each round that left something behind, in order.
    pub rounds: Vec<Round>,
    /// Every request, by round and number.
    pub requests: Vec<RequestView>,
    pub figures: JobFigures,
    /// What rounds are compared by: the median over units of each one's median over its whole rounds ([`Round::unit`]); over rounds where
    /// there is one unit.
    pub estimates: HashMap<Metric, Estimate>,
    /// The figures by class of prompt, in the order in which the job has them.
    pub classes: Vec<ClassView>,
    /// Tokens generated for all requests together, per second from the job's begin to its end.
    pub tokens_per_s: Option<Estimate>,
    /// Whole requests per second, likewise.
    pub requests_per_s: Option<Estimate>,
    /// The decode calls that the requests shared; none for servers, which hide them.
    pub calls: Option<Calls>,
    /// What machine and process did meanwhile.
    pub usage: CellUsage,
    /// What makes it deserve less trust, each kind once.
    pub warnings: Vec<CellWarning>,
    /// What its figures hide.
    pub doubts: Vec<JobDoubt>,
    /// What became of it.
    pub outcome: CellOutcome,
    /// The same in words: `8 of 8 failed: 8 http error (HTTP 500)`.
    pub outcome_detail: String,
    /// Rounds that were planned of it, in all processes and runs together.
    pub planned_rounds: u32,
    /// Whether it is not known to the precision that was asked for, and has fewer replicates than it may get.
    pub may_get_more: bool,
    /// Rounds in which it could not be served, and why.
    pub unserved: Vec<(u32, String)>,
    /// What became of it where it was not to be served in any round.
    pub never_served: Option<Outcome>,
    /// A few answers.
    pub samples: Vec<SampleAnswer>,
}

/// A class of prompts of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassView {
    pub class: String,
    pub figures: JobFigures,
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleAnswer {
    /// The request's number; its prompt is [`Job::prompt_of`] it.
    pub number: u32,
    /// What was answered, its beginning.
    pub text: String,
}

/// A job at a target in one round.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Round {
    pub round: u32,
    /// The worker process that served it, where there was to be more than one; none of a server.
    pub process: Option<u32>,
    /// What it is an observation of, among the rounds of its job: a replicate, or a process where there is one replicate. Of a server's
    /// only replicate each round is one. Rounds of one unit are no independent observations.
    pub unit: u32,
    /// Whether it is one of the rounds that were planned, and none that was added.
    pub is_planned: bool,
    /// Whether every request was sent, and none was interrupted: what is not whole is not compared.
    pub is_whole: bool,
    /// Whether something else used the machine meanwhile, as far as that is known.
    pub is_disturbed: bool,
    /// From its begin to its last request's end; none when it could not be served.
    pub elapsed_ns: Option<u64>,
    /// When it began, nanoseconds after the run did.
    pub started_ns: Option<u64>,
    /// Means over its whole requests.
    pub latency_ns: Option<f64>,
    pub ttft_ns: Option<f64>,
    pub tpot_ns: Option<f64>,
    /// Tokens of all its requests over `elapsed_ns`.
    pub tokens_per_s: Option<f64>,
    /// Whole requests over `elapsed_ns`.
    pub requests_per_s: Option<f64>,
}

/// How a duration is spread over requests, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Times {
    pub n: u64,
    pub mean: Option<Estimate>,
    pub median: Option<Estimate>,
    /// 95th percentile; none below 59 values.
    pub p95: Option<Estimate>,
    /// 99th percentile; none below 299 values.
    pub p99: Option<Estimate>,
    pub max: Option<f64>,
}

/// Figures of some requests of a job. Durations are those of whole answers only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobFigures {
    /// Requests that were sent, or were to be.
    pub n_sent: u32,
    /// Answers that are whole and have a token.
    pub n_whole: u32,
    /// Answers that are whole and have none: no figure of time is theirs.
    pub n_empty: u32,
    /// Of the whole ones, those that the model ended although a length was asked for: they are no equal work.
    pub n_short: u32,
    /// Those that are not whole by the word of their ending.
    pub failed: BTreeMap<&'static str, u32>,
    /// What the first of each such kind says of itself, where it says more than the word.
    pub failed_such_as: BTreeMap<&'static str, String>,
    /// Prompt tokens of the whole ones; none where the target does not count them.
    pub n_prompt: Option<u64>,
    /// Generated tokens of the whole ones, likewise.
    pub n_generated: Option<u64>,
    /// From due to ended.
    pub latency_ns: Times,
    /// From due to the first piece of the answer, visible or reasoning.
    pub ttft_ns: Times,
    /// From due to the first visible piece.
    pub ttft_visible_ns: Times,
    /// Per token after the first.
    pub tpot_ns: Times,
    /// Between two pieces of an answer.
    pub gap_ns: Times,
    /// From due to a place in the batch; in-process.
    pub wait_ns: Times,
    /// Generated tokens of a request over its latency, mean over requests.
    pub tokens_per_s: Option<Estimate>,
    /// Sum of TTFT over sum of latency.
    pub ttft_share: Option<f64>,
    /// What the counts of tokens leave in doubt.
    pub counting: Counting,
}

impl JobFigures {
    /// `2 of 8 failed: 1 http error (HTTP 500: out of memory), 1 truncated`; nothing where none did. What was never sent
    /// did not fail.
    pub fn failures(&self) -> Option<String> {
        let not_sent = Ending::NotSent.word();
        let failed = || self.failed.iter().filter(|(how, _)| **how != not_sent);
        let such_as = |kind| self.failed_such_as.get(kind);
        let kinds: Vec<String> = failed()
            .map(|(kind, n)| failed_kind(kind, u64::from(*n), such_as(kind)))
            .collect();
        let n: u32 = failed().map(|(_, n)| n).sum();
        (n > 0).then(|| format!("{n} of {} failed: {}", self.n_sent, kinds.join(", ")))
    }
}

/// `2 http error (HTTP 500: out of memory)`: requests that ended so, and what the first of them says.
pub fn failed_kind(kind: &str, n: u64, such_as: Option<&String>) -> String {
    let kind = kind.replace('_', " ");
    match such_as {
        Some(reason) => format!("{n} {kind} ({})", brief(reason, REASON_COLUMNS)),
        None => format!("{n} {kind}"),
    }
}

/// Columns of a reason in a sentence.
const REASON_COLUMNS: usize = 200;

/// The decode calls of an in-process target.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Calls {
    pub n: u64,
    /// Time of those with prompt tokens only.
    pub prefill_ns: u64,
    /// Of those with one token of each sequence.
    pub decode_ns: u64,
    /// Of those with both.
    pub mixed_ns: u64,
    /// Of all: this program's own part.
    pub build_ns: u64,
    /// Of all: the engine's part.
    pub engine_ns: u64,
    /// Of all: choosing tokens.
    pub sample_ns: u64,
    /// Median of the calls that only decode.
    pub decode_step_ns: Option<f64>,
    /// Sequences in them, on average.
    pub decode_n_seq: Option<f64>,
}

impl Calls {
    /// Time of all calls.
    pub fn whole_ns(&self) -> u64 {
        [self.prefill_ns, self.decode_ns, self.mixed_ns]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// The part of it that went into choosing tokens.
    pub fn sampler_share(&self) -> Option<f64> {
        let whole = self.whole_ns();
        (whole > 0).then(|| self.sample_ns as f64 / whole as f64)
    }
}

impl JobView {
    /// The prompt of one of its requests; none when the job has no prompts.
    pub fn prompt_of(&self, number: u32) -> Option<&Prompt> {
        (!self.job.prompts.is_empty()).then(|| self.job.prompt_of(number))
    }

    /// Requests that are under way at once, at most.
    pub fn at_once(&self) -> u32 {
        self.job.load.most_at_once()
    }

    /// Whether the same number of requests is always under way.
    pub fn is_closed(&self) -> bool {
        matches!(self.job.load, Load::Closed { .. })
    }

    /// Whether llama.cpp ran in a worker of this program.
    pub fn is_in_process(&self) -> bool {
        self.kind == Some(TargetKind::InProcess)
    }

    pub fn is_measured(&self) -> bool {
        self.figures.n_whole > 0
    }

    /// Whether the machine was disturbed meanwhile, as far as that is known.
    pub fn is_disturbed(&self) -> bool {
        self.warnings.iter().any(CellWarning::is_of_machine)
    }

    /// Whether a request went wrong, or there is no answer. What still waited when a load's time was over, or was interrupted, did
    /// not.
    pub fn has_failed(&self) -> bool {
        match &self.never_served {
            Some(outcome) => outcome.is_failure(),
            None => self.n_failed() > 0 || !self.is_measured() || !self.unserved.is_empty(),
        }
    }

    /// Planned rounds in which every request was sent, and none was interrupted.
    fn n_whole_rounds(&self) -> usize {
        let whole = self.rounds.iter().filter(|r| r.is_whole && r.is_planned);
        whole.filter(|r| r.elapsed_ns.is_some()).count()
    }

    /// Whether it has fewer whole rounds than planned, or than its precision needs, which it can still have.
    pub fn can_be_resumed(&self) -> bool {
        let failed = &self.figures.failed;
        let is_cut = failed.contains_key(Ending::Interrupted.word());
        let lacks =
            self.n_whole_rounds() < self.planned_rounds as usize || is_cut || self.may_get_more;
        lacks && self.never_served.is_none()
    }

    /// Adds what its rounds are compared by, and what processes and rounds say of themselves.
    fn note_rounds(&mut self, precision: Option<(f64, u32)>) {
        for (metric, _) in Metric::keys_of_requests() {
            let values = self.values(metric);
            let values = values.map(|(round, value)| (Some(round.unit), value));
            let estimate = Estimate::of_rounds(&values.collect::<Vec<_>>());
            self.estimates
                .extend(estimate.map(|estimate| (metric, estimate)));
        }
        if !self.is_measured() {
            return;
        }
        let n = u32::try_from(self.n_whole_rounds()).unwrap_or(u32::MAX);
        let of = self.planned_rounds;
        let few = (n < of).then_some(CellWarning::FewRounds(CountOf { n, of }));
        let one = (self.n_processes() == Some(1)).then_some(CellWarning::OneProcess);
        let latency = self.estimates.get(&Metric::RequestLatencyNs);
        let half_width = latency.and_then(|e| e.interval?.relative_half_width());
        let imprecise = precision.zip(half_width);
        let imprecise = imprecise.filter(|((precision, _), half_width)| half_width > precision);
        let units: BTreeSet<u32> = self.rounds.iter().map(|r| r.unit).collect();
        self.may_get_more = imprecise.is_some_and(|((_, most), _)| units.len() < most as usize);
        let imprecise = imprecise.map(|((precision, _), half_width)| CellWarning::Imprecise {
            half_width,
            precision,
        });
        let own = few.into_iter().chain(one).chain(imprecise);
        self.warnings.splice(0..0, own);
    }

    /// Requests that went wrong, without those that were interrupted or not sent in time.
    pub fn n_failed(&self) -> u32 {
        let innocent = [Ending::Interrupted.word(), Ending::NotSent.word()];
        let failed = self.figures.failed.iter();
        let failed = failed.filter(|(how, _)| !innocent.contains(how));
        failed.map(|(_, n)| n).sum()
    }

    /// How many times another's value this one has: the median over rounds in which both have it. They took turns in
    /// each, so rounds are pairs.
    pub fn ratio_to(&self, other: &Self, of: fn(&Round) -> Option<f64>) -> Option<Estimate> {
        self.ratio_over(other, self.ratios_to(other, of))
    }

    /// The same of ratios by round.
    pub fn ratio_over(&self, other: &Self, ratios: BTreeMap<u32, f64>) -> Option<Estimate> {
        let (my_process, their_process) = (self.processes(), other.processes());
        let ratios = ratios.into_iter();
        let ratios: Vec<(Option<u32>, f64)> = ratios
            .filter_map(|(round, ratio)| {
                // A server has no process that is known; beside it the worker's is what rounds have in common.
                let process = my_process.get(&round)?.or(*their_process.get(&round)?);
                Some((process, ratio))
            })
            .collect();
        Estimate::over_rounds(&ratios)
    }

    /// How many times another's value this one has, by the rounds in which both have it.
    pub fn ratios_to(&self, other: &Self, of: fn(&Round) -> Option<f64>) -> BTreeMap<u32, f64> {
        let theirs = other.by_round(of);
        let mine = self.by_round(of).into_iter();
        mine.filter_map(|(round, value)| {
            let theirs = theirs.get(&round).filter(|v| **v > 0.0)?;
            Some((round, value / theirs))
        })
        .collect()
    }

    /// The rounds whose requests were not all sent, or not answered, because the run was interrupted or its budget was spent.
    pub fn cut_rounds(&self) -> impl Iterator<Item = u32> + '_ {
        let served = self
            .rounds
            .iter()
            .filter(|r| !self.of_round(r.round).is_empty());
        served.filter(|r| self.is_cut(r.round)).map(|r| r.round)
    }

    /// The requests of a round, in the order of their numbers.
    pub fn of_round(&self, round: u32) -> &[RequestView] {
        let start = self.requests.partition_point(|r| r.round < round);
        let end = self.requests.partition_point(|r| r.round <= round);
        &self.requests[start..end]
    }

    fn is_cut(&self, round: u32) -> bool {
        let sent = self.of_round(round);
        let interrupted = |r: &RequestView| r.ending == Ending::Interrupted;
        sent.iter().any(interrupted) || !self.job.is_whole(sent.len())
    }

    /// A metric's value of each whole round that has one.
    pub fn values(&self, metric: Metric) -> impl Iterator<Item = (&Round, f64)> {
        let whole = self.rounds.iter().filter(|r| r.is_whole);
        whole.filter_map(move |round| {
            let answers = figures::answers(self.of_round(round.round), round.elapsed_ns);
            Some((round, metric.of_round(&answers)?))
        })
    }

    fn processes(&self) -> BTreeMap<u32, Option<u32>> {
        self.rounds.iter().map(|r| (r.round, r.process)).collect()
    }

    /// Worker processes that served it; none of a server's. Records of programs that did everything in one do not say so.
    pub fn n_processes(&self) -> Option<u32> {
        let known: BTreeSet<u32> = self.rounds.iter().filter_map(|r| r.process).collect();
        let n = u32::try_from(known.len()).unwrap_or(u32::MAX).max(1);
        self.is_in_process().then_some(n)
    }

    /// A figure of each round, where it has one.
    pub fn by_round(&self, of: impl Fn(&Round) -> Option<f64>) -> BTreeMap<u32, f64> {
        let rounds = self.rounds.iter();
        rounds.filter_map(|r| Some((r.round, of(r)?))).collect()
    }
}

impl TargetView {
    /// What it said of itself: before its jobs, else after them.
    pub fn facts(&self) -> Option<&TargetFacts> {
        self.before.as_ref().or(self.after.as_ref())
    }
}

impl RequestsView {
    /// The measured jobs of an experiment, in the plan's order.
    pub fn of(&self, experiment: Experiment) -> impl Iterator<Item = &JobView> {
        self.measured()
            .filter(move |j| j.job.experiment == experiment)
    }

    /// The jobs with at least one whole answer.
    pub fn measured(&self) -> impl Iterator<Item = &JobView> {
        self.jobs.iter().filter(|j| j.is_measured())
    }

    pub fn target(&self, name: &str) -> Option<&TargetView> {
        self.targets.iter().find(|t| t.name == name)
    }

    /// Whether a target tells reasoning from the visible answer.
    pub fn any_reasoned(&self) -> bool {
        self.jobs.iter().any(|j| j.figures.counting.n_reasoned > 0)
    }

    /// Whether more than one target has answered.
    pub fn has_several_targets(&self) -> bool {
        let mut names = self.measured().map(|j| &j.target);
        let first = names.next();
        names.any(|name| Some(name) != first)
    }
}

#[cfg(test)]
mod tests;
