//! From lines to jobs: what is kept of requests while a record is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::doubts::JobDoubt;
use super::figures::{self, ProcessOf};
use super::outcome;
use super::{
    Calls, ClassView, JobFigures, JobView, RequestView, RequestsView, Round, SampleAnswer,
    TargetView,
};
use crate::host::HostWarning;
use crate::measure::{Call, Phase};
use crate::record::Outcome;
use crate::record::requests::{JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::request::IN_PROCESS;
use crate::request::compared::JobPart;
use crate::request::{Job, TargetKind};
use crate::stats::summary;
use crate::view::collect::{Numbers, count};
use crate::view::estimate::Estimate;
use crate::view::usage::{UsageCollector, UsageFacts};
use crate::view::warning::{Disturbances, Repeated};

/// Answers that are kept of a job at a target.
const MOST_SAMPLES: usize = 3;

#[derive(Debug, Default)]
pub(in crate::view) struct RequestsCollector {
    targets: HashMap<String, TargetView>,
    /// By job, then target.
    jobs: HashMap<String, HashMap<String, JobLines>>,
    rounds: Numbers,
    workers: Numbers,
    /// The plan of each run read, and the number of its first round.
    runs: Vec<(u32, RequestsPlan)>,
}

#[derive(Debug, Default)]
struct JobLines {
    /// By round and number: a resumed run may have done a round again.
    requests: BTreeMap<(u32, u32), RequestView>,
    samples: Vec<SampleAnswer>,
    ends: BTreeMap<u32, JobLine>,
    n_lines: u32,
}

/// What the plan says of a job at a target.
struct PlannedJob<'a> {
    /// Rounds, of all runs that were to serve it.
    rounds: u32,
    runs: &'a [(u32, RequestsPlan)],
    /// To which its mean latency was to be known, and the most replicates for it, where some were added until then.
    precision: Option<(f64, u32)>,
    /// What became of it, where it was not to be served in any round.
    never_served: Option<Outcome>,
    /// Whether its rounds are served by several processes.
    in_processes: bool,
}

/// The plans of the runs that were to serve a job at a target.
fn plans_of<'a>(
    runs: &'a [(u32, RequestsPlan)],
    job: &'a str,
    target: &'a str,
) -> impl Iterator<Item = &'a RequestsPlan> {
    let serves = move |plan: &&RequestsPlan| {
        let is_there = plan.targets.iter().any(|t| t == target);
        is_there && plan.job_of(target, job).is_some() && plan.never_served(job, target).is_none()
    };
    runs.iter().map(|(_, plan)| plan).filter(serves)
}

/// Rounds in which runs were to serve a job at a target.
fn planned_rounds(runs: &[(u32, RequestsPlan)], job: &str, target: &str) -> u32 {
    let rounds = plans_of(runs, job, target).map(RequestsPlan::all_rounds);
    rounds.fold(0, u32::saturating_add)
}

/// The precision that all runs asked for which were to serve a job at a target: the coarsest, and the replicates of all.
fn precision(runs: &[(u32, RequestsPlan)], job: &str, target: &str) -> Option<(f64, u32)> {
    let all: Option<Vec<(f64, u32)>> = plans_of(runs, job, target)
        .map(|plan| plan.precision_of(job))
        .collect();
    let all = all?.into_iter();
    all.reduce(|(a, n), (b, m)| (a.max(b), n.saturating_add(m)))
}

