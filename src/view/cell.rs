//! A cell, and what became of it.

use std::collections::{BTreeMap, HashMap};

use super::{CellEnergy, CellUsage, CellWarning, Estimate, RepetitionTime, Steps};
use crate::host::EnergySource;
use crate::metric::Metric;
use crate::plan::{Case, CaseId, KV_PAD, Protocol};
use crate::record::{Outcome, StoppedBy};
use crate::run::stop::LEVEL;
use crate::stats::{Interval, median_interval};

/// What became of a cell over all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellOutcome {
    /// Measured in at least one process.
    Measured,
    /// Never started: it would not fit.
    Skipped,
    Failed,
    Crashed,
    TimedOut,
    Interrupted,
    /// Planned, and nothing is recorded of it.
    Missing,
}

impl CellOutcome {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Measured { .. } => Self::Measured,
            Outcome::Skipped { .. } => Self::Skipped,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Crashed { .. } => Self::Crashed,
            Outcome::TimedOut { .. } => Self::TimedOut,
            Outcome::Interrupted => Self::Interrupted,
        }
    }

    /// The one word of machine-readable output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Missing => "missing",
        }
    }

    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Crashed | Self::TimedOut)
    }

    /// Whether resuming the run would try the cell again.
    pub fn can_be_resumed(self) -> bool {
        self.is_failure() || matches!(self, Self::Interrupted | Self::Missing)
    }
}

/// A process in which a cell was not measured as planned, and no later process of the same replicate
/// made good for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The replicate, from 0; none for a cell that was never started.
    pub replicate: Option<u32>,
    pub worker: Option<u32>,
    pub outcome: Outcome,
}

/// Decode step times over all repetitions and processes of a cell, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTimes {
    pub mean: Option<u64>,
    pub sd: Option<u64>,
    /// Percentiles to three significant figures; none where the steps are too few for them.
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
    pub max: Option<u64>,
    /// Tokens in the cache before the longest.
    pub max_n_past: Option<u32>,
    /// Steps at which the engine's view of the cache grew ([`Call::is_boundary`](crate::measure::Call::is_boundary)).
    pub n_boundary: u64,
}

impl StepTimes {
    /// Whether the longest step is such a one; none without a step.
    pub fn max_at_boundary(&self) -> Option<bool> {
        let n_past = self.max_n_past?;
        Some(n_past > 0 && n_past.is_multiple_of(KV_PAD))
    }
}

/// 95% intervals of a cell's figures. The units are processes; repetitions where there is one process. None where
/// there is too little for one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Intervals {
    /// Of the figure of this name, nanoseconds; processes alone are its units.
    pub load_ns: Option<Interval>,
    pub context_ns: Option<Interval>,
    /// Of a percentile of the steps: the units are the percentiles of single processes.
    pub p50: Option<Interval>,
    pub p90: Option<Interval>,
    pub p95: Option<Interval>,
    pub p99: Option<Interval>,
    /// Of the speed-up: the units are replicates, in which both cells were measured.
    pub speedup: Option<Interval>,
}

/// A cell and its figures. Each figure is computed from whatever repetitions are recorded, also of a cell
/// that failed later; `outcome` says what to make of them.
#[derive(Debug, Clone, PartialEq)]
pub struct CellView {
    pub case_id: CaseId,
    pub case: Case,
    pub outcome: CellOutcome,
    /// The same in words: `crashed: SIGABRT`.
    pub outcome_detail: String,
    /// Where it was not measured as planned.
    pub failures: Vec<Failure>,
    /// Processes with at least one repetition.
    pub n_processes: u32,
    /// Replicates in which it was to be measured.
    pub planned_replicates: u32,
    /// Replicates in which it was measured as planned; a resumed one may have had several processes.
    pub n_replicates: u32,
    /// Repetitions, over all processes.
    pub n_repetitions: u32,
    /// The time of each repetition, in the order of the record.
    pub repetitions: Vec<RepetitionTime>,
    pub steps: Steps,
    /// Decode steps, over all repetitions.
    pub n_steps: u64,
    /// What ended the measuring; where processes differ, the least satisfying: budget before the most
    /// repetitions before precision.
    pub stopped_by: Option<StoppedBy>,
    pub estimates: HashMap<Metric, Estimate>,
    pub intervals: Intervals,
    pub step_ns: StepTimes,
    /// Throughput over that of one sequence in the same case; none when that was not measured.
    pub speedup: Option<f64>,
    /// `speedup / n_seq`: 1 where batching is free.
    pub efficiency: Option<f64>,
    /// Memory of the worker after loading the model, before the cell's context: median over workers.
    pub loaded_rss_bytes: Option<u64>,
    /// KV cells each sequence really had.
    pub n_ctx_seq: Option<u32>,
    /// The most resident memory of a worker seen while this cell was open in it.
    pub peak_rss_bytes: Option<u64>,
    pub usage: CellUsage,
    pub load_ns: Option<u64>,
    pub context_ns: Option<u64>,
    /// What makes the figures deserve less trust, each once.
    pub warnings: Vec<CellWarning>,
    /// `decode_tokens_per_s` of each replicate: what pairs of cells are compared by.
    pub decode_by_replicate: BTreeMap<u32, f64>,
}

