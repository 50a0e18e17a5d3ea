//! From lines to cells: what is kept of a record while it is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::figures::{RepetitionFigures, median_ns, ns};
use super::steps::Steps;
use super::usage::Sums;
use super::warning::keep_worst;
use super::{CellOutcome, CellView, CellWarning, Failure, RunView, StepTimes};
use crate::host::HostWarning;
use crate::measure::steady::Steadiness;
use crate::measure::{Call, Phase};
use crate::plan::{Case, CaseId, LoadKey};
use crate::record::jsonl::{self, RecordError};
use crate::record::{CellLine, EndLine, Line, Outcome, Repetition, RunHeader, StoppedBy};
use crate::run::stop::LEVEL;
use crate::stats::{Interval, median_interval, summary};
use crate::text::plural;

/// What is known of a run so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// By case, not by name: names leave out what equals the defaults of the version that wrote them.
    cells: HashMap<Case, Collected>,
    /// Cells in the order they first appeared, for those that the plan does not have.
    seen: Vec<Case>,
    load_ns: HashMap<LoadKey, Vec<u64>>,
    loaded_rss_bytes: HashMap<LoadKey, Vec<u64>>,
    /// Replicates each case was planned in, over all runs read.
    planned: HashMap<Case, u32>,
    /// What is added to the numbers of the run being read, so that no two runs share a process.
    offset: Offset,
    /// How each run read so far ended.
    ends: Vec<Option<EndLine>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Offset {
    worker: u32,
    replicate: u32,
}

/// What is known of a cell so far.
#[derive(Debug, Default)]
struct Collected {
    case_id: Option<CaseId>,
    steps: Steps,
    repetitions: Vec<RepetitionFigures>,
    /// By worker process.
    processes: BTreeMap<u32, Process>,
    /// By replicate, the latest: a resumed run makes good for what failed before.
    visits: BTreeMap<Option<u32>, Visit>,
    context_ns: Vec<u64>,
    rss_bytes: Option<u64>,
    usage: Sums,
    n_ctx_seq: Option<u32>,
    decode_by_replicate: BTreeMap<u32, Vec<f64>>,
    noise: Vec<(HostWarning, u32)>,
}

#[derive(Debug, Default)]
struct Process {
    decode_tokens_per_s: Vec<f64>,
    median_step_ns: Vec<f64>,
    prefill_ns: Vec<f64>,
}

#[derive(Debug)]
struct Visit {
    worker: Option<u32>,
    outcome: Outcome,
    steadiness: Option<Steadiness>,
}

impl Collector {
    /// Takes in a run, beside those read before.
    pub(super) fn read(&mut self, run: &Path) -> Result<RunHeader, RecordError> {
        self.ends.push(None);
        let mut most = Offset::default();
        let header = jsonl::read(run, |line| {
            let worker = match &line {
                Line::Worker(w) => Some(w.worker),
                Line::Repetition(r) => Some(r.worker),
                Line::Cell(c) => c.worker,
                Line::Run(_) | Line::End(_) => None,
            };
            most.worker = most.worker.max(worker.map_or(0, |w| w.saturating_add(1)));
            self.note(line);
        })?;
        let replicates = header.plan.protocol.replicates;
        for case in &header.plan.cases {
            let planned = self.planned.entry(case.clone()).or_default();
            *planned = planned.saturating_add(replicates);
        }
        self.offset.worker = self.offset.worker.saturating_add(most.worker);
        self.offset.replicate = self.offset.replicate.saturating_add(replicates);
        Ok(header)
    }

    fn note(&mut self, line: Line) {
        // A line after an end is a resumed run's, which has not ended yet.
        let end = match line {
            Line::End(ref end) => Some(end.clone()),
            _ => None,
        };
        if let Some(last) = self.ends.last_mut() {
            *last = end;
        }
        let offset = self.offset;
        match line {
            Line::Run(_) | Line::End(_) => {}
            Line::Worker(w) => {
                let memory = self.loaded_rss_bytes.entry(w.load.clone()).or_default();
                memory.extend(w.rss_bytes);
                let times = self.load_ns.entry(w.load).or_default();
                times.extend(w.load_ns);
            }
            Line::Repetition(mut r) => {
                r.worker = r.worker.saturating_add(offset.worker);
                r.replicate = r.replicate.saturating_add(offset.replicate);
                self.cell(&r.case, &r.case_id).note_repetition(*r);
            }
            Line::Cell(mut c) => {
                c.worker = c.worker.map(|w| w.saturating_add(offset.worker));
                c.replicate = c.replicate.map(|r| r.saturating_add(offset.replicate));
                self.cell(&c.case, &c.case_id).note_visit(*c);
            }
        }
    }

