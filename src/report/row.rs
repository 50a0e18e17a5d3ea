//! A cell as machine-readable formats give it: one flat object, units in the names, null for missing.
//! `schema/cells.schema.json` states its form.

use serde::Serialize;

use super::view::{CellView, RunView, StepTimes};
use crate::plan::{FlashAttn, KvSizing, KvType, SplitMode};
use crate::record::StoppedBy;
use crate::stats::Interval;

/// One cell of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    run: &'a str,
    /// Fingerprint: equal for equal hardware.
    machine: &'a str,
    engine: &'a str,
    engine_version: &'a str,
    case_id: &'a str,
    model: &'a str,
    file_type: Option<&'a str>,
    model_file_bytes: Option<u64>,
    model_sha256: Option<&'a str>,
    n_seq: u32,
    n_prompt: u32,
    n_gen: u32,
    n_depth: u32,
    n_threads: u32,
    n_ctx: u32,
    kv: KvSizing,
    n_batch: u32,
    n_ubatch: u32,
    type_k: KvType,
    type_v: KvType,
    flash_attn: FlashAttn,
    n_gpu_layers: u32,
    split_mode: SplitMode,
    main_gpu: u32,
    sample: bool,
    outcome: &'a str,
    outcome_detail: &'a str,
    n_processes: u32,
    n_repetitions: u32,
    n_steps: u64,
    stopped_by: Option<StoppedBy>,
    decode_tokens_per_s: Option<f64>,
    decode_tokens_per_s_ci: Option<[f64; 2]>,
    per_seq_tokens_per_s: Option<f64>,
    prefill_tokens_per_s: Option<f64>,
    step_ns: StepTimes,
    median_step_ns: Option<u64>,
    median_step_ns_ci: Option<[u64; 2]>,
    ttft_ns: Option<u64>,
    tpot_ns: Option<u64>,
    overhead_ns: Option<u64>,
    engine_ns: Option<u64>,
    sample_ns: Option<u64>,
    speedup: Option<f64>,
    efficiency: Option<f64>,
    peak_rss_bytes: Option<u64>,
    load_ns: Option<u64>,
    context_ns: Option<u64>,
    warnings: Vec<String>,
}

/// Every cell of a view, in its order.
pub fn rows(view: &RunView) -> impl Iterator<Item = Row<'_>> {
    view.cells.iter().map(move |cell| row(view, cell))
}

fn row<'a>(view: &'a RunView, cell: &'a CellView) -> Row<'a> {
    let (header, case) = (&view.header, &cell.case);
    let model = view.model(&case.model);
    let whole_ns = |i: Interval| [i.lo.round() as u64, i.hi.round() as u64];
    Row {
        run: &header.run,
        machine: &header.machine.fingerprint,
        engine: &header.engine.name,
        engine_version: &header.engine.version,
        case_id: cell.case_id.as_str(),
        model: &case.model,
        file_type: model.map(|m| m.file_type.as_str()),
        model_file_bytes: model.map(|m| m.file_bytes),
        model_sha256: model.and_then(|m| m.sha256.as_deref()),
        n_seq: case.n_seq,
        n_prompt: case.n_prompt,
        n_gen: case.n_gen,
        n_depth: case.n_depth,
        n_threads: case.n_threads,
        n_ctx: case.n_ctx,
        kv: case.kv,
        n_batch: case.n_batch,
        n_ubatch: case.n_ubatch,
        type_k: case.type_k,
        type_v: case.type_v,
        flash_attn: case.flash_attn,
        n_gpu_layers: case.n_gpu_layers,
        split_mode: case.split_mode,
        main_gpu: case.main_gpu,
        sample: case.sample,
        outcome: cell.outcome.word(),
        outcome_detail: &cell.outcome_detail,
        n_processes: cell.n_processes,
        n_repetitions: cell.n_repetitions,
        n_steps: cell.n_steps,
        stopped_by: cell.stopped_by,
        decode_tokens_per_s: cell.decode_tokens_per_s,
        decode_tokens_per_s_ci: cell.decode_interval.map(|i| [i.lo, i.hi]),
        per_seq_tokens_per_s: cell.per_seq_tokens_per_s,
        prefill_tokens_per_s: cell.prefill_tokens_per_s,
        step_ns: cell.step_ns,
        median_step_ns: cell.median_step_ns,
        median_step_ns_ci: cell.median_step_interval.map(whole_ns),
        ttft_ns: cell.ttft_ns,
        tpot_ns: cell.tpot_ns,
        overhead_ns: cell.overhead_ns,
        engine_ns: cell.engine_ns,
        sample_ns: cell.sample_ns,
        speedup: cell.speedup,
        efficiency: cell.efficiency,
        peak_rss_bytes: cell.peak_rss_bytes,
        load_ns: cell.load_ns,
        context_ns: cell.context_ns,
        warnings: cell.warnings.iter().map(ToString::to_string).collect(),
    }
}
