//! From lines to jobs: what is kept of requests while a record is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::doubts::{self, JobDoubt};
use super::figures::{self, Kept};
use super::{Answer, Calls, ClassView, JobView, RequestsView, Round, Sent, TargetView};
use crate::host::HostWarning;
use crate::measure::{Call, Phase};
use crate::record::requests::{IN_PROCESS, JobLine, RequestLine, RequestsPlan, TargetLine};
use crate::request::{Job, TargetKind};
use crate::stats::summary;
use crate::view::usage::{UsageCollector, UsageFacts};
use crate::view::warning::keep_worst;

/// Answers that are kept of a job at a target.
const MOST_SAMPLES: usize = 3;

/// What is known so far.
#[derive(Debug, Default)]
pub(in crate::view) struct Collector {
    targets: HashMap<String, TargetView>,
    /// By job, then target.
    jobs: HashMap<String, HashMap<String, Pending>>,
    /// Rounds of the runs read before.
    offset: u32,
    /// The round after the last one of the run being read.
    next_round: u32,
    /// The same of worker processes.
    worker_offset: u32,
    next_worker: u32,
}

/// A job at a target so far.
#[derive(Debug, Default)]
struct Pending {
    /// By round and number: a resumed run may have done a round again.
    requests: BTreeMap<(u32, u32), Kept>,
    samples: Vec<Answer>,
    rounds: BTreeMap<u32, Ended>,
    n_lines: u32,
}

/// What a job's line says of a round.
#[derive(Debug, Default)]
struct Ended {
    worker: Option<u32>,
    started_ns: u64,
    elapsed_ns: Option<u64>,
    reason: Option<String>,
    calls: Calls,
    /// Steps of the calls that only decode.
    steps_ns: Vec<f64>,
    n_decoded: u64,
    usage: UsageCollector,
    warnings: Vec<HostWarning>,
}

impl Collector {
    /// The next lines are of another run: its rounds are further ones.
    pub(in crate::view) fn begin_run(&mut self) {
        self.offset = self.next_round;
        self.worker_offset = self.next_worker;
    }

    pub(in crate::view) fn note_target(&mut self, line: TargetLine) {
        let target = self.targets.entry(line.target.clone());
        let target = target.or_insert_with(|| unknown(&line.target));
        if line.facts.is_none() {
            target.reason = line.reason;
        }
        let place = if line.after {
            &mut target.after
        } else {
            &mut target.before
        };
        *place = line.facts.or(place.take());
    }

    pub(in crate::view) fn note_request(&mut self, line: RequestLine) {
        let round = self.round(line.round);
        let pending = self.pending(line.job, line.target);
        pending.n_lines = pending.n_lines.saturating_add(1);
        let t = &line.timeline;
        if pending.samples.len() < MOST_SAMPLES && t.ending.is_whole() && !t.text.is_empty() {
            pending.samples.push(Answer {
                number: t.number,
                text: t.text.clone(),
            });
        }
        let sent = Sent::of(round, t);
        let timed = if sent.came_at_once {
            &[]
        } else {
            &t.arrivals[..]
        };
        let kept = Kept {
            sent,
            gaps_ns: timed
                .windows(2)
                .map(|w| w[1].at_ns.saturating_sub(w[0].at_ns))
                .collect(),
        };
        if pending.requests.contains_key(&(round, t.number)) {
            // A resumed run serves the round again: nothing of its first try is left.
            pending.requests.retain(|(of, _), _| *of != round);
        }
        pending.requests.insert((round, t.number), kept);
    }

    pub(in crate::view) fn note_job(&mut self, mut line: JobLine) {
        let round = self.round(line.round);
        if let Some(worker) = &mut line.worker {
            *worker = worker.saturating_add(self.worker_offset);
            self.next_worker = self.next_worker.max(worker.saturating_add(1));
        }
        let pending = self.pending(line.job.clone(), line.target.clone());
        pending.n_lines = pending.n_lines.saturating_add(1);
        pending.rounds.insert(round, Ended::of(line));
    }

    fn round(&mut self, round: u32) -> u32 {
        let round = round.saturating_add(self.offset);
        self.next_round = self.next_round.max(round.saturating_add(1));
        round
    }

    fn pending(&mut self, job: String, target: String) -> &mut Pending {
        let targets = self.jobs.entry(job).or_default();
        targets.entry(target).or_default()
    }

