//! The curve that the steps of a curve along the batch follow: chosen, drawn, and held against batches it has not seen.

use super::{CeilingsOf, step_ns};
use crate::analysis::choice::comparable;
use crate::analysis::curve::Curve;
use crate::model::ModelFacts;
use crate::plan::Case;
use crate::roofline::cost::{self, CallShape};
use crate::roofline::fit::{Batch, Fit, FitObservation, HeldOut, Input, choose, hold_out};
use crate::view::RunView;

/// Points of a drawn curve.
const N_POINTS: u32 = 40;

/// A curve of steps that was fitted rather than measured.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedCurve {
    pub label: String,
    pub fit: Fit,
    /// Whether there are enough batches to say that the form is right; otherwise it describes the data only.
    pub proven: bool,
    /// The batch at which a step takes twice as long as for one sequence.
    pub knee: Option<Batch>,
    /// Each measured batch but the smallest and the largest, predicted from the others.
    pub held_out: Vec<HeldOut>,
    /// Batch and tokens per second from the smallest to the largest measured batch.
    pub points: Vec<(f64, f64)>,
}

/// The fits of a run's comparable curves.
pub(super) fn fits(view: &RunView, ceilings: CeilingsOf<'_>) -> Vec<FittedCurve> {
    let curves = comparable(view);
    let fits = curves.iter().filter_map(|curve| {
        let model = view.model(&curve.case().model)?;
        fitted(curve, model, ceilings)
    });
    fits.collect()
}

fn fitted(curve: &Curve<'_>, model: &ModelFacts, ceilings: CeilingsOf<'_>) -> Option<FittedCurve> {
    let input = |batch: f64| input(curve.case(), batch, model, ceilings);
    let observed = |cell: &&crate::view::CellView| {
        Some(FitObservation {
            input: input(f64::from(cell.case.n_seq)),
            step_ns: cell.median_step_ns()? as f64,
        })
    };
    let data: Vec<FitObservation> = curve.cells.iter().filter_map(observed).collect();
    let choice = choose(&data)?;
    let (first, last) = (data.first()?.input.batch, data.last()?.input.batch);
    let held_out = data
        .iter()
        .map(|o| o.input.batch)
        .filter(|b| *b > first && *b < last && data.len() > 3)
        .filter_map(|batch| {
            let (_, rows) = hold_out(&data, &|i: &Input| i.batch == batch)?;
            rows.into_iter().next()
        })
        .collect();
    let way = |n: u32| f64::from(n) / f64::from(N_POINTS);
    let batches = (0..=N_POINTS).map(|n| first * (last / first).powf(way(n)));
    let points = batches.filter_map(|b| Some((b, b * 1e9 / choice.best.at(&input(b))?.ns)));
    Some(FittedCurve {
        label: curve.label.clone(),
        proven: choice.proven,
        knee: choice.best.knee(&input),
        held_out,
        points: points.collect(),
        fit: choice.best,
    })
}

/// What is known of a batch of a curve beforehand. Between whole batches it lies on the line between them.
fn input(case: &Case, batch: f64, model: &ModelFacts, ceilings: CeilingsOf<'_>) -> Input {
    let whole = |n_seq: f64| {
        let case = Case {
            n_seq: n_seq as u32,
            ..case.clone()
        };
        let shape = CallShape::decode(case.n_seq, case.mid_past());
        let cost = cost::of(model, case.kv_cache(), &shape);
        let kernels_ns = ceilings(&case).and_then(|c| step_ns(&case, model, c));
        (cost.bytes(), cost.flops(), kernels_ns)
    };
    let (below, above) = (batch.floor(), batch.ceil());
    let at = batch - below;
    let (a, b) = (whole(below), whole(above));
    let between = |a: f64, b: f64| a + (b - a) * at;
    Input {
        batch,
        bytes: between(a.0, b.0),
        flops: between(a.1, b.1),
        kernels_ns: a.2.zip(b.2).map(|(a, b)| between(a, b)),
    }
}
