//! From lines to cells: what is kept of a record while it is read.

mod doubts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::energy::EnergyFacts;
use super::estimate::Estimate;
use super::usage::{UsageCollector, UsageFacts};
use super::warning::Disturbances;
use super::{
    CellOutcome, CellView, Failure, Intervals, RepetitionTime, RunView, Steps, quality, requests,
};
use crate::host::EnergySource;
use crate::measure::steady::Steadiness;
use crate::metric::Metric;
use crate::plan::{Case, CaseId, LoadKey};
use crate::record::jsonl::{self, RecordError};
use crate::record::output::OutputLine;
use crate::record::{
    CellLine, EndLine, Line, LoadMemory, Outcome, Repetition, RunHeader, StoppedBy, WorkerLine,
};
use crate::stats::summary;
use crate::text::plural;

#[derive(Debug, Default)]
pub(super) struct Collector {
    /// By case, not by name: names leave out what equals the defaults of the version that wrote them.
    cells: HashMap<Case, CellLines>,
    /// Cells in the order they first appeared, for those that the plan does not have.
    seen: Vec<Case>,
    loads: HashMap<LoadKey, Loads>,
    /// Replicates each case was planned in, over all runs read.
    planned: HashMap<Case, u32>,
    workers: Numbers,
    replicates: Numbers,
    /// How each run read so far ended.
    ends: Vec<Option<EndLine>>,
    /// Of all that ended, nanoseconds.
    elapsed_ns: u64,
    requests: requests::RequestsCollector,
    quality: quality::QualityCollector,
    outputs: Vec<OutputLine>,
}

/// Numbers of processes, replicates or rounds: those of a run follow the ones of the runs read before it, so that no two
/// runs share one.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    offset: u32,
    next: u32,
}

impl Numbers {
    pub(super) fn begin_run(&mut self) {
        self.offset = self.next;
    }

    pub(super) fn of(&mut self, number: u32) -> u32 {
        let number = number.saturating_add(self.offset);
        self.next = self.next.max(number.saturating_add(1));
        number
    }
}

/// What loading a model took, in each process that loaded it so.
#[derive(Debug, Default)]
struct Loads {
    ns: Vec<u64>,
    rss_bytes: Vec<u64>,
    /// Of the first such process.
    gpu_memory: Option<LoadMemory>,
}

#[derive(Debug, Default)]
struct CellLines {
    case_id: Option<CaseId>,
    steps: Steps,
    n_repetitions: u32,
    repetitions: Vec<RepetitionTime>,
    n_ctx_seq: Option<u32>,
    /// By worker process.
    processes: BTreeMap<u32, ProcessFigures>,
    /// By replicate, the latest: a resumed run makes good for what failed before.
    visits: BTreeMap<Option<u32>, CellVisit>,
    context_ns: Vec<u64>,
    rss_bytes: Option<u64>,
    usage: UsageCollector,
    disturbances: Disturbances,
}

#[derive(Debug, Default)]
struct ProcessFigures {
    replicate: u32,
    /// One value a repetition.
    figures: HashMap<Metric, Vec<f64>>,
}

/// What a cell needs to know of the run.
#[derive(Debug)]
struct RunFacts {
    planned: u32,
    n_threads: u32,
    /// The fastest mean clock of a visit with as many threads.
    fastest_hz: Option<f64>,
    usage: UsageFacts,
}

#[derive(Debug)]
struct CellVisit {
    worker: Option<u32>,
    outcome: Outcome,
    steadiness: Option<Steadiness>,
    n_threads: Option<u32>,
}

impl Collector {
    /// Takes in a run, beside those read before.
    pub(super) fn read(&mut self, run: &Path) -> Result<RunHeader, RecordError> {
        self.ends.push(None);
        self.workers.begin_run();
        self.replicates.begin_run();
        self.requests.begin_run();
        let header = jsonl::read(run, |line| self.note(line))?;
        if let Some(plan) = &header.requests {
            self.requests.note_plan(plan);
        }
        let replicates = header.plan.protocol.replicates;
        for case in &header.plan.cases {
            let planned = self.planned.entry(case.clone()).or_default();
            *planned = planned.saturating_add(replicates);
        }
        Ok(header)
    }

