//! What llama-batched-bench records of a batch (`--output-format jsonl`), as a cell: one repetition, with the times of its prefill
//! and of its decode steps. It names neither the model, nor the machine, nor the build.

use super::row::ForeignRow;
use super::{ForeignTest, TestSource};
use crate::measure::{Phase, PhaseTotal};
use crate::model::sanitize_name;
use crate::plan::expand::{ALL_LAYERS, check_recorded};
use crate::plan::{Case, KvSizing, MAX_SEQ};
use crate::record::imported::ImportedModel;

/// The program's name.
pub(super) const TOOL: &str = "llama-batched-bench";

/// The columns that have a place of their own in a record.
const KNOWN: &[&str] = &[
    "n_batch",
    "n_ubatch",
    "flash_attn",
    "n_gpu_layers",
    "n_threads",
    "pp",
    "tg",
    "pl",
    "n_kv",
    "t_pp",
    "speed_pp",
    "t_tg",
    "speed_tg",
    "t",
    "speed",
];

pub(super) fn is_row(row: &ForeignRow<'_>) -> bool {
    ["pp", "tg", "pl", "t_pp", "t_tg"]
        .iter()
        .all(|key| row.has(key))
}

/// A line of a model of this name.
///
/// # Errors
/// The key that cannot be read, and why.
pub(super) fn test(row: &ForeignRow<'_>, model: &str) -> Result<ForeignTest, String> {
    let name = sanitize_name(model);
    let case = case(row, &name)?;
    let is_shared = row.text("is_pp_shared").is_some_and(|is| is != "0");
    let n_prompts = if is_shared { 1 } else { case.n_seq };
    let parts = [
        (Phase::Prefill, "t_pp", n_prompts, case.n_prompt),
        (Phase::Decode, "t_tg", case.n_seq, case.n_gen),
    ];
    let mut totals = Vec::new();
    for (phase, key, n_seq, n_each) in parts {
        let n_tokens = u64::from(n_seq) * u64::from(n_each);
        let ns = nanoseconds(row, key)?;
        if n_tokens > 0 && ns > 0 {
            totals.push(PhaseTotal {
                phase,
                n_tokens,
                ns,
            });
        }
    }
    if totals.is_empty() {
        return Err("t_pp and t_tg are 0".to_owned());
    }
    Ok(ForeignTest {
        source: TestSource {
            tool: TOOL,
            settings: row.others(KNOWN).collect(),
            ..TestSource::default()
        },
        model: ImportedModel {
            name,
            ..ImportedModel::default()
        },
        case,
        started: None,
        repetitions: vec![totals],
        is_mean: false,
    })
}

fn case(row: &ForeignRow<'_>, name: &str) -> Result<Case, String> {
    let layers: i64 = row.value("n_gpu_layers")?.unwrap_or(0);
    let mut case = Case {
        sample: false,
        // The cache that all batches share is among the settings; a batch uses what it needs.
        kv: KvSizing::Fit,
        n_seq: row.needed("pl")?,
        n_prompt: row.needed("pp")?,
        n_gen: row.needed("tg")?,
        n_threads: row.needed("n_threads")?,
        n_gpu_layers: u32::try_from(layers).unwrap_or(ALL_LAYERS),
        ..Case::usual(name)
    };
    case.n_ctx = case.n_ctx.max(case.n_used());
    if let Some(n) = row.value("n_batch")? {
        case.n_batch = n;
    }
    if let Some(n) = row.value("n_ubatch")? {
        case.n_ubatch = n;
    }
    if let Some(policy) = row.value("flash_attn")? {
        case.flash_attn = policy;
    }
    check_recorded(&case, MAX_SEQ).map_err(|e| e.to_string())?;
    Ok(case)
}

/// Seconds with six decimals.
fn nanoseconds(row: &ForeignRow<'_>, key: &str) -> Result<u64, String> {
    let seconds: f64 = row.needed(key)?;
    match seconds.is_finite() && seconds >= 0.0 {
        true => Ok((seconds * 1e9).round() as u64),
        false => Err(format!("{key} '{seconds}' is no time")),
    }
}