    fn cell(&mut self, case: &Case, id: &CaseId) -> &mut Collected {
        if !self.cells.contains_key(case) {
            self.seen.push(case.clone());
        }
        let cell = self.cells.entry(case.clone()).or_default();
        cell.case_id.get_or_insert_with(|| id.clone());
        cell
    }

    pub(super) fn finish(
        mut self,
        record: PathBuf,
        header: RunHeader,
        also: Vec<RunHeader>,
    ) -> RunView {
        let mut shown = HashSet::new();
        let mut cases: Vec<Case> = header
            .plan
            .cases
            .iter()
            .chain(&self.seen)
            .cloned()
            .collect();
        cases.retain(|case| shown.insert(case.clone()));
        let replicates = header.plan.protocol.replicates;
        let mut cells: Vec<CellView> = cases
            .into_iter()
            .map(|case| {
                let key = case.load_key();
                let median_of = |of: &HashMap<LoadKey, Vec<u64>>| {
                    of.get(&key).and_then(|values| median_ns(values))
                };
                let load = Load {
                    ns: median_of(&self.load_ns),
                    rss_bytes: median_of(&self.loaded_rss_bytes),
                };
                let planned = self.planned.get(&case).copied().unwrap_or(replicates);
                let collected = self.cells.remove(&case).unwrap_or_default();
                collected.finish(case, load, planned)
            })
            .collect();
        super::add_speedups(&mut cells);
        RunView {
            record,
            header,
            also,
            cells,
            end: last_end(self.ends),
        }
    }
}

/// What loading a cell's model took.
struct Load {
    ns: Option<u64>,
    rss_bytes: Option<u64>,
}

/// How runs read as one ended: the last one's time, and none while one of them goes on.
fn last_end(ends: Vec<Option<EndLine>>) -> Option<EndLine> {
    let ends: Vec<EndLine> = ends.into_iter().collect::<Option<_>>()?;
    let elapsed_ns = ends
        .iter()
        .fold(0_u64, |n, e| n.saturating_add(e.elapsed_ns));
    let interrupted = ends.iter().any(|e| e.interrupted);
    let last = ends.into_iter().next_back()?;
    Some(EndLine {
        interrupted,
        elapsed_ns,
        ..last
    })
}

impl Collected {
    fn note_repetition(&mut self, r: Repetition) {
        let decode = || r.calls.iter().filter(|c| c.phase == Phase::Decode);
        let first_past = decode().next().map_or(0, |c| c.n_past);
        self.steps.push(first_past, decode().map(Call::step_ns));
        self.usage.add(&r.usage);
        let figures = RepetitionFigures::of(&r.calls);
        self.repetitions.push(figures);
        let process = self.processes.entry(r.worker).or_default();
        process
            .decode_tokens_per_s
            .extend(figures.decode_tokens_per_s);
        process.median_step_ns.extend(figures.median_step_ns);
        process
            .prefill_ns
            .extend(figures.prefill_ns.map(|ns| ns as f64));
        let replicate = self.decode_by_replicate.entry(r.replicate).or_default();
        replicate.extend(figures.decode_tokens_per_s);
        // The memory held just after it. The kernel's own peak would count the cells that the worker
        // measured before; within a repetition the engine allocates nothing.
        self.saw_memory(r.usage.rss_bytes);
        for warning in r.warnings {
            let known = self
                .noise
                .iter_mut()
                .find_map(|(worst, n)| keep_worst(worst, &warning).then_some(n));
            match known {
                Some(n) => *n += 1,
                None => self.noise.push((warning, 1)),
            }
        }
    }