impl CellView {
    pub fn estimate(&self, metric: Metric) -> Option<Estimate> {
        self.estimates.get(&metric).copied()
    }

    /// A metric's value: the median over processes of each one's median over its repetitions.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        Some(self.estimates.get(&metric)?.value)
    }

    /// The same of a duration, in whole nanoseconds.
    pub fn ns(&self, metric: Metric) -> Option<u64> {
        Some(self.estimates.get(&metric)?.ns())
    }

    pub fn interval(&self, metric: Metric) -> Option<Interval> {
        self.estimates.get(&metric)?.interval
    }

    /// Generated tokens per second of all sequences together.
    pub fn decode_tokens_per_s(&self) -> Option<f64> {
        self.value(Metric::DecodeTokensPerS)
    }

    /// The same of one sequence.
    pub fn per_seq_tokens_per_s(&self) -> Option<f64> {
        let all = self.decode_tokens_per_s().filter(|_| self.case.n_seq > 0)?;
        Some(all / f64::from(self.case.n_seq))
    }

    pub fn median_step_ns(&self) -> Option<u64> {
        self.ns(Metric::StepNs)
    }

    /// Energy of the device that computes: the GPUs, or else the processor's packages.
    pub fn energy(&self) -> Option<&CellEnergy> {
        match EnergySource::of(&self.case) {
            EnergySource::Gpu => self.usage.gpu_energy.as_ref(),
            EnergySource::Cpu => self.usage.cpu_energy.as_ref(),
        }
    }

    /// Joules of that device per generated token.
    pub fn joules_per_token(&self) -> Option<f64> {
        self.energy()?.decode_j_per_token
    }

    /// Why the joules per token are unknown, where they are.
    pub fn energy_unknown(&self) -> Option<&str> {
        match EnergySource::of(&self.case) {
            EnergySource::Gpu => self.usage.gpu_energy_unknown.as_deref(),
            EnergySource::Cpu => self.usage.cpu_energy_unknown.as_deref(),
        }
    }
}

/// Speed-ups need all cells: each is compared with the one of a single sequence, otherwise equal.
pub(super) fn add_speedups(cells: &mut [CellView]) {
    let single: HashMap<Case, (f64, BTreeMap<u32, f64>)> = cells
        .iter()
        .filter(|c| c.case.n_seq == 1)
        .filter_map(|c| {
            let rates = (c.decode_tokens_per_s()?, c.decode_by_replicate.clone());
            Some((c.case.clone(), rates))
        })
        .collect();
    for cell in cells {
        let alone = Case {
            n_seq: 1,
            ..cell.case.clone()
        };
        let both = cell.decode_tokens_per_s().zip(single.get(&alone));
        cell.speedup = both.map(|(rate, (alone, _))| rate / alone);
        cell.intervals.speedup = both
            .zip(cell.speedup)
            .and_then(|((_, (_, alone)), speedup)| {
                // A replicate's cells ran close to each other, mostly in one process: they are pairs.
                let pairs = cell.decode_by_replicate.iter();
                let ratios: Vec<Vec<f64>> = pairs
                    .filter_map(|(replicate, rate)| Some(vec![rate / alone.get(replicate)?]))
                    .collect();
                Some(median_interval(&ratios, LEVEL)?.around(speedup))
            })
            .filter(|_| cell.n_processes > 1);
        cell.efficiency = cell
            .speedup
            .filter(|_| cell.case.n_seq > 0)
            .map(|s| s / f64::from(cell.case.n_seq));
    }
}

/// Where processes are added until a precision, the cells that did not reach it say so.
pub(super) fn note_imprecise(cells: &mut [CellView], protocol: &Protocol) {
    if protocol.max_replicates.is_none() || protocol.pair_tolerance.is_some() {
        return;
    }
    for cell in cells {
        let interval = cell.interval(Metric::StepNs);
        if let Some(half_width) = interval
            .and_then(|i| i.relative_half_width())
            .filter(|half_width| *half_width > protocol.precision)
        {
            cell.warnings.push(CellWarning::Imprecise {
                half_width,
                precision: protocol.precision,
            });
        }
    }
}
