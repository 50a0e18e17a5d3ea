//! The kinds of evidence that a run's own cells give: what each saw, and what that leaves possible.

use super::Bound::{Compute, Host, KvCache, Sampling, Weights};
use super::{BOUNDS_FROM, Bound, BoundEvidence, EvidenceKind, MOST_RESIDUAL, NOT_UP_TO};
use crate::analysis::FittedLine;
use crate::analysis::curve::{Along, Curve, curves, is_measured};
use crate::analysis::words::duration_ns;
use crate::metric::Metric;
use crate::plan::Case;
use crate::units;
use crate::view::{CellView, RunView};

fn step(cell: &CellView) -> Option<f64> {
    cell.median_step_ns().map(|ns| ns as f64)
}

/// What a share of the time leaves possible.
fn leaves(share: f64, where_large: &[Bound], where_small: &[Bound]) -> Vec<Bound> {
    match share {
        s if s >= BOUNDS_FROM => where_large.to_vec(),
        s if s <= NOT_UP_TO => where_small.to_vec(),
        _ => Vec::new(),
    }
}

/// A line through the time of a step, which is evidence where it is near the points.
struct StepLine {
    line: FittedLine,
    /// The points that it is near, in words.
    near: &'static str,
    explains: bool,
}

impl StepLine {
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let line = FittedLine::through(points)?;
        let explains = line.residual <= MOST_RESIDUAL;
        Some(Self {
            line,
            near: "every point",
            explains,
        })
    }

    /// Through nine of ten points. A step of many can be slow for a reason of its own: on a GPU the first ones of a generation are,
    /// because the engine records its graphs then.
    fn through_most(points: &[(f64, f64)]) -> Option<Self> {
        let first = FittedLine::through(points)?;
        let mut points = points.to_vec();
        points.sort_by(|p, q| first.distance(*p).total_cmp(&first.distance(*q)));
        points.truncate(points.len() - points.len() / 10);
        let fit = Self::through(&points)?;
        Some(Self {
            near: "nine of ten points",
            ..fit
        })
    }

    /// `every point within 3.1%`.
    fn residual(&self) -> String {
        let within = format!(
            "{} within {}",
            self.near,
            units::percent(self.line.residual)
        );
        match self.explains {
            true => within,
            false => within + ", which is too far off to conclude anything",
        }
    }

    fn evidence(&self, kind: EvidenceKind, leaves: Vec<Bound>, text: String) -> BoundEvidence {
        BoundEvidence {
            kind,
            leaves: if self.explains { leaves } else { Vec::new() },
            explains: self.explains,
            text,
        }
    }
}

/// The step's own spans: what this program and sampling take of it.
pub(super) fn by_spans(cell: &CellView) -> Option<BoundEvidence> {
    let parts = [
        Some(cell.ns(Metric::OverheadNs)?),
        cell.ns(Metric::EngineNs),
        cell.ns(Metric::SampleNs),
    ];
    let [build, engine, sample] = parts.map(|ns| ns.unwrap_or(0) as f64);
    // Medians of parts do not add up to the median of the whole.
    let whole = build + engine + sample;
    if whole <= 0.0 {
        return None;
    }
    let [build, engine, sample] = [build, engine, sample].map(|ns| ns / whole);
    let leaves = if build >= BOUNDS_FROM {
        vec![Host]
    } else if sample >= BOUNDS_FROM {
        vec![Sampling]
    } else if build + sample <= NOT_UP_TO {
        vec![Weights, Compute, KvCache, Host]
    } else {
        Vec::new()
    };
    Some(BoundEvidence {
        kind: EvidenceKind::Spans,
        leaves,
        explains: false,
        text: format!(
            "of the step the engine takes {}, choosing tokens {}, this program {}",
            units::percent(engine),
            units::percent(sample),
            units::percent(build)
        ),
    })
}

