//! What a cell's GPUs did: share of the nameplate bandwidth, memory, power, heat. Energy has a table of its own.

use super::{Block, cell_table, first_rows};
use crate::host::Gpu;
use crate::report::table::Table;
use crate::roofline::cost::{self, CallShape};
use crate::units;
use crate::view::usage::CellGpuMemory;
use crate::view::{CellView, RunView};

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

fn table(view: &RunView, cells: &[&CellView]) -> Table {
    let gpu = |c: &CellView| c.usage.gpu.clone().unwrap_or_default();
    let memory = |c: &CellView, of: fn(&CellGpuMemory) -> Option<u64>| {
        of(&c.usage.gpu_memory.unwrap_or_default()).map(units::bytes)
    };
    cell_table(view, first_rows(cells), |c| *c)
        .numbers("MBU", |c| nameplate_share(view, c).map(units::percent))
        .numbers("memory, free before", |c| {
            memory(c, |m| m.free_before_bytes)
        })
        .numbers("used before", |c| memory(c, |m| m.used_before_bytes))
        .numbers("model loaded", |c| memory(c, |m| m.used_loaded_bytes))
        .numbers("peak", |c| memory(c, |m| m.used_peak_bytes))
        .numbers("power, by sensor", |c| {
            let watts = |mw: u64| format!("{:.0} W", mw as f64 / 1000.0);
            gpu(c).power_mw.map(|mw| watts(mw.mean))
        })
        .numbers("temperature, highest", |c| {
            gpu(c).temperature_c.map(|t| format!("{:.0} °C", t.max))
        })
        .numbers("clock, lowest", |c| {
            gpu(c)
                .sm_clock_hz
                .map(|hz| format!("{} MHz", hz.min / 1_000_000))
        })
        .numbers("held down by", |c| {
            let reasons = c.usage.gpu.as_ref()?.throttle_reasons.join(", ");
            Some(if reasons.is_empty() {
                "nothing".to_owned()
            } else {
                reasons
            })
        })
        .table()
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
         data sheet. Memory: in use by all programs, on all GPUs of the cell: before the model was loaded, after it, and the \
         peak while the cell was measured. Power by the sensor: its mean over the whole repetition, for orientation only.",
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