    fn note(&mut self, line: Line) {
        // A line after an end is a resumed run's, which has not ended yet.
        let end = match line {
            Line::End(ref end) => Some(end.clone()),
            _ => None,
        };
        if let Some(last) = self.ends.last_mut() {
            if let Some(end) = &end {
                // What was measured before it was resumed took time too.
                self.elapsed_ns = self.elapsed_ns.saturating_add(end.elapsed_ns);
            }
            *last = end;
        }
        match line {
            Line::Run(_) | Line::End(_) => {}
            Line::Chunk(line) => self.quality.note_chunk(*line),
            Line::Quality(line) => self.quality.note_outcome(*line),
            Line::Output(line) => self.outputs.push(*line),
            Line::Target(line) => self.requests.note_target(*line),
            Line::Request(line) => self.requests.note_request(*line),
            Line::Job(line) => self.requests.note_job(*line),
            Line::Worker(line) => self.note_worker(*line),
            Line::Repetition(mut r) => {
                r.worker = self.workers.of(r.worker);
                r.replicate = self.replicates.of(r.replicate);
                self.cell(&r.case, &r.case_id).note_repetition(*r);
            }
            Line::Cell(mut c) => {
                c.worker = c.worker.map(|w| self.workers.of(w));
                c.replicate = c.replicate.map(|r| self.replicates.of(r));
                self.cell(&c.case, &c.case_id).note_visit(*c);
            }
        }
    }

    fn note_worker(&mut self, line: WorkerLine) {
        self.workers.of(line.worker);
        self.replicates.of(line.replicate);
        let loads = self.loads.entry(line.load).or_default();
        loads.ns.extend(line.load_ns);
        loads.rss_bytes.extend(line.rss_bytes);
        loads.gpu_memory = loads.gpu_memory.or(line.gpu_memory);
    }

    fn cell(&mut self, case: &Case, id: &CaseId) -> &mut CellLines {
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
        let cases = header.plan.cases.iter().chain(&self.seen);
        let cases: Vec<Case> = cases.filter(|case| shown.insert(*case)).cloned().collect();
        let fastest_hz = self.fastest_clocks();
        let mut cells: Vec<CellView> = cases
            .into_iter()
            .map(|case| {
                let loads = self.loads.get(&case.load_key());
                let energy = |s| EnergyFacts::of(s, &case, &header.engine, &header.machine);
                let planned = self.planned.get(&case).copied();
                let run = RunFacts {
                    planned: planned.unwrap_or(header.plan.protocol.replicates),
                    n_threads: case.n_threads,
                    fastest_hz: fastest_hz.get(&case.n_threads).copied(),
                    usage: UsageFacts {
                        gpu: energy(EnergySource::Gpu),
                        cpu: energy(EnergySource::Cpu),
                        loading: loads.and_then(|l| l.gpu_memory),
                    },
                };
                let lines = self.cells.remove(&case).unwrap_or_default();
                lines.finish(case, loads.unwrap_or(&Loads::default()), run)
            })
            .collect();
        super::cell::add_speedups(&mut cells);
        super::cell::note_imprecise(&mut cells, &header.plan.protocol);
        RunView {
            record,
            requests: self.requests.finish(header.requests.as_ref()),
            quality: self
                .quality
                .finish(header.quality.as_ref(), &header.plan.models),
            header,
            also,
            cells,
            outputs: self.outputs,
            end: last_end(self.ends, self.elapsed_ns),
            price: None,
        }
    }

    /// By threads: a processor clocks the lower the more of its cores work.
    fn fastest_clocks(&self) -> HashMap<u32, f64> {
        let mut fastest: HashMap<u32, f64> = HashMap::new();
        for (case, cell) in &self.cells {
            for hz in cell.usage.clocks_hz() {
                let most = fastest.entry(case.n_threads).or_insert(hz);
                *most = most.max(hz);
            }
        }
        fastest
    }
}

/// How runs read as one ended: at the last one's time, after `elapsed_ns` of all; none while one of them goes on.
fn last_end(ends: Vec<Option<EndLine>>, elapsed_ns: u64) -> Option<EndLine> {
    let ends: Vec<EndLine> = ends.into_iter().collect::<Option<_>>()?;
    let interrupted = ends.iter().any(|e| e.interrupted);
    let last = ends.into_iter().next_back()?;
    Some(EndLine {
        interrupted,
        elapsed_ns,
        ..last
    })
}

impl CellLines {
    fn note_repetition(&mut self, r: Repetition) {
        self.steps.note(r.worker, &r.calls);
        self.n_repetitions = self.n_repetitions.saturating_add(1);
        self.repetitions.extend(RepetitionTime::of(&r));
        let process = self.processes.entry(r.worker).or_default();
        process.replicate = r.replicate;
        let energy = r.usage.energy_of(EnergySource::of(&r.case));
        for &metric in Metric::ALL {
            let values = process.figures.entry(metric).or_default();
            values.extend(metric.measured_of(&r.timed(energy)));
        }
        self.usage.note_repetition(&r.usage, &r.calls);
        // The memory held just after it. The kernel's own peak would count the cells that the worker
        // measured before; within a repetition the engine allocates nothing.
        self.saw_memory(r.usage.rss_bytes);
        self.disturbances.note(&r.warnings);
    }

