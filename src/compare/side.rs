//! One side of a comparison: what a run's processes measured of each cell, in one metric.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::CompareError;
use super::axis::ComparedAxis;
use super::samples::{Sample, Samples};
use crate::host::{EnergySource, HostWarning};
use crate::metric::{Answers, Metric};
use crate::plan::Case;
use crate::record::jsonl::{self, RecordError};
use crate::record::requests::JobLine;
use crate::record::{Line, RunHeader};
use crate::request::Ending;
use crate::run::in_process;
use crate::view::requests::RequestView;

/// A run, or a slice of one.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is called: the run, and the slice of it.
    pub label: String,
    /// The run's machine, engine and plan.
    pub header: RunHeader,
    /// What its figures are.
    pub metric: Metric,
    /// The cells of which there is at least one repetition, in the plan's order.
    pub cells: Vec<Samples>,
}

/// Durations of the whole answers among some requests.
fn answers<'a>(sent: impl Iterator<Item = &'a RequestView>) -> Answers {
    let mut answers = Answers::default();
    for sent in sent.filter(|s| s.is_answered()) {
        answers.latency_ns.push(sent.latency_ns() as f64);
        answers.ttft_ns.extend(sent.ttft_ns().map(|ns| ns as f64));
        answers.tpot_ns.extend(sent.tpot_ns);
    }
    answers
}

impl Side {
    /// Reads a run: its folder, or its record.
    ///
    /// # Errors
    /// The record's.
    pub fn read(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        match metric.is_of_requests() {
            true => Self::read_requests(run, metric),
            false => Self::read_cells(run, metric),
        }
    }

    fn read_cells(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        let mut cells: HashMap<Case, Samples> = HashMap::new();
        let mut seen: Vec<Case> = Vec::new();
        let header = jsonl::read(run, |line| {
            let Line::Repetition(r) = line else { return };
            let energy = r.usage.energy_of(EnergySource::of(&r.case));
            let Some(value) = metric.of(&r.case, &r.calls, energy) else {
                return;
            };
            if !cells.contains_key(&r.case) {
                seen.push(r.case.clone());
            }
            let sample = Sample {
                value,
                is_disturbed: r.warnings.iter().any(HostWarning::is_disturbance),
            };
            let samples = cells.entry(r.case).or_insert_with_key(Samples::none);
            samples.push(r.replicate, sample);
        })?;
        let planned = header.plan.cases.iter().chain(&seen);
        let cells = planned.filter_map(|case| cells.remove(case)).collect();
        Ok(Self {
            label: header.run.clone(),
            header,
            metric,
            cells,
        })
    }

    /// Jobs of requests: a round is a repetition, a worker process a replicate; of a server every round counts as one.
    fn read_requests(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        type Key = (String, String, u32);
        let mut rounds: HashMap<Key, BTreeMap<u32, RequestView>> = HashMap::new();
        let mut ended: HashMap<Key, JobLine> = HashMap::new();
        let header = jsonl::read(run, |line| match line {
            Line::Request(r) => {
                let sent = RequestView::of(r.round, &r.timeline);
                let round = rounds.entry((r.job, r.target, r.round)).or_default();
                if round.contains_key(&sent.number) {
                    // A resumed run serves the round again: nothing of its first try is left.
                    round.clear();
                }
                round.insert(sent.number, sent);
            }
            Line::Job(job) => {
                let key = (job.job.clone(), job.target.clone(), job.round);
                ended.insert(key, *job);
            }
            _ => {}
        })?;
        let mut cells: Vec<Samples> = Vec::new();
        if let Some(plan) = &header.requests {
            let pairs = plan.jobs.iter();
            for (job, target) in pairs.flat_map(|job| plan.targets.iter().map(move |t| (job, t))) {
                let mut samples = Samples::none(&job.case);
                samples.job = Some(format!("{} at {target}", job.name));
                for round in 0..plan.all_rounds() {
                    let key = (job.name.clone(), target.clone(), round);
                    let (Some(line), Some(sent)) = (ended.get(&key), rounds.get(&key)) else {
                        continue;
                    };
                    let is_cut = sent.values().any(|s| s.ending == Ending::Interrupted);
                    let whole = Some(sent).filter(|_| !is_cut && job.is_whole(sent.len()));
                    let Some(value) = whole.and_then(|s| metric.of_round(&answers(s.values())))
                    else {
                        continue;
                    };
                    let is_disturbed = line.warnings.iter().any(HostWarning::is_disturbance);
                    // A server's process is always the same one, and what it does is seen round by round.
                    let is_server = target != in_process::NAME;
                    let process = line.worker.unwrap_or(if is_server { round } else { 0 });
                    samples.push(
                        process,
                        Sample {
                            value,
                            is_disturbed,
                        },
                    );
                }
                if samples.replicates().next().is_some() {
                    cells.push(samples);
                }
            }
        }
        Ok(Self {
            label: header.run.clone(),
            header,
            metric,
            cells,
        })
    }

    /// Whether replicates of the two are pairs: both are of one run, or were measured in turns.
    pub fn is_paired_with(&self, other: &Self) -> bool {
        fn identity(side: &Side) -> (&str, &str, &str) {
            let h = &side.header;
            let name = h.pair.as_ref().map_or(&h.run, |pair| &pair.id);
            (name, &h.started_at, &h.machine.fingerprint)
        }
        identity(self) == identity(other)
    }

    /// The cell of a case of the other side of a pair, which may differ in the pair's axes.
    pub fn cell_beside(&self, case: &Case, axes: &[ComparedAxis]) -> Option<&Samples> {
        self.cells.iter().find(|cell| {
            let mut case = case.clone();
            for compared in axes {
                compared.axis.copy(&mut case, &cell.case);
            }
            case == cell.case
        })
    }

    /// The cell of exactly this case.
    pub fn cell(&self, case: &Case) -> Option<&Samples> {
        self.cells.iter().find(|c| c.case == *case)
    }

    /// Every case.
    pub fn cases(&self) -> impl Iterator<Item = &Case> + Clone {
        self.cells.iter().map(|c| &c.case)
    }

    /// The cells with the first (0) or the second (1) value of each axis that has values.
    ///
    /// # Errors
    /// [`CompareError::NoSuchValue`].
    pub fn slice(&self, axes: &[ComparedAxis], which: usize) -> Result<Self, CompareError> {
        let mut slice = self.clone();
        for ComparedAxis { axis, values } in axes {
            let Some(value) = values.as_ref().map(|v| &v[which]) else {
                continue;
            };
            slice.cells.retain(|c| axis.value(&c.case) == *value);
            if slice.cells.is_empty() {
                return Err(CompareError::NoSuchValue {
                    run: self.label.clone(),
                    axis: axis.name(),
                    value: value.clone(),
                    values: axis.values(self.cases()).join(", "),
                });
            }
            slice.label = format!("{}, {} {value}", slice.label, axis.name());
        }
        Ok(slice)
    }
}