    /// Nothing when there is neither a plan nor a line.
    pub(in crate::view) fn finish(mut self, plan: Option<&RequestsPlan>) -> Option<RequestsView> {
        if plan.is_none() && self.targets.is_empty() && self.jobs.is_empty() {
            return None;
        }
        let (jobs, targets) = plan.map_or((&[][..], &[][..]), |p| (&p.jobs[..], &p.targets[..]));
        let mut named: Vec<TargetView> = Vec::new();
        for name in targets {
            let known = self.targets.remove(name);
            named.push(known.unwrap_or_else(|| unknown(name)));
        }
        // A worker that died, or a run that was resumed, makes no second process of what was to be one.
        let in_processes = plan.is_some_and(|p| p.replicates > 1);
        let mut shown = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            let shared = Arc::new(job.clone());
            let mut of_job = self.jobs.remove(&job.name).unwrap_or_default();
            for target in &named {
                let own = plan.and_then(|p| p.jobs_of(&target.name).get(at));
                let own = match own {
                    Some(own) if own != job => Arc::new(own.clone()),
                    _ => Arc::clone(&shared),
                };
                let pending = of_job.remove(&target.name).unwrap_or_default();
                shown.push(pending.finish(own, target, in_processes));
            }
            self.jobs.insert(job.name.clone(), of_job);
        }
        doubt(&mut shown);
        let left = self.jobs.into_values().flat_map(HashMap::into_values);
        Some(RequestsView {
            targets: named,
            jobs: shown,
            warnings: plan.map_or_else(Vec::new, |p| p.warnings.clone()),
            n_strays: left.fold(0, |n, p| n.saturating_add(p.n_lines)),
        })
    }
}

/// Notes what the figures of jobs hide, each job at a server beside the same one in-process.
fn doubt(jobs: &mut [JobView]) {
    let found: Vec<Vec<JobDoubt>> = jobs
        .iter()
        .map(|job| {
            let is_own = |j: &&JobView| j.is_in_process() && j.job.name == job.job.name;
            doubts::of(job, jobs.iter().find(is_own))
        })
        .collect();
    for (job, found) in jobs.iter_mut().zip(found) {
        job.doubts = found;
    }
}

fn unknown(name: &str) -> TargetView {
    TargetView {
        name: name.to_owned(),
        before: None,
        after: None,
        reason: None,
    }
}

/// The kind that a target's name begins with, where it never described itself.
fn kind_of(target: &TargetView) -> Option<TargetKind> {
    if let Some(facts) = target.facts() {
        return Some(facts.kind);
    }
    match target.name.split([':', '/']).next()? {
        IN_PROCESS => Some(TargetKind::InProcess),
        "ollama" => Some(TargetKind::Ollama),
        "openai" => Some(TargetKind::Openai),
        _ => None,
    }
}

impl Ended {
    fn of(line: JobLine) -> Self {
        let mut ended = Self {
            worker: line.worker,
            started_ns: line.started_ns,
            elapsed_ns: line.elapsed_ns,
            reason: line.reason,
            warnings: line.warnings,
            ..Self::default()
        };
        for call in &line.calls {
            ended.note(call);
        }
        if let Some(delta) = &line.usage {
            ended.usage.note_repetition(delta, &[]);
        }
        if let Some(sampled) = line.sampled {
            ended.usage.note_visit(sampled);
        }
        ended
    }