    fn note_visit(&mut self, c: CellLine) {
        if let Some(opened) = &c.opened {
            self.context_ns.push(opened.context_ns);
            self.n_ctx_seq = self.n_ctx_seq.max(Some(opened.n_ctx_seq));
            if let Some(memory) = opened.gpu_memory {
                self.usage.note_opened(memory);
            }
            self.saw_memory(opened.rss_bytes);
        }
        if let Some(usage) = c.usage {
            self.saw_memory(usage.rss_bytes.map(|rss| rss.max as u64));
            self.usage.note_visit(usage);
        }
        let visit = CellVisit {
            worker: c.worker,
            outcome: c.outcome,
            steadiness: c.opened.as_ref().map(|o| o.steadiness),
            n_threads: c.opened.and_then(|o| o.n_threads),
        };
        self.visits.insert(c.replicate, visit);
    }

    fn saw_memory(&mut self, bytes: Option<u64>) {
        self.rss_bytes = self.rss_bytes.max(bytes);
    }

    fn finish(self, case: Case, loads: &Loads, run: RunFacts) -> CellView {
        let (outcome, outcome_detail) = self.outcome();
        let step_ns = self.steps.times();
        let load = Estimate::of_single(&loads.ns);
        let context = Estimate::of_single(&self.context_ns);
        let is_measured = |v: &&CellVisit| matches!(v.outcome, Outcome::Measured { .. });
        CellView {
            case_id: self.case_id.clone().unwrap_or_else(|| case.id()),
            warnings: self.warnings(outcome, &step_ns, &run),
            failures: self.failures(),
            planned_replicates: run.planned,
            loaded_rss_bytes: Estimate::of_single(&loads.rss_bytes).map(Estimate::ns),
            n_ctx_seq: self.n_ctx_seq,
            n_processes: count(self.processes.len()),
            n_replicates: count(self.visits.values().filter(is_measured).count()),
            n_repetitions: self.n_repetitions,
            n_steps: self.steps.count(),
            stopped_by: self.stopped_by(),
            estimates: self.estimates(),
            decode_by_replicate: self.decode_by_replicate(),
            intervals: Intervals {
                load_ns: load.and_then(|e| e.interval),
                context_ns: context.and_then(|e| e.interval),
                ..self.steps.intervals(&step_ns)
            },
            step_ns,
            steps: self.steps,
            speedup: None,
            efficiency: None,
            peak_rss_bytes: self.rss_bytes,
            usage: self.usage.finish(&run.usage),
            load_ns: load.map(Estimate::ns),
            context_ns: context.map(Estimate::ns),
            repetitions: self.repetitions,
            outcome,
            outcome_detail,
            case,
        }
    }

    fn estimates(&self) -> HashMap<Metric, Estimate> {
        let of = |metric: Metric| {
            let values = |p: &ProcessFigures| p.figures.get(&metric).cloned().unwrap_or_default();
            let processes: Vec<Vec<f64>> = self.processes.values().map(values).collect();
            Some((metric, Estimate::of(&processes)?))
        };
        Metric::ALL.iter().copied().filter_map(of).collect()
    }

    fn decode_by_replicate(&self) -> BTreeMap<u32, f64> {
        let mut rates: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for process in self.processes.values() {
            let values = process.figures.get(&Metric::DecodeTokensPerS);
            let all = rates.entry(process.replicate).or_default();
            all.extend(values.into_iter().flatten());
        }
        let median =
            |(replicate, values): (u32, Vec<f64>)| Some((replicate, summary::median(&values)?));
        rates.into_iter().filter_map(median).collect()
    }

    fn outcome(&self) -> (CellOutcome, String) {
        let n = self.n_repetitions;
        let outcomes = || self.visits.values().map(|v| &v.outcome);
        // Of equally grave ones the last replicate's.
        let (word, text) = match outcomes().max_by_key(|o| gravity(o)) {
            Some(Outcome::Measured { .. }) => {
                let processes = plural(count(self.processes.len()), "process", "processes");
                let times = plural(n, "time", "times");
                let stopped_by = self.stopped_by().map(|s| format!(", stopped by {s}"));
                let stopped_by = stopped_by.unwrap_or_default();
                let text = format!("measured {times} in {processes}{stopped_by}");
                return (CellOutcome::Measured, text);
            }
            Some(outcome) => (CellOutcome::of(outcome), outcome.to_string()),
            None if n > 0 => {
                let text = "interrupted: the run was cut off".to_owned();
                (CellOutcome::Interrupted, text)
            }
            None => (CellOutcome::Missing, "missing: not measured yet".to_owned()),
        };
        match outcomes().filter(|o| o.to_string() == text).count() {
            0 | 1 => (word, text),
            same => (word, format!("{text} (in {same} processes)")),
        }
    }

    fn failures(&self) -> Vec<Failure> {
        let visits = self.visits.iter();
        visits
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

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
