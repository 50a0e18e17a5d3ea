//! What records say of layers on devices.

use ggufbench::engine::log_report::EngineReport;
use ggufbench::record::{CellLine, Line};

/// Layers of the tiny model, without the output.
pub const N_LAYER: u32 = 2;

/// The cells' lines, in their order.
pub fn cells(lines: &[Line]) -> Vec<&CellLine> {
    let cells = lines.iter().filter_map(|line| match line {
        Line::Cell(cell) => Some(&**cell),
        _ => None,
    });
    cells.collect()
}

/// What loading said, worker by worker.
pub fn loaded(lines: &[Line]) -> Vec<(u32, &EngineReport)> {
    let workers = lines.iter().filter_map(|line| match line {
        Line::Worker(w) => Some((w.load.n_gpu_layers, w.found.as_ref().expect("logs"))),
        _ => None,
    });
    workers.collect()
}

/// Bytes of everything in places whose name holds this.
pub fn bytes(found: &EngineReport, place: &str) -> u64 {
    let there = found.buffers.iter().filter(|b| b.place.contains(place));
    there.map(|b| b.bytes).sum()
}
