//! The kinds of evidence that a run's own cells give: what each saw, and what that leaves possible.

use super::Bound::{Compute, Host, KvCache, Sampling, Weights};
use super::{BOUNDS_FROM, Evidence, Kind, MOST_RESIDUAL, NOT_UP_TO};
use crate::analysis::Line;
use crate::analysis::curve::{Along, Curve, curves, is_measured};
use crate::metric::Metric;
use crate::plan::Case;
use crate::units;
use crate::view::{CellView, RunView};

fn step(cell: &CellView) -> Option<f64> {
    cell.median_step_ns().map(|ns| ns as f64)
}

/// The step's own spans: what this program and sampling take of it.
pub(super) fn by_spans(cell: &CellView) -> Option<Evidence> {
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
    Some(Evidence {
        kind: Kind::Spans,
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
pub(super) fn by_batch(view: &RunView, cell: &CellView) -> Option<Evidence> {
    let all = curves(view, Along::Batch);
    let curve = curve_of(&all, cell)?;
    let points = points(curve, |c| f64::from(c.case.n_seq));
    let line = Line::through(&points)?;
    let fixed = line.a / line.at(f64::from(cell.case.n_seq));
    let explains = line.residual <= MOST_RESIDUAL;
    let leaves = match fixed {
        _ if !explains => Vec::new(),
        f if f >= BOUNDS_FROM => vec![Weights, Host],
        f if f <= NOT_UP_TO => vec![Compute, KvCache, Sampling],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Batch,
        leaves,
        explains,
        text: format!(
            "over {} batches the step is {} + {} a sequence, every point within {}{}; at batch {} the first part is {} of it",
            points.len(),
            units::duration(line.a.round() as u64),
            units::duration(line.b.round() as u64),
            units::percent(line.residual),
            if explains {
                ""
            } else {
                ", which is too far off to build on"
            },
            cell.case.n_seq,
            units::percent(fixed),
        ),
    })
}

/// Step against the bytes that a step reads, over files of one shape.
pub(super) fn by_bytes(view: &RunView, cell: &CellView) -> Option<Evidence> {
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
    let line = Line::through(&points)?;
    let explains = line.residual <= MOST_RESIDUAL;
    let share = 1.0 - line.a / line.at(bytes(cell)?);
    let leaves = match share {
        _ if !explains => Vec::new(),
        s if s >= BOUNDS_FROM => vec![Weights],
        s if s <= NOT_UP_TO => vec![Compute, KvCache, Host, Sampling],
        _ => Vec::new(),
    };
    let rate = if line.b > 0.0 {
        format!("{} GB/s", units::significant(1.0 / line.b))
    } else {
        "no visible rate".to_owned()
    };
    Some(Evidence {
        kind: Kind::Bytes,
        leaves,
        explains,
        text: format!(
            "over {} files of this shape the step grows with the bytes read at {rate}, every point within {}{}; here that is {} of it",
            points.len(),
            units::percent(line.residual),
            if explains {
                ""
            } else {
                ", which is too far off to build on"
            },
            units::percent(share),
        ),
    })
}

/// Step against cached tokens, along the generation of the cell itself.
pub(super) fn by_context(cell: &CellView) -> Option<Evidence> {
    const FEWEST: usize = 16;
    let along = cell.steps.along();
    if along.len() < FEWEST {
        return None;
    }
    let points: Vec<(f64, f64)> = along
        .iter()
        .map(|s| (f64::from(s.n_past), s.median_ns))
        .collect();
    let line = Line::through(&points)?;
    let (first, last) = (along.first()?.n_past, along.last()?.n_past);
    let middle = f64::from(first).midpoint(f64::from(last));
    // A context that hardly grew tells nothing of its cost.
    let grew = f64::from(last) >= 1.5 * f64::from(first.max(1));
    let explains = line.residual <= MOST_RESIDUAL;
    let share = 1.0 - line.a / line.at(middle);
    let leaves = match share {
        _ if !explains || !grew => Vec::new(),
        s if s >= BOUNDS_FROM => vec![KvCache],
        s if s <= NOT_UP_TO => vec![Weights, Compute, Host, Sampling],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Context,
        leaves,
        explains,
        text: format!(
            "from {first} to {last} cached tokens the step grows by {} a token, every point within {}{}; in the middle \
             the context is {} of it",
            units::duration(line.b.round() as u64),
            units::percent(line.residual),
            match (explains, grew) {
                (false, _) => ", which is too far off to build on",
                (true, false) => ", over too little growth to tell",
                (true, true) => "",
            },
            units::percent(share),
        ),
    })
}

/// Step against threads: arithmetic is shared out, memory bandwidth soon is not.
pub(super) fn by_threads(view: &RunView, cell: &CellView) -> Option<Evidence> {
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
    let leaves = match exponent {
        e if e >= BOUNDS_FROM => vec![Compute],
        e if e <= NOT_UP_TO => vec![Weights, KvCache, Host],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Threads,
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