    fn note_visit(&mut self, c: CellLine) {
        if let Some(opened) = &c.opened {
            self.context_ns.push(opened.context_ns);
            self.n_ctx_seq = self.n_ctx_seq.max(Some(opened.n_ctx_seq));
            self.saw_memory(opened.rss_bytes);
        }
        let visit = Visit {
            worker: c.worker,
            outcome: c.outcome,
            steadiness: c.opened.map(|o| o.steadiness),
        };
        self.visits.insert(c.replicate, visit);
    }

    fn saw_memory(&mut self, bytes: Option<u64>) {
        self.rss_bytes = self.rss_bytes.max(bytes);
    }

    fn finish(self, case: Case, load: Load, planned: u32) -> CellView {
        let (outcome, outcome_detail) = self.outcome();
        let over_processes = |values: fn(&Process) -> &Vec<f64>| {
            let all: Vec<Vec<f64>> = self.processes.values().map(|p| values(p).clone()).collect();
            estimate(&all)
        };
        let decode = over_processes(|p| &p.decode_tokens_per_s);
        let decode_tokens_per_s = decode.map(|(rate, _)| rate);
        let decode_interval = decode.and_then(|(_, interval)| interval);
        let median_step = over_processes(|p| &p.median_step_ns);
        let median = |figure: fn(&RepetitionFigures) -> Option<f64>| {
            let values: Vec<f64> = self.repetitions.iter().filter_map(figure).collect();
            summary::median(&values)
        };
        let has_prompt = case.n_prompt > 0;
        let prefill_ns = median(|r| r.prefill_ns.map(|t| t as f64));
        let has_ttft = has_prompt && case.sample;
        let ttft_interval = over_processes(|p| &p.prefill_ns)
            .and_then(|(_, interval)| interval)
            .filter(|_| has_ttft);
        let medians = self.decode_by_replicate.iter();
        let decode_by_replicate = medians
            .filter_map(|(replicate, rates)| Some((*replicate, summary::median(rates)?)))
            .collect();
        CellView {
            case_id: self.case_id.clone().unwrap_or_else(|| case.id()),
            warnings: self.warnings(outcome, planned),
            failures: self.failures(),
            planned_replicates: planned,
            resources: self.usage.finish(),
            loaded_rss_bytes: load.rss_bytes,
            n_ctx_seq: self.n_ctx_seq,
            decode_by_replicate,
            n_processes: count(self.processes.len()),
            n_replicates: count(self.replicates_measured()),
            n_repetitions: count(self.repetitions.len()),
            n_steps: self.steps.all().len() as u64,
            stopped_by: self.stopped_by(),
            per_seq_tokens_per_s: decode_tokens_per_s
                .filter(|_| case.n_seq > 0)
                .map(|rate| rate / f64::from(case.n_seq)),
            decode_tokens_per_s,
            decode_interval,
            prefill_tokens_per_s: median(|r| r.prefill_tokens_per_s).filter(|_| has_prompt),
            step_ns: StepTimes::of(self.steps.all()),
            median_step_ns: median_step.map(|(step, _)| ns(step)),
            median_step_interval: median_step.and_then(|(_, interval)| interval),
            ttft_ns: prefill_ns.filter(|_| has_ttft).map(ns),
            ttft_interval,
            tpot_ns: median(|r| r.mean_step_ns).map(ns),
            overhead_ns: median(|r| r.overhead_ns).map(ns),
            engine_ns: median(|r| r.engine_ns).map(ns),
            sample_ns: median(|r| r.sample_ns).filter(|_| case.sample).map(ns),
            speedup: None,
            efficiency: None,
            peak_rss_bytes: self.rss_bytes,
            load_ns: load.ns,
            context_ns: median_ns(&self.context_ns),
            repetitions: self.repetitions,
            steps: self.steps,
            outcome,
            outcome_detail,
            case,
        }
    }

    fn replicates_measured(&self) -> usize {
        self.visits
            .values()
            .filter(|v| matches!(v.outcome, Outcome::Measured { .. }))
            .count()
    }