impl PlannedJob<'_> {
    /// The run that served a round: its first round, and its plan.
    fn run_of(&self, round: u32) -> Option<&(u32, RequestsPlan)> {
        let n_begun = self.runs.partition_point(|(first, _)| *first <= round);
        self.runs.get(n_begun.checked_sub(1)?)
    }

    /// The worker process of a round, where there is to be more than one.
    fn process_of(&self, end: &JobLine) -> Option<u32> {
        end.worker.filter(|_| self.in_processes)
    }

    /// Whether a round is one of those that its run had planned.
    fn is_planned(&self, round: u32) -> bool {
        let run = self.run_of(round);
        run.is_some_and(|(first, plan)| round - first < plan.all_rounds())
    }

    /// What a round is an observation of.
    fn unit(&self, round: u32, worker: Option<u32>, is_own: bool) -> u32 {
        match self.run_of(round).filter(|(_, plan)| plan.is_replicated()) {
            // A worker that died, or a run that was resumed, makes no second process. Targets served in the same replicate are
            // pairs. A replicate has no higher number than its first round, so that runs read as one share none.
            Some((first, plan)) => first.saturating_add(plan.replicate_of(round - first)),
            None if is_own => worker.unwrap_or(0),
            // The same process serves a server's rounds, so its rounds are the units. They are counted down, so that a worker's
            // number is no pair of a round.
            None => u32::MAX - round,
        }
    }
}

impl RequestsCollector {
    /// The next lines are of another run: its rounds are further ones.
    pub(in crate::view) fn begin_run(&mut self) {
        self.rounds.begin_run();
        self.workers.begin_run();
    }

    /// The run that was begun last had this plan.
    pub(in crate::view) fn note_plan(&mut self, plan: &RequestsPlan) {
        self.runs.push((self.rounds.of(0), plan.clone()));
    }

    pub(in crate::view) fn note_target(&mut self, line: TargetLine) {
        let target = self.targets.entry(line.target.clone());
        let target = target.or_insert_with(|| TargetView::unknown(&line.target));
        if line.facts.is_none() {
            target.reason = line.reason;
        }
        let facts = match line.after {
            true => &mut target.after,
            false => &mut target.before,
        };
        *facts = line.facts.or(facts.take());
    }

    pub(in crate::view) fn note_request(&mut self, line: RequestLine) {
        let round = self.rounds.of(line.round);
        let lines = self.lines(line.job, line.target);
        let t = &line.timeline;
        if lines.samples.len() < MOST_SAMPLES && t.ending.is_whole() && !t.text.is_empty() {
            lines.samples.push(SampleAnswer {
                number: t.number,
                text: t.text.clone(),
            });
        }
        if lines.requests.contains_key(&(round, t.number)) {
            // A resumed run serves the round again: nothing of its first try is left.
            lines.requests.retain(|(of, _), _| *of != round);
            lines.ends.remove(&round);
        }
        let request = RequestView::of(round, t);
        lines.requests.insert((round, t.number), request);
    }

    pub(in crate::view) fn note_job(&mut self, mut line: JobLine) {
        let round = self.rounds.of(line.round);
        line.worker = line.worker.map(|worker| self.workers.of(worker));
        line.log = Vec::new();
        let lines = self.lines(line.job.clone(), line.target.clone());
        lines.ends.insert(round, line);
    }

    fn lines(&mut self, job: String, target: String) -> &mut JobLines {
        let targets = self.jobs.entry(job).or_default();
        let lines = targets.entry(target).or_default();
        lines.n_lines = lines.n_lines.saturating_add(1);
        lines
    }

