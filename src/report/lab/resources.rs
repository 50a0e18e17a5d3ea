//! What cells and jobs take: processor, memory, and how the time divides into prefill and decode.

use super::{Block, cell_table, energy, first_rows, gpu};
use crate::analysis::FittedLine;
use crate::analysis::curve::is_measured;
use crate::analysis::live::LatencyParts;
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::budget;
use crate::plot::resources::kv_bytes;
use crate::report::table::{Table, TableOf};
use crate::request::shown_target;
use crate::stats::summary;
use crate::text::{plural, short};
use crate::units;
use crate::view::requests::{JobView, RequestsView};
use crate::view::{CellUsage, CellView, RepetitionTime, RunView};

/// What cells took.
pub(super) fn of_cells(view: &RunView) -> Vec<Block> {
    let measured: Vec<&CellView> = view.cells.iter().filter(|c| is_measured(c)).collect();
    if measured.is_empty() {
        return vec![Block::Text("No cell was measured.".to_owned())];
    }
    let rows = first_rows(&measured);
    let usage = with_usage(cell_table(view, rows, |c| *c), view, |c| ResourceUse {
        usage: &c.usage,
        peak_bytes: c.peak_rss_bytes,
        requests_per_s: requests_per_s(c),
        tokens_per_s: c.decode_tokens_per_s(),
    });
    let loaded = cell_table(view, rows, |c| *c)
        .numbers("after loading", |c| c.loaded_rss_bytes.map(units::bytes));
    let memory = with_memory(loaded, |c| memory_of_cell(view, c));
    let mut blocks = vec![
        Block::Heading("During the measurement".to_owned()),
        Block::Table(usage),
        Block::Heading("Prefill and decode".to_owned()),
        Block::Table(phases_of_cells(view, rows)),
        Block::Heading("Memory".to_owned()),
        Block::List(growth(view, &measured)),
        Block::Table(memory),
    ];
    blocks.extend(gpu::blocks(view, &measured));
    blocks.extend(energy::blocks(view, &measured));
    blocks
}

/// What jobs of requests took.
pub(super) fn of_jobs(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let measured: Vec<&JobView> = requests.measured().collect();
    let jobs = first_rows(&measured);
    if jobs.is_empty() {
        return vec![Block::Text("No request was answered.".to_owned())];
    }
    let usage = with_usage(job_table(jobs), view, |job| ResourceUse {
        usage: &job.usage,
        peak_bytes: job.usage.rss_bytes.map(|b| b.max),
        requests_per_s: job.requests_per_s.map(|m| m.value),
        tokens_per_s: job.tokens_per_s.map(|m| m.value),
    });
    let mut blocks = vec![
        Block::Heading("During the requests".to_owned()),
        Block::Table(usage),
        Block::Heading("Prefill and decode of requests".to_owned()),
        Block::Table(phases_of_jobs(jobs)),
    ];
    let own = jobs.iter().copied().filter(|j| j.is_in_process());
    let own: Vec<&JobView> = own.collect();
    if !own.is_empty() {
        let at_once = Table::of(&own)
            .words("job", |j| short(&j.job.name))
            .numbers("sequences", |j| j.job.case.n_seq);
        let memory = with_memory(at_once, |j| memory_of_job(view, j));
        blocks.push(Block::Heading("Memory while serving requests".to_owned()));
        blocks.extend(per_token(view, &own));
        blocks.push(Block::Table(memory));
    }
    blocks
}

/// A table of jobs with the columns that tell them apart.
fn job_table<'a>(jobs: &'a [&JobView]) -> TableOf<'a, &'a JobView> {
    Table::of(jobs)
        .words("job", |j| short(&j.job.name))
        .words("target", |j| shown_target(&j.target))
}

/// What a row's processes took, and what was done meanwhile.
struct ResourceUse<'a> {
    usage: &'a CellUsage,
    peak_bytes: Option<u64>,
    requests_per_s: Option<f64>,
    tokens_per_s: Option<f64>,
}

fn with_usage<'a, R>(
    table: TableOf<'a, R>,
    view: &RunView,
    taken: impl Fn(&'a R) -> ResourceUse<'a>,
) -> Table {
    table
        .numbers("CPU, mean", |row| cpu(view, taken(row).usage))
        .numbers("others' CPU, mean", |row| others_cpu(taken(row).usage))
        .numbers("memory, mean", |row| {
            taken(row).usage.rss_bytes.map(|b| units::bytes(b.mean))
        })
        .numbers("memory, peak", |row| {
            taken(row).peak_bytes.map(units::bytes)
        })
        .numbers("requests/s", |row| {
            taken(row).requests_per_s.map(units::significant)
        })
        .numbers("tokens/s", |row| {
            taken(row).tokens_per_s.map(units::significant)
        })
        .table()
}

/// `97% of 4 threads`.
pub(super) fn cpu(view: &RunView, usage: &CellUsage) -> Option<String> {
    let cores = view.header.machine.cpu.available_cores.filter(|n| *n > 0)?;
    let share = usage.process_cpu_percent?.mean / f64::from(cores);
    Some(format!(
        "{share:.0}% of {}",
        plural(cores, "thread", "threads")
    ))
}

pub(super) fn others_cpu(usage: &CellUsage) -> Option<String> {
    Some(format!("{:.1}%", usage.others_cpu_percent?.mean))
}

/// Requests finished per second, prompts included.
fn requests_per_s(cell: &CellView) -> Option<f64> {
    let times: Vec<f64> = cell.repetitions.iter().map(|r| r.whole_ns as f64).collect();
    let ns = summary::median(&times).filter(|ns| *ns > 0.0)?;
    Some(f64::from(cell.case.n_seq) / ns * 1e9)
}

