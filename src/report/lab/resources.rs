//! What cells take: processor, memory, and how the time divides into prefill and decode.

use super::{Block, Grid, Places, energy, gpu, or_na};
use crate::analysis::FittedLine;
use crate::analysis::curve::is_measured;
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::budget;
use crate::plot::resources::kv_bytes;
use crate::stats::summary;
use crate::text::{plural, short};
use crate::units;
use crate::view::{CellView, RepetitionTime, RunView};

pub(super) fn blocks(view: &RunView) -> Vec<Block> {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    if measured.is_empty() {
        return vec![Block::Text("No cell was measured.".to_owned())];
    }
    let mut blocks = vec![
        Block::Heading("During the measurement".to_owned()),
        Block::Table(usage(view, &measured)),
        Block::Heading("Prefill and decode".to_owned()),
        Block::Table(phases(view, &measured)),
        Block::Heading("Memory".to_owned()),
        Block::List(growth(view, &measured)),
        Block::Table(memory_table(view, &measured)),
    ];
    blocks.extend(gpu::blocks(view, &measured));
    blocks.extend(energy::blocks(view, &measured));
    blocks
}

/// Rows of the tables here; runs of many cells have all of it in cells.csv.
const MOST_ROWS: usize = 48;

fn usage(view: &RunView, cells: &[&CellView]) -> Grid {
    let places = Places::of(view);
    let mut grid = places.grid(&[
        "CPU, mean",
        "others' CPU, mean",
        "memory, mean",
        "memory, peak",
        "requests/s",
        "tokens/s",
    ]);
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0);
    for cell in cells.iter().take(MOST_ROWS) {
        let busy = cell
            .usage
            .process_cpu_percent
            .map(|p| p.mean / 100.0)
            .zip(cores);
        let cpu = busy.map(|(busy, cores)| {
            let share = busy / f64::from(cores) * 100.0;
            format!("{share:.0}% of {}", plural(cores, "thread", "threads"))
        });
        let mut row = places.row(cell);
        row.extend([
            or_na(cpu),
            or_na(
                cell.usage
                    .others_cpu_percent
                    .map(|p| format!("{:.1}%", p.mean)),
            ),
            or_na(cell.usage.rss_bytes.map(|b| units::bytes(b.mean))),
            or_na(cell.peak_rss_bytes.map(units::bytes)),
            or_na(requests_per_s(cell).map(units::significant)),
            or_na(cell.decode_tokens_per_s().map(units::significant)),
        ]);
        grid.rows.push(row);
    }
    grid
}

/// Requests finished per second, prompts included.
fn requests_per_s(cell: &CellView) -> Option<f64> {
    let times: Vec<f64> = cell.repetitions.iter().map(|r| r.whole_ns as f64).collect();
    let ns = summary::median(&times).filter(|ns| *ns > 0.0)?;
    Some(f64::from(cell.case.n_seq) / ns * 1e9)
}

fn phases(view: &RunView, cells: &[&CellView]) -> Grid {
    let places = Places::of(view);
    let mut grid = places.grid(&[
        "prefill",
        "decode",
        "prefill's share",
        "prefill tokens/s",
        "decode tokens/s",
    ]);
    for cell in cells.iter().take(MOST_ROWS) {
        let times = |of: fn(&RepetitionTime) -> Option<u64>| {
            let ns: Vec<f64> = cell
                .repetitions
                .iter()
                .filter_map(of)
                .map(|ns| ns as f64)
                .collect();
            summary::median(&ns)
        };
        let prefill = times(|r| r.prefill_ns);
        let whole = times(|r| Some(r.whole_ns)).filter(|ns| *ns > 0.0);
        let decode = whole.map(|whole| whole - prefill.unwrap_or(0.0));
        let share = prefill.zip(whole).map(|(p, w)| p / w);
        let time = |ns: Option<f64>| or_na(ns.map(|ns| units::duration(ns.round() as u64)));
        let mut row = places.row(cell);
        row.extend([
            time(prefill),
            time(decode),
            or_na(share.map(units::percent)),
            or_na(
                cell.value(Metric::PrefillTokensPerS)
                    .map(units::significant),
            ),
            or_na(cell.decode_tokens_per_s().map(units::significant)),
        ]);
        grid.rows.push(row);
    }
    grid
}

fn memory_table(view: &RunView, cells: &[&CellView]) -> Grid {
    let places = Places::of(view);
    let mut grid = places.grid(&[
        "after loading",
        "peak",
        "weights",
        "KV cache, by shape",
        "the rest",
    ]);
    for cell in cells.iter().take(MOST_ROWS) {
        let model = view.model(&cell.case.model);
        let weights = model.map(ModelFacts::used_tensor_bytes);
        let state = model.map_or(0, |m| budget::state_bytes(&cell.case, m));
        let kv = kv_bytes(view, cell).map(|kv| kv.saturating_add(state));
        let known = weights.zip(kv).map(|(w, kv)| w.saturating_add(kv));
        let rest = cell
            .peak_rss_bytes
            .zip(known)
            .and_then(|(p, k)| p.checked_sub(k));
        let bytes = |b: Option<u64>| or_na(b.map(units::bytes));
        let mut row = places.row(cell);
        row.extend([
            bytes(cell.loaded_rss_bytes),
            bytes(cell.peak_rss_bytes),
            bytes(weights),
            bytes(kv),
            bytes(rest),
        ]);
        grid.rows.push(row);
    }
    grid
}

/// How memory grows with the tokens that the cache has room for: predicted and measured.
fn growth(view: &RunView, cells: &[&CellView]) -> Vec<String> {
    let mut sentences = Vec::new();
    for model in &view.header.plan.models {
        let own: Vec<&&CellView> = cells
            .iter()
            .filter(|c| c.case.model == model.name)
            .collect();
        let Some(first) = own.first() else { continue };
        let tokens = |c: &CellView| {
            let each = c.n_ctx_seq.unwrap_or_else(|| c.case.n_ctx_seq());
            f64::from(each) * f64::from(c.case.n_seq)
        };
        let like = |c: &&&&CellView| {
            (c.case.type_k, c.case.type_v) == (first.case.type_k, first.case.type_v)
        };
        let points: Vec<(f64, f64)> = own
            .iter()
            .filter(like)
            .filter_map(|c| Some((tokens(c), c.peak_rss_bytes? as f64)))
            .collect();
        let predicted = kv_bytes(view, first).map(|b| b as f64 / tokens(first).max(1.0));
        let (Some(line), Some(predicted)) = (FittedLine::through(&points), predicted) else {
            continue;
        };
        sentences.push(format!(
            "{}: a token of context takes {} by the file's shape; the worker's memory grew by {} for each token of cache \
             over {} cells, engine buffers that grow with the batch included, from {} without any.",
            short(&model.name),
            units::bytes(predicted.round() as u64),
            units::bytes(line.b.round() as u64),
            points.len(),
            units::bytes(line.a.round() as u64),
        ));
    }
    if sentences.is_empty() {
        sentences.push(
            "How memory grows with the context needs three cells of one model with different caches.".to_owned(),
        );
    }
    sentences
}
