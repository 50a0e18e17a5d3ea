//! One side of a comparison: what a run's processes measured of each cell, in one metric.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::axis::{CellAxis, ComparedAxis};
use super::samples::{CellKey, RepetitionValue, SampleUnit, Samples};
use super::{CompareError, output};
use crate::host::{EnergySource, HostWarning};
use crate::measure::decode_steps_ns;
use crate::metric::{ChunkScores, Metric};
use crate::plan::Case;
use crate::record::jsonl::{self, RecordError};
use crate::record::output::OutputLine;
use crate::record::quality::QualityRole;
use crate::record::{Line, Outcome, RunHeader};
use crate::view::RunView;
use crate::view::quality::QualityCollector;
use crate::view::requests::JobView;

/// A run, or a slice of one.
#[derive(Debug, Clone)]
pub struct Side {
    /// The name of the run, and of the slice of it.
    pub label: String,
    /// The run's machine, engine and plan.
    pub header: RunHeader,
    /// The metric of its values.
    pub metric: Metric,
    /// The cells with at least one value, in the plan's order.
    pub cells: Vec<Samples>,
    /// The outputs that were checked, of a metric of cells.
    pub outputs: Vec<OutputLine>,
    /// Of quality cells: the largest mean of the floor's cells, which differ from the base by the engine's rounding alone.
    pub floor: Option<f64>,
}

fn floor_of(header: &RunHeader, cells: &[Samples]) -> Option<f64> {
    let planned = header.quality.iter().flat_map(|plan| &plan.cells);
    let floors = planned.filter(|cell| cell.role == QualityRole::Floor);
    let samples = floors.filter_map(|floor| cells.iter().find(|s| s.key.case == floor.case));
    samples.filter_map(Samples::mean).reduce(f64::max)
}

impl Side {
    /// Reads a run: its folder, or its record.
    ///
    /// # Errors
    /// The record's.
    pub fn read(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        if metric.is_of_quality() {
            return Self::read_quality(run, metric);
        }
        match metric.is_of_requests() {
            true => Self::read_requests(run, metric),
            false => Self::read_cells(run, metric),
        }
    }

    /// Quality cells: a chunk of the text is a replicate. It is computed without chance, so nothing disturbs its value.
    fn read_quality(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        let mut lines = QualityCollector::default();
        let header = jsonl::read(run, |line| match line {
            Line::Chunk(chunk) => lines.note_chunk(*chunk),
            Line::Quality(outcome) => lines.note_outcome(*outcome),
            _ => {}
        })?;
        let scores = header.quality.as_ref().map(|plan| lines.scores(plan));
        let samples = |(case, chunks): (Case, BTreeMap<u32, ChunkScores>)| {
            let mut samples = Samples::of(CellKey::of_case(&case));
            for (chunk, scores) in chunks {
                if let Some(value) = metric.of_chunk(&scores) {
                    samples.push(chunk, RepetitionValue::of(value, false));
                }
            }
            samples
        };
        let cells = scores.into_iter().flatten().map(samples);
        let cells: Vec<Samples> = cells.filter(|s| s.replicates().next().is_some()).collect();
        let floor = floor_of(&header, &cells);
        Ok(Self {
            label: header.run.clone(),
            header,
            metric,
            cells,
            outputs: Vec::new(),
            floor,
        })
    }

    fn read_cells(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        let mut cells: HashMap<Case, Samples> = HashMap::new();
        let mut seen: Vec<Case> = Vec::new();
        let mut outputs = Vec::new();
        let mut ends: Vec<(Case, Option<u32>, bool)> = Vec::new();
        let header = jsonl::read(run, |line| {
            let r = match line {
                Line::Repetition(r) => r,
                Line::Output(line) => return outputs.push(*line),
                Line::Cell(c) => {
                    let is_measured = matches!(c.outcome, Outcome::Measured { .. });
                    return ends.push((c.case, c.replicate, is_measured));
                }
                _ => return,
            };
            let energy = r.usage.energy_of(EnergySource::of(&r.case));
            let Some(value) = metric.of_repetition(&r.timed(energy)) else {
                return;
            };
            if !cells.contains_key(&r.case) {
                seen.push(r.case.clone());
            }
            let sample = RepetitionValue {
                value,
                is_disturbed: r.warnings.iter().any(HostWarning::is_disturbance),
                steps: (metric == Metric::StepNs && r.turns.is_some())
                    .then(|| (r.repetition, decode_steps_ns(&r.calls))),
            };
            let samples = cells
                .entry(r.case)
                .or_insert_with_key(|case| Samples::of(CellKey::of_case(case)));
            samples.push(r.replicate, sample);
        })?;
        for (case, replicate, is_measured) in ends {
            if let (Some(samples), Some(replicate)) = (cells.get_mut(&case), replicate) {
                samples.note_end(replicate, is_measured);
            }
        }
        let planned = header.plan.cases.iter().chain(&seen);
        let cells = planned.filter_map(|case| cells.remove(case)).collect();
        Ok(Self {
            label: header.run.clone(),
            header,
            metric,
            cells,
            outputs,
            floor: None,
        })
    }