    /// Nothing when there is neither a plan nor a line.
    pub(in crate::view) fn finish(mut self, plan: Option<&RequestsPlan>) -> Option<RequestsView> {
        if plan.is_none() && self.targets.is_empty() && self.jobs.is_empty() {
            return None;
        }
        let (jobs, targets) = plan.map_or((&[][..], &[][..]), |p| (&p.jobs[..], &p.targets[..]));
        let known = |name: &String| {
            let known = self.targets.remove(name);
            known.unwrap_or_else(|| TargetView::unknown(name))
        };
        let targets: Vec<TargetView> = targets.iter().map(known).collect();
        // A worker that died, or a run that was resumed, makes no second process of what was to be one.
        let in_processes = plan.is_some_and(RequestsPlan::is_replicated);
        let mut jobs_shown: Vec<JobView> = Vec::new();
        for job in jobs {
            let mut shown = Vec::new();
            let shared = Arc::new(job.clone());
            let mut of_job = self.jobs.remove(&job.name).unwrap_or_default();
            for target in &targets {
                let own = plan.and_then(|p| p.job_of(&target.name, &job.name));
                let own = match own {
                    Some(own) if own != job => Arc::new(own.clone()),
                    _ => Arc::clone(&shared),
                };
                let lines = of_job.remove(&target.name).unwrap_or_default();
                shown.push((own, target, lines));
            }
            self.jobs.insert(job.name.clone(), of_job);
            jobs_shown.extend(in_parts(shown, in_processes, plan, &self.runs));
        }
        let mut shown = jobs_shown;
        note_doubts(&mut shown);
        let left = self.jobs.into_values().flat_map(HashMap::into_values);
        Some(RequestsView {
            targets,
            base: plan.and_then(|p| p.base()).map(str::to_owned),
            jobs: shown,
            warnings: plan.map_or_else(Vec::new, |p| p.warnings.clone()),
            n_comparisons: plan
                .filter(|p| p.most_pairs.is_some())
                .map(RequestsPlan::n_comparisons),
            n_strays: left.fold(0, |n, p| n.saturating_add(p.n_lines)),
        })
    }
}

/// A job at its targets, or each of its temperatures at them.
fn in_parts(
    shown: Vec<(Arc<Job>, &TargetView, JobLines)>,
    in_processes: bool,
    plan: Option<&RequestsPlan>,
    runs: &[(u32, RequestsPlan)],
) -> impl Iterator<Item = JobView> {
    let mut parts: Vec<Vec<JobView>> = Vec::new();
    for (job, target, lines) in shown {
        let planned = PlannedJob {
            rounds: planned_rounds(runs, &job.name, &target.name),
            runs,
            precision: precision(runs, &job.name, &target.name),
            never_served: plan
                .and_then(|p| p.never_served(&job.name, &target.name))
                .cloned(),
            in_processes,
        };
        let of_job = JobPart::all_of(&job);
        parts.resize_with(parts.len().max(of_job.len()), Vec::new);
        match of_job.iter().any(JobPart::is_part) {
            false => parts[0].push(lines.finish(job, target, &planned)),
            true => {
                for (part, own) in of_job.into_iter().zip(&mut parts) {
                    let lines = lines.of_part(&part);
                    own.push(lines.finish(Arc::new(part.job), target, &planned));
                }
            }
        }
    }
    parts.into_iter().flatten()
}

/// Notes what the figures of jobs hide, each job at a server beside the same one in-process.
fn note_doubts(jobs: &mut [JobView]) {
    let doubts = jobs.iter().map(|job| {
        let is_own = |j: &&JobView| j.is_in_process() && j.job.name == job.job.name;
        JobDoubt::all_of(job, jobs.iter().find(is_own))
    });
    let doubts: Vec<Vec<JobDoubt>> = doubts.collect();
    for (job, doubts) in jobs.iter_mut().zip(doubts) {
        job.doubts = doubts;
    }
}

impl TargetView {
    fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            before: None,
            after: None,
            reason: None,
        }
    }

    /// As it described itself, or as its name begins.
    fn kind(&self) -> Option<TargetKind> {
        if let Some(facts) = self.facts() {
            return Some(facts.kind);
        }
        let kind = self.name.split([':', '/']).next()?;
        match kind {
            IN_PROCESS => Some(TargetKind::InProcess),
            "ollama" => Some(TargetKind::Ollama),
            "openai" => Some(TargetKind::Openai),
            _ => None,
        }
    }
}

