//! Figures of what cells take: memory.

use super::batch::{of_all, series_of, shown};
use super::{Axis, Figure, Mark, Point, Series};
use crate::analysis::curve::{Along, Curve};
use crate::plan::budget;
use crate::units;
use crate::view::{CellView, RunView};

const MIB: f64 = (1_u64 << 20) as f64;

/// Bytes that the KV cache of a cell takes, by the model's shape and the cells the engine really gave it.
pub fn kv_bytes(view: &RunView, cell: &CellView) -> Option<u64> {
    let model = view.model(&cell.case.model)?;
    let n_ctx_seq = cell.n_ctx_seq.unwrap_or_else(|| cell.case.n_ctx_seq());
    Some(budget::kv_bytes(&cell.case, model, n_ctx_seq))
}

/// Resident memory of the worker against the batch, with what weights and KV cache come to.
pub fn memory(view: &RunView) -> Option<Figure> {
    let curves = shown(view);
    let mut series = series_of(&curves, |curve, cell| {
        let bytes = cell.peak_rss_bytes?;
        let tip = format!(
            "{}, batch {}: {} resident",
            curve.label,
            cell.case.n_seq,
            units::bytes(bytes)
        );
        Some(Point::at(f64::from(cell.case.n_seq), bytes as f64 / MIB).saying(tip))
    });
    let computed: Vec<Series> = curves
        .iter()
        .enumerate()
        .map(|(look, curve)| computed(view, look, curve))
        .collect();
    series.extend(computed);
    Figure {
        id: "memory",
        title: "Memory against batch".to_owned(),
        caption: format!(
            "Points: the most resident memory of the worker. Dashed: weights and KV cache as the file's shape says; what \
             lies between is the engine's buffers and the program.{}",
            of_all(view, &curves)
        ),
        x: Axis::log("batch: sequences decoded together").at(batches(&curves)),
        y: Axis::log("memory, MiB"),
        series,
    }
    .unless_empty()
}

fn batches<'a>(curves: &'a [Curve<'_>]) -> impl Iterator<Item = f64> + 'a {
    let cells = curves.iter().flat_map(|c| &c.cells);
    cells.map(|c| f64::from(Along::Batch.of(&c.case)))
}

fn computed(view: &RunView, look: usize, curve: &Curve<'_>) -> Series {
    let point = |cell: &&CellView| {
        let model = view.model(&cell.case.model)?;
        let bytes = model
            .used_tensor_bytes()
            .checked_add(kv_bytes(view, cell)?)?
            .checked_add(budget::state_bytes(&cell.case, model))?;
        Some(Point::at(f64::from(cell.case.n_seq), bytes as f64 / MIB))
    };
    Series {
        name: format!("weights + KV, {}", curve.label),
        mark: Mark::Dashed,
        look,
        points: curve.cells.iter().filter_map(point).collect(),
    }
}