    fn outcome(&self) -> (CellOutcome, String) {
        let n = self.repetitions.len();
        let outcomes = || self.visits.values().map(|v| &v.outcome);
        // Of equally grave ones the last replicate's.
        let (word, text) = match outcomes().max_by_key(|o| gravity(o)) {
            Some(Outcome::Measured { .. }) => {
                let processes = plural(count(self.processes.len()), "process", "processes");
                let times = plural(count(n), "time", "times");
                let stopped_by = self.stopped_by().map(|s| format!(", stopped by {s}"));
                let stopped_by = stopped_by.unwrap_or_default();
                return (
                    CellOutcome::Measured,
                    format!("measured {times} in {processes}{stopped_by}"),
                );
            }
            Some(outcome) => (CellOutcome::of(outcome), outcome.to_string()),
            None if n > 0 => (
                CellOutcome::Interrupted,
                "interrupted: the run was cut off".to_owned(),
            ),
            None => (CellOutcome::Missing, "missing: not measured yet".to_owned()),
        };
        match outcomes().filter(|o| o.to_string() == text).count() {
            0 | 1 => (word, text),
            same => (word, format!("{text} (in {same} processes)")),
        }
    }

    fn failures(&self) -> Vec<Failure> {
        self.visits
            .iter()
            .filter(|(_, v)| !matches!(v.outcome, Outcome::Measured { .. }))
            .map(|(replicate, v)| Failure {
                replicate: *replicate,
                worker: v.worker,
                outcome: v.outcome.clone(),
            })
            .collect()
    }

    fn stopped_by(&self) -> Option<StoppedBy> {
        let reasons = self.visits.values().filter_map(|v| match v.outcome {
            Outcome::Measured { stopped_by, .. } => Some(stopped_by),
            _ => None,
        });
        reasons.max_by_key(|reason| match reason {
            StoppedBy::Precision => 0,
            StoppedBy::MaxRepetitions => 1,
            StoppedBy::Budget => 2,
        })
    }

    fn warnings(&self, outcome: CellOutcome, planned: u32) -> Vec<CellWarning> {
        if outcome != CellOutcome::Measured {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let opened = || self.visits.values().filter_map(|v| v.steadiness);
        let not_steady = opened().filter(|s| *s == Steadiness::NotSteady).count();
        if not_steady > 0 {
            warnings.push(CellWarning::NotSteady {
                processes: count(not_steady),
                of: count(opened().count()),
            });
        }
        let failures = self.failures();
        let mut by_cause: BTreeMap<String, u32> = BTreeMap::new();
        for failure in &failures {
            *by_cause.entry(failure.outcome.to_string()).or_default() += 1;
        }
        warnings.extend(
            by_cause
                .into_iter()
                .map(|(how, processes)| CellWarning::Failures {
                    how,
                    processes,
                    of: planned,
                }),
        );
        let measured = count(self.visits.len() - failures.len());
        if count(self.visits.len()) < planned {
            warnings.push(CellWarning::FewProcesses {
                processes: measured,
                of: planned,
            });
        }
        if self.repetitions.len() == 1 {
            warnings.push(CellWarning::SingleRepetition);
        } else if planned == 1 {
            warnings.push(CellWarning::OneProcess);
        }
        let of = count(self.repetitions.len());
        warnings.extend(self.noise.iter().map(|(worst, n)| CellWarning::Host {
            worst: worst.clone(),
            repetitions: *n,
            of,
        }));
        warnings
    }
}

/// Which of several processes' outcomes is a cell's: a measured one, else the worst.
fn gravity(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Measured { .. } => 5,
        Outcome::Crashed { .. } => 4,
        Outcome::TimedOut { .. } => 3,
        Outcome::Failed { .. } => 2,
        Outcome::Interrupted => 1,
        Outcome::Skipped { .. } => 0,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The median over processes of each one's median, and its interval where there is enough for one.
fn estimate(processes: &[Vec<f64>]) -> Option<(f64, Option<Interval>)> {
    let processes: Vec<Vec<f64>> = processes
        .iter()
        .filter(|p| !p.is_empty())
        .cloned()
        .collect();
    if let Some(interval) = median_interval(&processes, LEVEL) {
        return Some((interval.estimate, Some(interval)));
    }
    let medians: Vec<f64> = processes
        .iter()
        .filter_map(|p| summary::median(p))
        .collect();
    Some((summary::median(&medians)?, None))
}