    fn note(&mut self, call: &Call) {
        let calls = &mut self.calls;
        let step = call.step_ns();
        calls.n += 1;
        let place = if call.phase == Phase::Prefill {
            &mut calls.prefill_ns
        } else if call.phase == Phase::Decode {
            self.steps_ns.push(step as f64);
            self.n_decoded = self.n_decoded.saturating_add(call.n_tokens.into());
            &mut calls.decode_ns
        } else {
            &mut calls.mixed_ns
        };
        for (sum, more) in [
            (place, step),
            (&mut calls.build_ns, call.build_ns),
            (&mut calls.engine_ns, call.engine_ns()),
            (&mut calls.sample_ns, call.sample_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Pending {
    fn finish(self, job: Arc<Job>, target: &TargetView, in_processes: bool) -> JobView {
        let mut requests: Vec<Kept> = self.requests.into_values().collect();
        let has_answer = |number| !job.prompts.is_empty() && job.prompt_of(number).answer.is_some();
        for kept in &mut requests {
            kept.sent.text = kept
                .sent
                .text
                .take()
                .filter(|_| has_answer(kept.sent.number));
        }
        let mut numbers: Vec<u32> = self.rounds.keys().copied().collect();
        numbers.extend(requests.iter().map(|k| k.sent.round));
        numbers.sort_unstable();
        numbers.dedup();
        let process_of = |n: u32| self.rounds.get(&n)?.worker.filter(|_| in_processes);
        let round = |n: &u32| {
            let times = self.rounds.get(n).map(Ended::times);
            figures::round(*n, process_of(*n), &requests, times)
        };
        let rounds: Vec<Round> = numbers.iter().map(round).collect();
        let every: Vec<&Kept> = requests.iter().collect();
        let rate = |of: fn(&Round) -> Option<f64>| {
            let values = rounds.iter().filter_map(|r| Some((r.process, of(r)?)));
            let values: Vec<_> = values.collect();
            figures::over_rounds(&values)
        };
        let unserved = |(round, e): (&u32, &Ended)| Some((*round, e.reason.clone()?));
        let unserved = self.rounds.iter().filter_map(unserved).collect();
        let mut usage = UsageCollector::default();
        let mut warnings: Vec<HostWarning> = Vec::new();
        for ended in self.rounds.values() {
            usage.take_in(&ended.usage);
            for warning in &ended.warnings {
                let known = warnings.iter_mut().any(|worst| keep_worst(worst, warning));
                if !known {
                    warnings.push(warning.clone());
                }
            }
        }
        JobView {
            target: target.name.clone(),
            kind: kind_of(target),
            figures: figures::of(&job, &every, &process_of),
            classes: classes(&job, &requests, &process_of),
            tokens_per_s: rate(|r| r.tokens_per_s),
            requests_per_s: rate(|r| r.requests_per_s),
            calls: merged(self.rounds.values()),
            usage: usage.finish(&UsageFacts::default()),
            warnings,
            doubts: Vec::new(),
            unserved,
            samples: self.samples,
            rounds,
            requests: requests.into_iter().map(|k| k.sent).collect(),
            job,
        }
    }
}

impl Ended {
    fn times(&self) -> (u64, Option<u64>) {
        (self.started_ns, self.elapsed_ns)
    }
}

/// The calls of all rounds; none when there are none.
fn merged<'a>(rounds: impl Iterator<Item = &'a Ended>) -> Option<Calls> {
    let mut all = Calls::default();
    let (mut steps, mut decoded) = (Vec::new(), 0_u64);
    for ended in rounds {
        let c = &ended.calls;
        for (sum, more) in [
            (&mut all.n, c.n),
            (&mut all.prefill_ns, c.prefill_ns),
            (&mut all.decode_ns, c.decode_ns),
            (&mut all.mixed_ns, c.mixed_ns),
            (&mut all.build_ns, c.build_ns),
            (&mut all.engine_ns, c.engine_ns),
            (&mut all.sample_ns, c.sample_ns),
            (&mut decoded, ended.n_decoded),
        ] {
            *sum = sum.saturating_add(more);
        }
        steps.extend_from_slice(&ended.steps_ns);
    }
    all.decode_step_ns = summary::median(&steps);
    all.decode_n_seq = (!steps.is_empty()).then(|| decoded as f64 / steps.len() as f64);
    (all.n > 0).then_some(all)
}

/// Figures by class, in the order in which the job's prompts have them.
fn classes(
    job: &Job,
    requests: &[Kept],
    process_of: &dyn Fn(u32) -> Option<u32>,
) -> Vec<ClassView> {
    let mut names: Vec<&str> = Vec::new();
    for prompt in &job.prompts {
        if !names.contains(&prompt.class.as_str()) {
            names.push(&prompt.class);
        }
    }
    if names.is_empty() {
        return Vec::new();
    }
    let of_class = |class: &str| -> Vec<&Kept> {
        let is_of = |k: &&Kept| job.prompt_of(k.sent.number).class == class;
        requests.iter().filter(is_of).collect()
    };
    names
        .into_iter()
        .map(|class| ClassView {
            class: class.to_owned(),
            figures: figures::of(job, &of_class(class), process_of),
        })
        .collect()
}
