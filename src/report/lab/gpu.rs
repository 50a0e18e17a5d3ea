//! What a cell's GPUs did: share of the nameplate bandwidth, energy, power, memory.

use super::{Block, Grid, Places, or_na};
use crate::host::Gpu;
use crate::plan::OwnGpus;
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
        .filter(|c| c.usage.gpu.is_some() || c.usage.gpu_energy.is_some())
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
        "joules/token",
        "above idle",
        "prompt J/token",
        "power",
        "memory",
        "clock, lowest",
        "held down by",
    ]);
    for cell in cells.iter().take(MOST_ROWS) {
        let (gpu, energy) = (cell.usage.gpu.as_ref(), cell.usage.gpu_energy);
        let joules = |j: Option<f64>| or_na(j.map(units::significant));
        let counted = energy.and_then(|e| e.decode_power_w);
        let sensed = gpu.and_then(|g| g.power_mw);
        let power = counted
            .map(|w| format!("{w:.0} W"))
            .or_else(|| sensed.map(|mw| format!("~{:.0} W", mw.mean as f64 / 1000.0)));
        let mut row = places.row(cell);
        row.extend([
            or_na(nameplate_share(view, cell).map(units::percent)),
            joules(energy.and_then(|e| e.decode_j_per_token)),
            joules(energy.and_then(|e| e.decode_j_per_token_above_idle)),
            joules(energy.and_then(|e| e.prefill_j_per_token)),
            or_na(power),
            or_na(
                gpu.and_then(|g| g.memory_used_bytes)
                    .map(|b| units::bytes(b.max)),
            ),
            or_na(
                gpu.and_then(|g| g.sm_clock_hz)
                    .map(|hz| format!("{} MHz", hz.min / 1_000_000)),
            ),
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
    let seconds = cell.median_step_ns.filter(|ns| *ns > 0)? as f64 / 1e9;
    Some((cost.weight_bytes + cost.kv_used_bytes) / seconds / rate)
}

fn device<'a>(view: &'a RunView, cell: &CellView) -> Option<&'a Gpu> {
    let devices = &view.header.machine.gpus.devices;
    match cell.case.load_key().own_gpus() {
        OwnGpus::None => None,
        OwnGpus::One(number) => devices.get(number as usize),
        OwnGpus::All => devices.get(cell.case.main_gpu as usize),
    }
}

fn reading(view: &RunView, cells: &[&CellView]) -> String {
    let idle = cells.iter().find_map(|c| c.usage.gpu_energy?.idle_power_w);
    let mut text = String::from(
        "MBU: bytes of weights and KV cache that a step reads, over the step and the bandwidth that the device has by its \
         data sheet. Joules per token: by the device's own energy counter while tokens were generated, of all sequences \
         together; n/a where generation was too short for the counter, which moves about every 100 ms. Power: of the same \
         counter; with ~ of the power sensor over the whole repetition, which is a picture and no measurement.",
    );
    if let Some(idle) = idle {
        text.push_str(&format!(
            " Above idle: less the {idle:.0} W that the device drew before the run."
        ));
    }
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