/// Each round that left something behind, in order. Whether it is whole is not known yet.
fn rounds(
    ends: &BTreeMap<u32, JobLine>,
    requests: &[RequestView],
    target: &TargetView,
    planned: &PlannedJob<'_>,
) -> Vec<Round> {
    let is_own = target.kind() == Some(TargetKind::InProcess);
    let mut numbers: Vec<u32> = ends.keys().copied().collect();
    numbers.extend(requests.iter().map(|r| r.round));
    numbers.sort_unstable();
    numbers.dedup();
    let round = |n: u32| {
        let end = ends.get(&n);
        let noise = end.map_or(&[][..], |end| &end.warnings);
        let times = end.map(|end| (end.started_ns, end.elapsed_ns));
        let process = end.and_then(|end| planned.process_of(end));
        Round {
            unit: planned.unit(n, end.and_then(|end| end.worker), is_own),
            is_planned: planned.is_planned(n),
            is_disturbed: noise.iter().any(HostWarning::is_disturbance),
            ..figures::round(n, process, requests, times)
        }
    };
    numbers.into_iter().map(round).collect()
}

impl JobLines {
    /// What is told of a part of the job, which had the time from when each of its requests was due to its end.
    fn of_part(&self, part: &JobPart) -> Self {
        let own = self.requests.iter().filter(|((_, n), _)| part.has(*n));
        let requests: BTreeMap<(u32, u32), RequestView> =
            own.map(|(key, request)| (*key, request.clone())).collect();
        let ends = self.ends.iter().map(|(round, end)| {
            let of_round = requests.range((*round, 0)..=(*round, u32::MAX));
            let elapsed_ns = of_round.map(|(_, r)| r.latency_ns()).sum();
            let of_round = self.requests.range((*round, 0)..=(*round, u32::MAX));
            let numbers: Vec<u32> = of_round.map(|((_, number), _)| *number).collect();
            let line = JobLine {
                elapsed_ns: end.elapsed_ns.map(|_| elapsed_ns),
                calls: calls_of(&end.calls, &numbers, part),
                ..end.clone()
            };
            (*round, line)
        });
        Self {
            samples: self
                .samples
                .iter()
                .filter(|s| part.has(s.number))
                .cloned()
                .collect(),
            ends: ends.collect(),
            n_lines: self.n_lines,
            requests,
        }
    }

    fn finish(self, job: Arc<Job>, target: &TargetView, planned: &PlannedJob<'_>) -> JobView {
        let mut requests: Vec<RequestView> = self.requests.into_values().collect();
        let rounds = rounds(&self.ends, &requests, target, planned);
        let process_of = |n: u32| planned.process_of(self.ends.get(&n)?);
        let rate = |of: fn(&Round) -> Option<f64>| {
            let values = rounds.iter().filter_map(|r| Some((r.process, of(r)?)));
            Estimate::over_rounds(&values.collect::<Vec<_>>())
        };
        let (tokens_per_s, requests_per_s) = (rate(|r| r.tokens_per_s), rate(|r| r.requests_per_s));
        let every: Vec<&RequestView> = requests.iter().collect();
        let figures = JobFigures::of(&job, &every, &process_of);
        let classes = classes(&job, &requests, &process_of);
        let unserved = self.ends.iter();
        let unserved = unserved.filter_map(|(round, end)| Some((*round, end.reason.clone()?)));
        let unserved: Vec<(u32, String)> = unserved.collect();
        let served = rounds.iter().filter(|r| r.elapsed_ns.is_some()).count();
        let (outcome, outcome_detail) = outcome::of(
            &figures,
            count(served),
            &unserved,
            planned.never_served.as_ref(),
        );
        let calls = Calls::of(self.ends.values());
        let n_ended = count(self.ends.len());
        let mut usage = UsageCollector::default();
        let mut disturbances = Disturbances::default();
        for end in self.ends.into_values() {
            if let Some(delta) = &end.usage {
                usage.note_repetition(delta, &[]);
            }
            if let Some(sampled) = end.sampled {
                usage.note_visit(sampled);
            }
            disturbances.note(&end.warnings);
        }
        let has_answer = |n| !job.prompts.is_empty() && job.prompt_of(n).answer.is_some();
        for request in &mut requests {
            request.gaps_ns = Vec::new();
            if !has_answer(request.number) {
                request.text = None;
            }
        }
        let mut job = JobView {
            target: target.name.clone(),
            kind: target.kind(),
            figures,
            estimates: HashMap::new(),
            classes,
            tokens_per_s,
            requests_per_s,
            calls,
            usage: usage.finish(&UsageFacts::default()),
            warnings: disturbances.warnings(n_ended, Repeated::Round),
            doubts: Vec::new(),
            outcome,
            outcome_detail,
            planned_rounds: planned.rounds,
            may_get_more: false,
            unserved,
            never_served: planned.never_served.clone(),
            samples: self.samples,
            rounds,
            requests,
            job,
        };
        for at in 0..job.rounds.len() {
            let round = job.rounds[at];
            job.rounds[at].is_whole = round.started_ns.is_some() && !job.is_cut(round.round);
        }
        job.note_rounds(planned.precision);
        job
    }
}

