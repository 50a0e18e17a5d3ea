//! One side of a comparison: what a run's processes measured of each cell, in one metric.

use std::collections::HashMap;
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
use crate::view::requests::Sent;

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
        let mut rounds: HashMap<(String, String, u32), Answers> = HashMap::new();
        let mut ended: Vec<JobLine> = Vec::new();
        let header = jsonl::read(run, |line| match line {
            Line::Request(r) => {
                let sent = Sent::of(r.round, &r.timeline);
                if sent.is_answered() {
                    let round = rounds.entry((r.job, r.target, r.round)).or_default();
                    round.latency_ns.push(sent.latency_ns() as f64);
                    round.ttft_ns.extend(sent.ttft_ns().map(|ns| ns as f64));
                    round.tpot_ns.extend(sent.tpot_ns);
                }
            }
            Line::Job(job) => ended.push(*job),
            _ => {}
        })?;
        let mut cells: Vec<Samples> = Vec::new();
        let plan = header.requests.iter();
        for (job, target) in plan.flat_map(|p| {
            p.jobs
                .iter()
                .flat_map(|j| p.targets.iter().map(move |t| (j, t)))
        }) {
            let mut samples = Samples::none(&job.case);
            samples.job = Some(format!("{} at {target}", job.name));
            for line in ended
                .iter()
                .filter(|l| l.job == job.name && l.target == *target)
            {
                let key = (line.job.clone(), line.target.clone(), line.round);
                let value = rounds
                    .get(&key)
                    .and_then(|answers| metric.of_round(answers));
                if let Some(value) = value {
                    let is_disturbed = line.warnings.iter().any(HostWarning::is_disturbance);
                    let process = line.worker.unwrap_or(line.round);
                    samples.push(
                        process,
                        Sample {
                            value,
                            is_disturbed,
                        },
                    );
                }
            }
            if samples.replicates().next().is_some() {
                cells.push(samples);
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