fn phases_of_cells(view: &RunView, cells: &[&CellView]) -> Table {
    let median = |c: &CellView, of: fn(&RepetitionTime) -> Option<u64>| {
        let times = c.repetitions.iter().filter_map(of);
        let times: Vec<f64> = times.map(|ns| ns as f64).collect();
        summary::median(&times)
    };
    let prefill = |c: &CellView| median(c, |r| r.prefill_ns);
    let whole = |c: &CellView| median(c, |r| Some(r.whole_ns)).filter(|ns| *ns > 0.0);
    let decode = |c: &CellView| Some(whole(c)? - prefill(c).unwrap_or(0.0));
    let time = |ns: Option<f64>| ns.map(|ns| units::duration(ns.round() as u64));
    cell_table(view, cells, |c| *c)
        .numbers("prefill", |c| time(prefill(c)))
        .numbers("decode", |c| time(decode(c)))
        .numbers("prefill's share", |c| {
            Some(units::percent(prefill(c)? / whole(c)?))
        })
        .numbers("prefill tokens/s", |c| {
            c.value(Metric::PrefillTokensPerS).map(units::significant)
        })
        .numbers("decode tokens/s", |c| {
            c.decode_tokens_per_s().map(units::significant)
        })
        .table()
}

fn phases_of_jobs(jobs: &[&JobView]) -> Table {
    let share = |job: &JobView, of: fn(&LatencyParts) -> f64| {
        let parts = LatencyParts::of(job).filter(|p| p.whole > 0.0)?;
        Some(units::percent(of(&parts).max(0.0) / parts.whole))
    };
    job_table(jobs)
        .numbers("waiting", |j| share(j, |p| p.waiting))
        .numbers("prefill", |j| share(j, |p| p.prefill))
        .numbers("decode", |j| share(j, |p| p.decode))
        .numbers("transport", |j| share(j, |p| p.transport))
        .numbers("TTFT's share", |j| j.figures.ttft_share.map(units::percent))
        .numbers("choosing tokens", |j| sampler_share(j))
        .numbers("sequences a call", |j| {
            j.calls.and_then(|c| c.decode_n_seq).map(units::significant)
        })
        .table()
}

/// The part of an in-process job's calls that went into choosing tokens.
pub(super) fn sampler_share(job: &JobView) -> Option<String> {
    job.calls?.sampler_share().map(units::percent)
}

/// What a process's memory is made of, as far as it is known.
#[derive(Default)]
struct MemoryParts {
    peak: Option<u64>,
    weights: Option<u64>,
    cache: Option<u64>,
}

fn memory_of_cell(view: &RunView, cell: &CellView) -> MemoryParts {
    let model = view.model(&cell.case.model);
    let state = model.map_or(0, |m| budget::state_bytes(&cell.case, m));
    MemoryParts {
        peak: cell.peak_rss_bytes,
        weights: model.map(ModelFacts::used_tensor_bytes),
        cache: kv_bytes(view, cell).map(|kv| kv.saturating_add(state)),
    }
}

fn memory_of_job(view: &RunView, job: &JobView) -> MemoryParts {
    let case = &job.job.case;
    let model = view.model(&case.model);
    MemoryParts {
        peak: job.usage.rss_bytes.map(|b| b.max),
        weights: model.map(ModelFacts::used_tensor_bytes),
        cache: model.map(|m| {
            let kv = budget::kv_bytes(case, m, case.n_ctx_seq());
            kv.saturating_add(budget::state_bytes(case, m))
        }),
    }
}

fn with_memory<'a, R>(table: TableOf<'a, R>, memory: impl Fn(&'a R) -> MemoryParts) -> Table {
    let bytes = |b: Option<u64>| b.map(units::bytes);
    let rest = |m: MemoryParts| {
        let known = m.weights?.saturating_add(m.cache?);
        m.peak?.checked_sub(known)
    };
    table
        .numbers("peak", |row| bytes(memory(row).peak))
        .numbers("weights", |row| bytes(memory(row).weights))
        .numbers("KV cache, by shape", |row| bytes(memory(row).cache))
        .numbers("the rest", |row| bytes(rest(memory(row))))
        .table()
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
             over {} cells, engine buffers that grow with the batch included, from {} without a cache.",
            short(&model.name),
            units::bytes(predicted.round() as u64),
            units::bytes(line.b.round() as u64),
            points.len(),
            units::bytes(line.a.round() as u64),
        ));
    }
    if sentences.is_empty() {
        sentences.push(
            "The growth of memory with the context needs three cells of one model with different caches.".to_owned(),
        );
    }
    sentences
}

/// The memory that a token of context takes, in one sentence a model.
fn per_token(view: &RunView, jobs: &[&JobView]) -> Option<Block> {
    let mut said: Vec<String> = Vec::new();
    for job in jobs {
        let case = &job.job.case;
        let Some(model) = view.model(&case.model) else {
            continue;
        };
        let cache = case.kv_cache();
        let bytes = model.kv_bytes_per_token(cache.k_bytes, cache.v_bytes);
        let of_all = budget::kv_bytes(case, model, case.n_ctx_seq());
        let text = format!(
            "{}: a token of context takes {} of cache by the file's shape, {} a sequence of {} tokens.",
            short(&case.model),
            units::bytes(bytes.round() as u64),
            units::bytes(of_all / u64::from(case.n_seq.max(1))),
            case.n_ctx_seq()
        );
        if !said.contains(&text) {
            said.push(text);
        }
    }
    (!said.is_empty()).then_some(Block::List(said))
}
