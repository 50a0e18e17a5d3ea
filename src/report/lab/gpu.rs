//! What a cell's GPUs did: share of the nameplate bandwidth, memory, power, heat. Energy has a table of its own.

use super::{Block, Grid, Places, or_na};
use crate::host::Gpu;
use crate::roofline::cost::{self, CallShape};
use crate::units;
use crate::view::{CellView, RunView};

/// Rows of the table; runs of many cells have all of it in cells.csv.
const MOST_ROWS: usize = 48;

/// A heading, a table and how to read it; nothing where no cell was computed on a GPU that was watched.
pub(super) fn blocks(view: &RunView, cells: &[&CellView]) -> Vec<Block> {
    let on_gpu: Vec<&CellView> = cells
        .iter()
        .copied()
        .filter(|c| c.usage.gpu.is_some() || c.usage.gpu_memory.is_some())
        .collect();
    if on_gpu.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading("GPU".to_owned()),
        Block::Table(table(view, &on_gpu)),
        Block::Text(reading(view, &on_gpu)),
    ]
}

fn table(view: &RunView, cells: &[&CellView]) -> Grid {
    let places = Places::of(view);
    let mut grid = places.grid(&[
        "MBU",
        "memory, free before",
        "used before",
        "model loaded",
        "peak",
        "power, by sensor",
        "temperature, highest",
        "clock, lowest",
        "held down by",
    ]);
    for cell in cells.iter().take(MOST_ROWS) {
        let gpu = cell.usage.gpu.as_ref();
        let memory = cell.usage.gpu_memory.unwrap_or_default();
        let bytes = |b: Option<u64>| or_na(b.map(units::bytes));
        let power = gpu.and_then(|g| g.power_mw);
        let temperature = gpu.and_then(|g| g.temperature_c);
        let clock = gpu.and_then(|g| g.sm_clock_hz);
        let mut row = places.row(cell);
        row.extend([
            or_na(nameplate_share(view, cell).map(units::percent)),
            bytes(memory.free_before_bytes),
            bytes(memory.used_before_bytes),
            bytes(memory.used_loaded_bytes),
            bytes(memory.used_peak_bytes),
            or_na(power.map(|mw| format!("{:.0} W", mw.mean as f64 / 1000.0))),
            or_na(temperature.map(|t| format!("{:.0} °C", t.max))),
            or_na(clock.map(|hz| format!("{} MHz", hz.min / 1_000_000))),
            match gpu.map(|g| g.throttle_reasons.join(", ")) {
                Some(reasons) if reasons.is_empty() => "nothing".to_owned(),
                Some(reasons) => reasons,
                None => or_na(None),
            },
        ]);
        grid.rows.push(row);
    }
    grid
}

/// Bytes that a step must read over the median step and the data sheet's bandwidth. `None` where a part of the layers is
/// elsewhere: their bytes are not read from this memory.
fn nameplate_share(view: &RunView, cell: &CellView) -> Option<f64> {
    let model = view.model(&cell.case.model)?;
    if cell.case.n_gpu_layers <= model.n_layer {
        return None;
    }
    let rate = device(view, cell)?.nameplate_bytes_per_s()?;
    let shape = CallShape::decode(cell.case.n_seq, cell.case.mid_past());
    let cost = cost::of(model, cell.case.kv_cache(), &shape);
    let seconds = cell.median_step_ns().filter(|ns| *ns > 0)? as f64 / 1e9;
    Some((cost.weight_bytes + cost.kv_used_bytes) / seconds / rate)
}

/// The first GPU that a cell is computed on: several are used one after the other.
fn device<'a>(view: &'a RunView, cell: &CellView) -> Option<&'a Gpu> {
    let (gpus, engine) = (&view.header.machine.gpus, &view.header.engine);
    let indices = gpus.indices_of(&engine.pci_ids_of(&cell.case.load_key()));
    let first = *indices.ok()?.first()?;
    gpus.devices.iter().find(|gpu| gpu.index == first)
}

fn reading(view: &RunView, cells: &[&CellView]) -> String {
    let mut text = String::from(
        "MBU: bytes of weights and KV cache that a step reads, over the step and the bandwidth that the device has by its \
         data sheet. Memory: in use by anybody, of all GPUs that the cell used; before the model was loaded, after, and at \
         most while the cell was measured. Power by the sensor, over the whole repetition, is a picture and no measurement.",
    );
    if let Some(rate) = cells
        .first()
        .and_then(|c| device(view, c)?.nameplate_bytes_per_s())
    {
        text.push_str(&format!(
            " Bandwidth by the data sheet: {} TB/s.",
            units::significant(rate / 1e12)
        ));
    }
    text
}