/// Step against batch: what is the same for every batch is read once; what grows belongs to each sequence.
pub(super) fn by_batch(view: &RunView, cell: &CellView) -> Option<BoundEvidence> {
    let all = curves(view, Along::Batch);
    let curve = curve_of(&all, cell)?;
    let points = points(curve, |c| f64::from(c.case.n_seq));
    let fit = StepLine::through(&points)?;
    let line = &fit.line;
    if !fit.explains
        && let Some(beside) = beside(&points, f64::from(cell.case.n_seq), &fit)
    {
        return Some(beside);
    }
    let fixed = line.a / line.at(f64::from(cell.case.n_seq));
    let text = format!(
        "over {} batches the step is {} + {} a sequence, {}; at batch {} the first part is {} of it",
        points.len(),
        duration_ns(line.a),
        duration_ns(line.b),
        fit.residual(),
        cell.case.n_seq,
        units::percent(fixed),
    );
    let leaves = leaves(fixed, &[Weights, Host], &[Compute, KvCache, Sampling]);
    Some(fit.evidence(EvidenceKind::Batch, leaves, text))
}

/// Step against batch where the whole curve is no line, since the engine's kernels change on the way: what a sequence adds
/// between this batch and those next to it. None where that concludes nothing.
fn beside(points: &[(f64, f64)], here: f64, fit: &StepLine) -> Option<BoundEvidence> {
    let at = points.iter().position(|(n_seq, _)| *n_seq == here)?;
    let (_, step) = points[at];
    let adds = |(n_seq, other): (f64, f64)| ((other - step) / (n_seq - here)).max(0.0);
    let below = at.checked_sub(1).map(|at| adds(points[at]));
    let above = points.get(at + 1).copied().map(adds);
    // The step grows faster with every batch, as a rule. So the slope below this batch is too small for it, and that above too large.
    let share = |adds: f64| adds * here / step;
    let (most, least) = (above.map(share), below.map(share));
    let leaves = if most.is_some_and(|s| s <= NOT_UP_TO) && least.is_none_or(|s| s <= NOT_UP_TO) {
        vec![Weights, Host]
    } else if least.is_some_and(|s| s >= BOUNDS_FROM) && most.is_none_or(|s| s >= BOUNDS_FROM) {
        vec![Compute, KvCache, Sampling]
    } else {
        return None;
    };
    let slopes: Vec<f64> = below.into_iter().chain(above).collect();
    let [low, high] = [f64::min, f64::max].map(|of| slopes.iter().copied().reduce(of));
    let (low, high) = (low?, high?);
    let range = |low: String, high: String| match low == high {
        true => low,
        false => format!("{low} to {high}"),
    };
    let [least_share, most_share] = [low, high].map(share);
    // The slope above the batch is of larger steps, so that its product can exceed the step here.
    let shares = match most_share > 1.0 {
        true => format!("{} or more", units::percent(least_share)),
        false => range(units::percent(least_share), units::percent(most_share)),
    };
    Some(BoundEvidence {
        kind: EvidenceKind::Batch,
        leaves,
        explains: false,
        text: format!(
            "over {} batches the step follows no line (up to {} off); next to batch {here} a sequence adds {}, so that its sequences \
             are {shares} of the step",
            points.len(),
            units::percent(fit.line.residual),
            range(duration_ns(low), duration_ns(high)),
        ),
    })
}

/// Step against the bytes that a step reads, over files of one shape.
pub(super) fn by_bytes(view: &RunView, cell: &CellView) -> Option<BoundEvidence> {
    let shape = |case: &Case| {
        let m = view.model(&case.model)?;
        Some((m.architecture.clone(), m.n_layer, m.n_embd, m.n_vocab))
    };
    let own = shape(&cell.case)?;
    let same = |other: &&CellView| {
        let mut case = other.case.clone();
        case.model.clone_from(&cell.case.model);
        case == cell.case && shape(&other.case).as_ref() == Some(&own)
    };
    let bytes = |c: &CellView| {
        view.model(&c.case.model)
            .map(|m| m.weight_bytes_per_step as f64)
    };
    let points: Vec<(f64, f64)> = view
        .cells
        .iter()
        .filter(|c| is_measured(c))
        .filter(same)
        .filter_map(|c| Some((bytes(c)?, step(c)?)))
        .collect();
    let fit = StepLine::through(&points)?;
    let line = &fit.line;
    let share = 1.0 - line.a / line.at(bytes(cell)?);
    let rate = if line.b > 0.0 {
        format!("{} GB/s", units::significant(1.0 / line.b))
    } else {
        "no visible rate".to_owned()
    };
    let text = format!(
        "over {} files of this shape the step grows with the bytes read at {rate}, {}; here that is {} of it",
        points.len(),
        fit.residual(),
        units::percent(share),
    );
    let leaves = leaves(share, &[Weights], &[Compute, KvCache, Host, Sampling]);
    Some(fit.evidence(EvidenceKind::Bytes, leaves, text))
}

