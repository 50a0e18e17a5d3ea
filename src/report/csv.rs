//! The table for spreadsheets: the objects of `-o json` with their inner values in columns of their own,
//! empty where they are null.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::Value;

use super::notes::run_warnings;
use super::row::rows;
use super::view::RunView;
use crate::metric::Metric;
use crate::plan::axis::AXES;
use crate::text::brief;

/// The columns before those of the axes: keys of `-o json`.
const OF_THE_RUN: [&str; 9] = [
    "run",
    "machine",
    "engine",
    "engine_version",
    "case_id",
    "model",
    "file_type",
    "model_file_bytes",
    "model_sha256",
];

/// The columns between those of the axes and of the metrics.
const OF_THE_MEASURING: [&str; 6] = [
    "outcome",
    "outcome_detail",
    "n_processes",
    "n_repetitions",
    "n_steps",
    "stopped_by",
];

/// The columns behind those of the metrics: the keys of `-o json`, joined; `_lo` and `_hi` are the ends of an interval.
const OF_THE_CELL: [&str; 88] = [
    "per_seq_tokens_per_s",
    "step_ns_mean",
    "step_ns_sd",
    "step_ns_p50",
    "step_ns_p50_ci_lo",
    "step_ns_p50_ci_hi",
    "step_ns_p90",
    "step_ns_p90_ci_lo",
    "step_ns_p90_ci_hi",
    "step_ns_p95",
    "step_ns_p95_ci_lo",
    "step_ns_p95_ci_hi",
    "step_ns_p99",
    "step_ns_p99_ci_lo",
    "step_ns_p99_ci_hi",
    "step_ns_max",
    "step_ns_max_n_past",
    "step_ns_max_at_boundary",
    "step_ns_n_boundary",
    "speedup",
    "speedup_ci_lo",
    "speedup_ci_hi",
    "efficiency",
    "peak_rss_bytes",
    "joules_per_token",
    "joules_per_token_unknown",
    "price_per_kwh",
    "price_currency",
    "cost_per_million_tokens",
    "usage_process_cpu_percent_mean",
    "usage_process_cpu_percent_max",
    "usage_others_cpu_percent_mean",
    "usage_others_cpu_percent_max",
    "usage_steal_percent_mean",
    "usage_steal_percent_max",
    "usage_rss_bytes_mean",
    "usage_rss_bytes_max",
    "usage_frequency_hz_mean",
    "usage_frequency_hz_min",
    "usage_temperature_c_mean",
    "usage_temperature_c_max",
    "usage_voluntary_switches",
    "usage_involuntary_switches",
    "usage_major_faults",
    "usage_swapped_bytes",
    "usage_throttle_events",
    "usage_quota_throttled_ns",
    "usage_gpu_sm_clock_hz_mean",
    "usage_gpu_sm_clock_hz_min",
    "usage_gpu_power_mw_mean",
    "usage_gpu_power_mw_max",
    "usage_gpu_temperature_c_mean",
    "usage_gpu_temperature_c_max",
    "usage_gpu_memory_used_bytes_mean",
    "usage_gpu_memory_used_bytes_max",
    "usage_gpu_utilisation_percent_mean",
    "usage_gpu_utilisation_percent_max",
    "usage_gpu_throttle_reasons",
    "usage_gpu_memory_total_bytes",
    "usage_gpu_memory_free_before_bytes",
    "usage_gpu_memory_used_before_bytes",
    "usage_gpu_memory_used_loaded_bytes",
    "usage_gpu_memory_used_peak_bytes",
    "usage_gpu_energy_decode_j_per_token",
    "usage_gpu_energy_decode_j_per_token_above_idle",
    "usage_gpu_energy_prefill_j_per_token",
    "usage_gpu_energy_decode_power_w",
    "usage_gpu_energy_idle_power_w",
    "usage_gpu_energy_idle_over_ns",
    "usage_gpu_energy_decode_ns",
    "usage_gpu_energy_unknown",
    "usage_cpu_energy_decode_j_per_token",
    "usage_cpu_energy_decode_j_per_token_above_idle",
    "usage_cpu_energy_prefill_j_per_token",
    "usage_cpu_energy_decode_power_w",
    "usage_cpu_energy_idle_power_w",
    "usage_cpu_energy_idle_over_ns",
    "usage_cpu_energy_decode_ns",
    "usage_cpu_energy_unknown",
    "usage_sampler_cost_percent",
    "load_ns",
    "load_ns_ci_lo",
    "load_ns_ci_hi",
    "context_ns",
    "context_ns_ci_lo",
    "context_ns_ci_hi",
    "warnings",
    "run_warnings",
];

/// Every column.
fn columns() -> Vec<String> {
    let mut columns: Vec<String> = OF_THE_RUN.map(str::to_owned).to_vec();
    columns.extend(AXES.iter().map(|axis| axis.words.field.to_owned()));
    columns.extend(OF_THE_MEASURING.map(str::to_owned));
    for key in Metric::ALL.iter().filter_map(|metric| metric.key()) {
        columns.extend(["", "_ci_lo", "_ci_hi"].map(|end| format!("{key}{end}")));
    }
    columns.extend(OF_THE_CELL.map(str::to_owned));
    columns
}

/// A header and a row for each cell.
///
/// # Errors
/// What the writer says.
pub fn write(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let columns = columns();
    csv.write_record(&columns)?;
    for row in rows(view, &run_warnings(view)) {
        let mut flat = HashMap::new();
        flatten(String::new(), serde_json::to_value(&row)?, &mut flat);
        csv.write_record(columns.iter().map(|c| flat.remove(c).unwrap_or_default()))?;
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

/// The most columns of a text in a field.
const FIELD_COLUMNS: usize = 2000;

/// A text that no terminal obeys and no spreadsheet takes for a formula: it would run whatever a file's name says
/// (OWASP, "CSV Injection"; the wide forms count in some languages' spreadsheets).
pub(super) fn defused(text: &str) -> String {
    let text = brief(text, FIELD_COLUMNS);
    if text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
    {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_key_of_the_json_has_its_column() {
        let mut view = fixture::mixed();
        fixture::fill(&mut view.cells[0]);
        view.price = "0.30EUR/kWh".parse().ok();
        let texts = ["a debug build".to_owned()];
        let row = rows(&view, &texts).next().expect("has cells");
        let mut flat = HashMap::new();
        flatten(
            String::new(),
            serde_json::to_value(&row).expect("plain data"),
            &mut flat,
        );
        let mut keys: Vec<&str> = flat.keys().map(String::as_str).collect();
        let mut columns = columns();
        keys.sort_unstable();
        columns.sort_unstable();
        assert_eq!(keys, columns);
    }

    #[test]
    fn formulas_are_texts() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1"] {
            assert_eq!(defused(text), format!("'{text}"));
        }
        assert_eq!(defused("\t=1"), "' =1");
        assert_eq!(defused("\r\n@x\x1b[2J"), "'  @x?[2J");
        assert_eq!(defused("q4_0"), "q4_0");
        assert!(defused(&"x".repeat(100_000)).len() < 10_000);
    }
}
