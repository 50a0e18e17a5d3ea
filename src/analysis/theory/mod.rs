//! What is computed beside what is measured: bytes and FLOPs of each cell's step, what the machine's ceilings make of
//! them, and the curves that steps follow over the batch.
//!
//! Costs and curves need the record alone. Without ceilings of the machine nothing is expected of it, and a report
//! says which command measures them.

mod fitted;

use std::collections::HashMap;

use super::bottleneck::{Bound, BoundEvidence, EvidenceKind, MOST_RESIDUAL};
use super::curve::is_measured;
use crate::model::ModelFacts;
use crate::plan::forecast::method_error;
use crate::plan::{Case, CaseId};
use crate::roofline::ceiling::{Ceilings, Span};
use crate::roofline::cost::{self, CallShape, Cost};
use crate::roofline::kernel::Kernel;
use crate::roofline::predict::{KernelLimit, Prediction, predict};
use crate::roofline::work;
use crate::units;
use crate::view::{CellView, RunView};

pub(crate) use fitted::FittedCurve;

/// Share of the memory bandwidth from which on a step that mostly reads weights is bounded by the memory.
const MEMORY_BOUND: f64 = 0.5;

/// Everything that is computed rather than measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Theory {
    /// What the machine can do at best; none when that was never measured.
    pub ceilings: Option<Best>,
    /// The curves that steps follow, for curves along the batch with at least three batches.
    pub fits: Vec<FittedCurve>,
    /// What the cost model says of cells.
    pub cells: HashMap<CaseId, StepForecast>,
}

/// The best that the machine was seen to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Bytes read from memory per second.
    pub bytes_per_s: f64,
    /// Floating-point operations per second of a matrix kernel with many tokens.
    pub flops_per_s: f64,
}

/// What the cost model says of a cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepForecast {
    /// Bytes and FLOPs of the middle decode step.
    pub cost: Cost,
    /// That step by the ceilings.
    pub step: Option<Prediction>,
    /// The prefill likewise.
    pub ttft: Option<Span>,
    /// The ceilings for this cell's threads and weights.
    pub best: Option<Best>,
}

/// The ceilings of a cell's device and threads, where they are known.
pub type CeilingsOf<'a> = &'a dyn Fn(&Case) -> Option<&'a Ceilings>;

impl Theory {
    /// Of a run.
    pub fn of(view: &RunView, ceilings: CeilingsOf<'_>) -> Self {
        let measured = view.cells.iter().filter(|c| is_measured(c));
        let cells: HashMap<CaseId, StepForecast> = measured
            .filter_map(|cell| {
                let model = view.model(&cell.case.model)?;
                let expected = expect(&cell.case, model, ceilings(&cell.case));
                Some((cell.case_id.clone(), expected))
            })
            .collect();
        let best = cells.values().filter_map(|e| e.best);
        let best = best.reduce(|a, b| Best {
            bytes_per_s: a.bytes_per_s.max(b.bytes_per_s),
            flops_per_s: a.flops_per_s.max(b.flops_per_s),
        });
        Self {
            ceilings: best,
            fits: fitted::fits(view, ceilings),
            cells,
        }
    }

    /// What is said of a cell.
    pub fn of_cell(&self, cell: &CellView) -> Option<&StepForecast> {
        self.cells.get(&cell.case_id)
    }

    /// Shares of the ceilings that a cell uses: MBU and MFU.
    pub fn utilisation(&self, cell: &CellView) -> Option<(f64, f64)> {
        let expected = self.of_cell(cell)?;
        let (best, ns) = (expected.best?, cell.median_step_ns()? as f64);
        let cost = &expected.cost;
        Some((
            cost.mbu(ns, best.bytes_per_s)?,
            cost.mfu(ns, best.flops_per_s)?,
        ))
    }

    /// What the ceilings say of a cell's bound.
    pub fn ceiling(&self, cell: &CellView) -> Option<BoundEvidence> {
        let step = self.of_cell(cell)?.step.as_ref()?;
        let actual = cell.median_step_ns()? as f64;
        let off = (step.total.ns / actual - 1.0).abs();
        let explains = off <= MOST_RESIDUAL;
        let used = self.utilisation(cell);
        let leaves = match step.limit {
            _ if !explains => Vec::new(),
            // Reading as fast as the kernels ever do is not yet reading as fast as the memory can: they may be busy unpacking.
            KernelLimit::WeightBandwidth if used.is_some_and(|(mbu, _)| mbu < MEMORY_BOUND) => {
                Vec::new()
            }
            KernelLimit::WeightBandwidth => vec![Bound::Weights],
            KernelLimit::Compute => vec![Bound::Compute],
            KernelLimit::Attention => vec![Bound::KvCache],
            KernelLimit::Glue => vec![Bound::Host],
            KernelLimit::Logits => vec![Bound::Sampling],
            // Neither rate is reached: the kernels are not made for this batch.
            KernelLimit::Kernels => Vec::new(),
        };
        let used = used.map_or(String::new(), |(mbu, mfu)| {
            format!(
                "; it uses {} of the memory bandwidth and {} of the arithmetic measured here",
                units::percent(mbu),
                units::percent(mfu)
            )
        });
        Some(BoundEvidence {
            kind: EvidenceKind::Ceiling,
            leaves,
            explains,
            text: format!(
                "timed one by one, the kernels of the step take {}, which is off by {}; most of it goes into {}{used}",
                units::duration(step.total.ns.round() as u64),
                units::percent(off),
                step.limit.words()
            ),
        })
    }
}

fn expect(case: &Case, model: &ModelFacts, ceilings: Option<&Ceilings>) -> StepForecast {
    let past = case.mid_past();
    let cost = cost::of(model, case.kv_cache(), &CallShape::decode(case.n_seq, past));
    let mut expected = StepForecast {
        cost,
        ..StepForecast::default()
    };
    let Some(ceilings) = ceilings else {
        return expected;
    };
    let geometry = case.geometry();
    let error = method_error(model);
    let decode = work::decode(model, &geometry, case.n_seq, past);
    let prefill = work::prefill(model, &geometry, case.n_seq, case.n_prompt, case.n_depth);
    expected.step = predict(ceilings, &decode, error);
    let has_ttft = case.n_prompt > 0 && case.sample;
    let prefill = predict(ceilings, &prefill, error).filter(|_| has_ttft);
    expected.ttft = prefill.map(|p| p.total);
    let matrices = decode.iter().map(|item| &item.point.kernel);
    let rates = matrices
        .filter(|k| matches!(k, Kernel::MatMul { .. } | Kernel::Experts { .. }))
        .filter_map(|k| Some(ceilings.flops_per_s(k)?.0));
    expected.best = ceilings.read.and_then(|read| {
        Some(Best {
            bytes_per_s: read.best_per_s,
            flops_per_s: rates.reduce(f64::max)?,
        })
    });
    expected
}

/// The decode step of a case by the ceilings, nanoseconds.
fn step_ns(case: &Case, model: &ModelFacts, ceilings: &Ceilings) -> Option<f64> {
    let items = work::decode(model, &case.geometry(), case.n_seq, case.mid_past());
    Some(ceilings.total(&items)?.ns)
}

#[cfg(test)]
mod tests;
