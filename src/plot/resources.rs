//! Figures of what cells take: memory.

use super::batch::{at_batch, batches, of_all, series_of, shown};
use super::{Figure, FigureAxis, Mark, PlotPoint, Series};
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
        let said = format!("{} resident", units::bytes(bytes));
        Some(at_batch(curve, cell, bytes as f64 / MIB, &said))
    });
    let computed = series_of(&curves, |_, cell| {
        let bytes = computed_bytes(view, cell)? as f64;
        Some(PlotPoint::at(f64::from(cell.case.n_seq), bytes / MIB))
    });
    series.extend(computed.into_iter().map(|s| Series {
        name: format!("weights + KV, {}", s.name),
        mark: Mark::Dashed,
        ..s
    }));
    let caption = format!(
        "Points: the most resident memory of the worker. Dashed: weights and KV cache as the file's shape says; what \
         lies between is the engine's buffers and the program.{}",
        of_all(view, &curves)
    );
    let axes = (batches(&curves), FigureAxis::log("memory, MiB"));
    Figure::of("memory", "Memory against batch", caption, axes, series)
}

fn computed_bytes(view: &RunView, cell: &CellView) -> Option<u64> {
    let model = view.model(&cell.case.model)?;
    let weights = model.used_tensor_bytes();
    let with_kv = weights.checked_add(kv_bytes(view, cell)?)?;
    with_kv.checked_add(budget::state_bytes(&cell.case, model))
}
