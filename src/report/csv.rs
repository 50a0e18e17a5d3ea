//! The table for spreadsheets: the objects of `-o json` with their inner values in columns of their own,
//! empty where they are null.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::Value;

use super::row::rows;
use super::view::RunView;

/// The columns: the keys of `-o json`; `_lo` and `_hi` are the ends of an interval.
const COLUMNS: [&str; 57] = [
    "run",
    "machine",
    "engine",
    "engine_version",
    "case_id",
    "model",
    "file_type",
    "model_file_bytes",
    "model_sha256",
    "n_seq",
    "n_prompt",
    "n_gen",
    "n_depth",
    "n_threads",
    "n_ctx",
    "kv",
    "n_batch",
    "n_ubatch",
    "type_k",
    "type_v",
    "flash_attn",
    "n_gpu_layers",
    "split_mode",
    "main_gpu",
    "sample",
    "outcome",
    "outcome_detail",
    "n_processes",
    "n_repetitions",
    "n_steps",
    "stopped_by",
    "decode_tokens_per_s",
    "decode_tokens_per_s_ci_lo",
    "decode_tokens_per_s_ci_hi",
    "per_seq_tokens_per_s",
    "prefill_tokens_per_s",
    "step_ns_mean",
    "step_ns_sd",
    "step_ns_p50",
    "step_ns_p90",
    "step_ns_p95",
    "step_ns_p99",
    "step_ns_max",
    "median_step_ns",
    "median_step_ns_ci_lo",
    "median_step_ns_ci_hi",
    "ttft_ns",
    "tpot_ns",
    "overhead_ns",
    "engine_ns",
    "sample_ns",
    "speedup",
    "efficiency",
    "peak_rss_bytes",
    "load_ns",
    "context_ns",
    "warnings",
];

/// A header and a row for each cell.
///
/// # Errors
/// What the writer says.
pub fn write(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for row in rows(view) {
        let mut flat = HashMap::new();
        flatten(String::new(), serde_json::to_value(&row)?, &mut flat);
        csv.write_record(COLUMNS.map(|c| flat.remove(c).unwrap_or_default()))?;
    }
    csv.flush()
}

fn flatten(key: String, value: Value, flat: &mut HashMap<String, String>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                let name = if key.is_empty() {
                    name
                } else {
                    format!("{key}_{name}")
                };
                flatten(name, value, flat);
            }
        }
        Value::Array(ends) if key.ends_with("_ci") => {
            for (name, end) in ["lo", "hi"].into_iter().zip(ends) {
                flatten(format!("{key}_{name}"), end, flat);
            }
        }
        Value::Array(texts) => {
            let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
            flat.insert(key, defused(&texts.join("; ")));
        }
        Value::String(text) => {
            flat.insert(key, defused(&text));
        }
        Value::Null => {}
        number_or_bool => {
            flat.insert(key, number_or_bool.to_string());
        }
    }
}

/// A text that no spreadsheet takes for a formula: it would run whatever a file's name says
/// (OWASP, "CSV Injection").
fn defused(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_key_of_the_json_has_its_column() {
        let mut view = fixture::mixed();
        // A cell without a single null.
        let cell = &mut view.cells[0];
        cell.warnings = vec![crate::report::view::CellWarning::OneProcess];
        let row = rows(&view).next().expect("has cells");
        let mut flat = HashMap::new();
        flatten(
            String::new(),
            serde_json::to_value(&row).expect("plain data"),
            &mut flat,
        );
        let mut keys: Vec<&str> = flat.keys().map(String::as_str).collect();
        let mut columns = COLUMNS;
        keys.sort_unstable();
        columns.sort_unstable();
        assert_eq!(keys, columns);
    }

    #[test]
    fn formulas_are_texts() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(defused(text), format!("'{text}"));
        }
        assert_eq!(defused("q4_0"), "q4_0");
    }
}