/// The decode calls of a part's requests, where one request is served after another: each begins with its prompt. None where the
/// calls do not tell which request they are of.
fn calls_of(calls: &[Call], numbers: &[u32], part: &JobPart) -> Vec<Call> {
    let begins = |at: usize| {
        calls[at].phase == Phase::Prefill && (at == 0 || calls[at - 1].phase != Phase::Prefill)
    };
    let starts: Vec<usize> = (0..calls.len()).filter(|at| begins(*at)).collect();
    if starts.len() != numbers.len() {
        return Vec::new();
    }
    let ends = starts.iter().skip(1).copied().chain([calls.len()]);
    let of_requests = starts.iter().zip(ends).zip(numbers);
    of_requests
        .filter(|(_, number)| part.has(**number))
        .flat_map(|((start, end), _)| calls[*start..end].iter().copied())
        .collect()
}

impl Calls {
    /// The calls of all rounds; none when there are none.
    fn of<'a>(ends: impl Iterator<Item = &'a JobLine>) -> Option<Self> {
        let mut all = Self::default();
        let (mut steps_ns, mut n_decoded) = (Vec::new(), 0_u64);
        for call in ends.flat_map(|end| &end.calls) {
            let step = call.step_ns();
            let phase_ns = match call.phase {
                Phase::Prefill => &mut all.prefill_ns,
                Phase::Decode => {
                    steps_ns.push(step as f64);
                    n_decoded = n_decoded.saturating_add(call.n_tokens.into());
                    &mut all.decode_ns
                }
                Phase::Mixed => &mut all.mixed_ns,
            };
            for (sum, more) in [
                (phase_ns, step),
                (&mut all.n, 1),
                (&mut all.build_ns, call.build_ns),
                (&mut all.engine_ns, call.engine_ns()),
                (&mut all.sample_ns, call.sample_ns),
            ] {
                *sum = sum.saturating_add(more);
            }
        }
        all.decode_step_ns = summary::median(&steps_ns);
        let n_steps = steps_ns.len();
        all.decode_n_seq = (n_steps > 0).then(|| n_decoded as f64 / n_steps as f64);
        (all.n > 0).then_some(all)
    }
}

/// Figures by class, in the order in which the job's prompts have them.
fn classes(job: &Job, requests: &[RequestView], process_of: ProcessOf<'_>) -> Vec<ClassView> {
    let mut names: Vec<&str> = Vec::new();
    for prompt in &job.prompts {
        if !names.contains(&prompt.class.as_str()) {
            names.push(&prompt.class);
        }
    }
    let figures = |class: &str| {
        let is_of = |r: &&RequestView| job.prompt_of(r.number).class == class;
        let own: Vec<&RequestView> = requests.iter().filter(is_of).collect();
        JobFigures::of(job, &own, process_of)
    };
    let view = |class: &str| ClassView {
        class: class.to_owned(),
        figures: figures(class),
    };
    names.into_iter().map(view).collect()
}