    /// Jobs of requests: a round is a repetition, a worker process a replicate; with one process, at a server every round is a unit.
    fn read_requests(run: &Path, metric: Metric) -> Result<Self, RecordError> {
        let RunView {
            header, requests, ..
        } = RunView::read(run)?;
        let jobs = requests.iter().flat_map(|requests| &requests.jobs);
        let plan = header.requests.as_ref();
        let samples = |job: &JobView| {
            let plan = plan?;
            let is_own = plan.is_in_process(&job.target);
            let mut key = CellKey::of_job(&job.job, plan.named(&job.target), &job.target);
            if let (Some(job), false) = (&mut key.job, is_own) {
                job.unit = match (plan.replicates, plan.rounds) {
                    (2.., 2..) => SampleUnit::Replicate,
                    _ => SampleUnit::Round,
                };
            }
            let mut samples = Samples::of(key);
            for (round, value) in job.values(metric) {
                samples.push(round.unit, RepetitionValue::of(value, round.is_disturbed));
            }
            let is_measured = samples.replicates().next().is_some();
            is_measured.then_some(samples)
        };
        let cells = jobs.filter_map(samples).collect();
        Ok(Self {
            label: header.run.clone(),
            header,
            metric,
            cells,
            outputs: Vec::new(),
            floor: None,
        })
    }

    /// Whether the run was to do work of the metric's kind.
    pub fn has_work(&self) -> bool {
        if self.metric.is_of_quality() {
            return self.header.quality.is_some();
        }
        match self.metric.is_of_requests() {
            true => self.header.requests.is_some(),
            false => !self.header.plan.cases.is_empty(),
        }
    }

    /// Whether replicates of the two are pairs: both are of one run, were measured in turns, or are chunks of the same text.
    pub fn is_paired_with(&self, other: &Self) -> bool {
        if self.metric.is_of_quality() {
            let text = |side: &Side| Some(side.header.quality.as_ref()?.text_sha256.clone());
            return text(self) == text(other);
        }
        fn identity(side: &Side) -> (&str, &str, &str) {
            let h = &side.header;
            let name = h.pair.as_ref().map_or(&h.run, |pair| &pair.id);
            (name, &h.started_at, &h.machine.fingerprint)
        }
        identity(self) == identity(other)
    }

    /// The cell of the other side of a pair, which may differ in the pair's axes.
    pub fn cell_beside(&self, key: &CellKey, axes: &[ComparedAxis]) -> Option<&Samples> {
        self.cells.iter().find(|cell| {
            let mut key = key.clone();
            for compared in axes {
                compared.axis.copy(&mut key, &cell.key);
            }
            key == cell.key
        })
    }

    /// The output of a cell's setting.
    pub fn output_of(&self, case: &Case) -> Option<&OutputLine> {
        output::output_of(&self.outputs, case)
    }

    /// The cell of exactly this key.
    pub fn cell(&self, key: &CellKey) -> Option<&Samples> {
        self.cells.iter().find(|c| c.key == *key)
    }

    /// Every cell's key, in the order of the cells.
    pub fn keys(&self) -> impl Iterator<Item = &CellKey> + Clone {
        self.cells.iter().map(|c| &c.key)
    }

    /// Every cell's case.
    pub fn cases(&self) -> impl Iterator<Item = &Case> + Clone {
        self.keys().map(|key| &key.case)
    }

    /// The cells with the first (0) or the second (1) value of each axis that has values.
    ///
    /// # Errors
    /// [`CompareError::NoSuchValue`].
    pub fn slice(&self, axes: &[ComparedAxis], which: usize) -> Result<Self, CompareError> {
        let mut slice = self.clone();
        for ComparedAxis { axis, values } in axes {
            let Some(typed) = values.as_ref().map(|v| &v[which]) else {
                continue;
            };
            let known = axis.values(self.keys());
            let meant = axis.meant(typed, &known);
            let value = meant.as_ref().unwrap_or(typed);
            slice
                .cells
                .retain(|c| axis.value(&c.key).as_ref() == Some(value));
            for job in slice.cells.iter_mut().filter_map(|c| c.key.job.as_mut()) {
                // Both sides call the job alike: what tells them apart is in their labels.
                job.in_run = match axis {
                    CellAxis::Setting(_) => job.target.clone(),
                    CellAxis::Target => String::new(),
                };
            }
            if slice.cells.is_empty() {
                return Err(CompareError::NoSuchValue {
                    run: self.label.clone(),
                    axis: axis.name(),
                    value: value.clone(),
                    values: known.join(", "),
                });
            }
            slice.label = format!("{}, {} {value}", slice.label, axis.name());
        }
        Ok(slice)
    }
}
