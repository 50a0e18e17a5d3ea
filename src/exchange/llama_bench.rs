//! What llama-bench records of a test (`-o json`, `jsonl`, `sql`), as a cell.
//!
//! A test is a prompt, a generation, or both with one common time. Its samples are repetitions of one process. Columns changed over
//! the years; those that are no axis here are kept as settings.

use jiff::Timestamp;

use super::row::ForeignRow;
use super::{ForeignTest, TestSource};
use crate::measure::{Phase, PhaseTotal};
use crate::model::{file_model_name, sanitize_name};
use crate::plan::expand::{ALL_LAYERS, check_recorded};
use crate::plan::{Case, Devices, FlashAttn, KvSizing, MAX_SEQ, RpcServers, TensorSplit};
use crate::record::imported::ImportedModel;

/// The program's name.
pub(crate) const TOOL: &str = "llama-bench";

/// What a program writes that does not know its build.
pub(super) const UNKNOWN: &str = "unknown";

/// The columns that have a place of their own in a record.
const KNOWN: &[&str] = &[
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "split_mode",
    "main_gpu",
    "flash_attn",
    "devices",
    "tensor_split",
    "rpc_servers",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
];

pub(super) fn is_row(row: &ForeignRow<'_>) -> bool {
    row.has("n_prompt") && row.has("n_gen") && (row.has("avg_ns") || row.has("avg_ts"))
}

/// # Errors
/// The column that cannot be read, and why.
pub(super) fn test(row: &ForeignRow<'_>) -> Result<ForeignTest, String> {
    let case = case(row)?;
    let (ns, is_mean) = times(row, &case)?;
    let started: Option<Timestamp> = row.value("test_time")?;
    let name = case.model.clone();
    Ok(ForeignTest {
        source: TestSource {
            tool: TOOL,
            build_commit: row.text("build_commit").filter(|c| c != UNKNOWN),
            build_number: row.value("build_number")?.filter(|n| *n > 0),
            cpu: row.text("cpu_info"),
            gpu: row.text("gpu_info"),
            backends: row.text("backends"),
            settings: row.others(KNOWN).collect(),
        },
        model: ImportedModel {
            name,
            file: row.text("model_filename"),
            description: row.text("model_type"),
            size_bytes: row.value("model_size")?,
            n_params: row.value("model_n_params")?,
        },
        started,
        repetitions: ns.into_iter().map(|ns| vec![total(&case, ns)]).collect(),
        case,
        is_mean,
    })
}

fn case(row: &ForeignRow<'_>) -> Result<Case, String> {
    let file = row.text("model_filename").unwrap_or_default();
    let name = match file.as_str() {
        "" => sanitize_name(&row.text("model_type").unwrap_or_default()),
        // Windows' paths too, wherever the file is read.
        file => file_model_name(file.rsplit(['/', '\\']).next().unwrap_or(file).as_ref()),
    };
    let mut case = Case {
        // One sequence, fed with random tokens, in a cache of the length that it needs.
        kv: KvSizing::Fit,
        sample: false,
        n_seq: 1,
        n_prompt: row.needed("n_prompt")?,
        n_gen: row.needed("n_gen")?,
        n_depth: row.value("n_depth")?.unwrap_or(0),
        n_threads: row.needed("n_threads")?,
        n_gpu_layers: n_gpu_layers(row)?,
        ..Case::usual(&name)
    };
    case.n_ctx = case.n_ctx.max(case.n_used());
    let set = |value: Option<u32>, to: &mut u32| *to = value.unwrap_or(*to);
    set(row.value("n_batch")?, &mut case.n_batch);
    set(row.value("n_ubatch")?, &mut case.n_ubatch);
    set(row.value("main_gpu")?, &mut case.main_gpu);
    if let Some(value) = row.value("type_k")? {
        case.type_k = value;
    }
    if let Some(value) = row.value("type_v")? {
        case.type_v = value;
    }
    if let Some(value) = row.value("split_mode")? {
        case.split_mode = value;
    }
    // Versions without the column never used it.
    case.flash_attn = row.value("flash_attn")?.unwrap_or(FlashAttn::Off);
    if let Some(devices) = row.text("devices") {
        case.device = devices.replace('/', ",").parse::<Devices>()?;
    }
    case.tensor_split = tensor_split(row)?;
    if let Some(servers) = row.value::<RpcServers>("rpc_servers")? {
        case.rpc = servers;
    }
    check_recorded(&case, MAX_SEQ).map_err(|e| e.to_string())?;
    Ok(case)
}

/// Layers on a GPU. llama-bench records what it was asked for, 99 or all (-1) by default, also where there is no GPU.
fn n_gpu_layers(row: &ForeignRow<'_>) -> Result<u32, String> {
    let backends = row.text("backends").unwrap_or_default();
    let on_cpu = ["CPU", "BLAS", "CPU,BLAS", "BLAS,CPU"].contains(&backends.as_str());
    if on_cpu && row.text("rpc_servers").is_none() {
        return Ok(0);
    }
    let asked: i64 = row.value("n_gpu_layers")?.unwrap_or(0);
    Ok(u32::try_from(asked).unwrap_or(ALL_LAYERS))
}

/// `3.00/1.00`; zeros alone leave it to the engine.
fn tensor_split(row: &ForeignRow<'_>) -> Result<TensorSplit, String> {
    let text = row.text("tensor_split").unwrap_or_default();
    let shares: Vec<&str> = text.split('/').map(str::trim).collect();
    let is_zero = |share: &&str| share.parse::<f64>().is_ok_and(|v| v == 0.0);
    if text.is_empty() || shares.iter().all(is_zero) {
        return Ok(TensorSplit::default());
    }
    shares.join(",").parse()
}

/// The time of each repetition, and whether it is their mean: SQL and CSV have no samples.
fn times(row: &ForeignRow<'_>, case: &Case) -> Result<(Vec<u64>, bool), String> {
    let n_tokens = f64::from(case.n_prompt) + f64::from(case.n_gen);
    if n_tokens == 0.0 {
        return Err("n_prompt and n_gen are 0".to_owned());
    }
    let samples = row.numbers("samples_ns")?;
    let (times, is_mean) = match (samples.is_empty(), row.value::<f64>("avg_ts")?) {
        (false, _) => (samples, false),
        // The rate is what is compared; its mean is not that of the times' mean.
        (true, Some(rate)) if rate > 0.0 => (vec![(n_tokens / rate * 1e9).round() as u64], true),
        _ => (vec![row.needed("avg_ns")?], true),
    };
    match times.contains(&0) {
        true => Err("a time is 0 ns".to_owned()),
        false => Ok((times, is_mean)),
    }
}

fn total(case: &Case, ns: u64) -> PhaseTotal {
    PhaseTotal {
        phase: match (case.n_prompt, case.n_gen) {
            (_, 0) => Phase::Prefill,
            (0, _) => Phase::Decode,
            _ => Phase::Mixed,
        },
        n_tokens: u64::from(case.n_prompt) + u64::from(case.n_gen),
        ns,
    }
}