/// Step against cached tokens, along the generation of the cell itself.
pub(super) fn by_context(cell: &CellView) -> Option<BoundEvidence> {
    const FEWEST: usize = 16;
    let along = cell.steps.along();
    if along.len() < FEWEST {
        return None;
    }
    let points: Vec<(f64, f64)> = along
        .iter()
        .map(|s| (f64::from(s.n_past), s.median_ns))
        .collect();
    let fit = StepLine::through_most(&points)?;
    let line = &fit.line;
    let (first, last) = (along.first()?.n_past, along.last()?.n_past);
    let middle = f64::from(first).midpoint(f64::from(last));
    // A context that hardly grew tells nothing of its cost.
    let grew = f64::from(last) >= 1.5 * f64::from(first.max(1));
    let share = 1.0 - line.a / line.at(middle);
    let text = format!(
        "from {first} to {last} cached tokens the step grows by {} a token, {}{}; in the middle the context is {} of it",
        duration_ns(line.b),
        fit.residual(),
        match fit.explains && !grew {
            true => ", over too little growth to tell",
            false => "",
        },
        units::percent(share),
    );
    let leaves = match grew {
        true => leaves(share, &[KvCache], &[Weights, Compute, Host, Sampling]),
        false => Vec::new(),
    };
    Some(fit.evidence(EvidenceKind::Context, leaves, text))
}

/// Step against threads: arithmetic is shared out, memory bandwidth soon is not.
pub(super) fn by_threads(view: &RunView, cell: &CellView) -> Option<BoundEvidence> {
    let all = curves(view, Along::Threads);
    let curve = curve_of(&all, cell)?;
    let cores = view.header.machine.cpu.available_cores;
    let here = cell.case.n_threads;
    let fewer = curve
        .cells
        .iter()
        .filter(|c| c.case.n_threads < here)
        .max_by_key(|c| c.case.n_threads)?;
    if cores.is_some_and(|n| here > n) {
        return None;
    }
    let gain = step(fewer)? / step(cell)?;
    let more = f64::from(here) / f64::from(fewer.case.n_threads);
    let exponent = gain.ln() / more.ln();
    let leaves = leaves(exponent, &[Compute], &[Weights, KvCache, Host]);
    Some(BoundEvidence {
        kind: EvidenceKind::Threads,
        leaves,
        explains: false,
        text: format!(
            "with {here} threads the step is {} times as fast as with {}",
            units::significant(gain),
            fewer.case.n_threads
        ),
    })
}

fn curve_of<'c, 'a>(curves: &'c [Curve<'a>], cell: &CellView) -> Option<&'c Curve<'a>> {
    let holds = |c: &&Curve<'a>| c.cells.iter().any(|c| c.case == cell.case);
    curves.iter().find(holds)
}

fn points(curve: &Curve<'_>, x: impl Fn(&CellView) -> f64) -> Vec<(f64, f64)> {
    let point = |c: &&CellView| Some((x(c), step(c)?));
    curve.cells.iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_first_steps_of_a_generation_do_not_hide_that_the_context_costs_nothing() {
        let slow_first = |n: u32| if n < 3 { 5_500.0 } else { 4_070.0 };
        let points: Vec<(f64, f64)> = (0..80)
            .map(|n| (f64::from(32 + n), slow_first(n)))
            .collect();
        let explains = |fit: Option<StepLine>| fit.is_some_and(|fit| fit.explains);
        assert!(!explains(StepLine::through(&points)));
        assert!(explains(StepLine::through_most(&points)));
    }
}
