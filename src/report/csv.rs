//! The table for spreadsheets: the objects of `-o json` with their inner values in columns of their own,
//! empty where they are null.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::Value;

use super::notes::run_warnings;
use super::row::CellRow;
use super::view::RunView;
use crate::metric::Metric;
use crate::plan::axis::AXES;
use crate::text::brief;

/// The columns before those of the axes: keys of `-o json`.
const OF_THE_RUN: &str =
    "run machine engine engine_version case_id model file_type model_file_bytes model_sha256";

/// The columns between those of the axes and of the metrics.
const OF_THE_MEASURING: &str =
    "outcome outcome_detail n_processes n_repetitions n_steps stopped_by";

/// The columns behind those of the metrics: the keys of `-o json`, joined. `_ci` stands for the two ends of an interval, and a
/// name in braces for each of them, as in a shell.
const OF_THE_CELL: &str = "
    per_seq_tokens_per_s
    step_ns_{mean,sd,p50,p50_ci,p90,p90_ci,p95,p95_ci,p99,p99_ci,max,max_n_past,max_at_boundary,n_boundary}
    speedup speedup_ci efficiency peak_rss_bytes
    joules_per_token joules_per_token_unknown price_per_kwh price_currency cost_per_million_tokens
    usage_process_cpu_percent_{mean,max}
    usage_others_cpu_percent_{mean,max}
    usage_steal_percent_{mean,max}
    usage_rss_bytes_{mean,max}
    usage_frequency_hz_{mean,min}
    usage_temperature_c_{mean,max}
    usage_{voluntary_switches,involuntary_switches,major_faults,swapped_bytes,throttle_events,quota_throttled_ns}
    usage_gpu_sm_clock_hz_{mean,min}
    usage_gpu_power_mw_{mean,max}
    usage_gpu_temperature_c_{mean,max}
    usage_gpu_memory_used_bytes_{mean,max}
    usage_gpu_utilisation_percent_{mean,max}
    usage_gpu_throttle_reasons
    usage_gpu_memory_{total,free_before,used_before,used_loaded,used_peak}_bytes
    usage_gpu_energy_{decode_j_per_token,decode_j_per_token_above_idle,prefill_j_per_token}
    usage_gpu_energy_{decode_power_w,idle_power_w,idle_over_ns,decode_ns,unknown}
    usage_cpu_energy_{decode_j_per_token,decode_j_per_token_above_idle,prefill_j_per_token}
    usage_cpu_energy_{decode_power_w,idle_power_w,idle_over_ns,decode_ns,unknown}
    usage_sampler_cost_percent
    load_ns load_ns_ci context_ns context_ns_ci
    warnings run_warnings";

/// Every column.
fn columns() -> Vec<String> {
    let of_run = OF_THE_RUN.split_whitespace().map(str::to_owned);
    let axes = AXES.iter().map(|axis| axis.words.field.to_owned());
    let of_measuring = OF_THE_MEASURING.split_whitespace().map(str::to_owned);
    let metrics = Metric::keys_of_batches();
    let metrics = metrics.flat_map(|(_, key)| [key.to_owned(), format!("{key}_ci")]);
    let of_cell = OF_THE_CELL.split_whitespace().flat_map(each_in_braces);
    let all = of_run.chain(axes).chain(of_measuring);
    let all = all.chain(metrics).chain(of_cell);
    all.flat_map(|name| match name.ends_with("_ci") {
        true => vec![format!("{name}_lo"), format!("{name}_hi")],
        false => vec![name],
    })
    .collect()
}

fn each_in_braces(name: &str) -> Vec<String> {
    let parts = name.split_once('{');
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (names, after))) => {
            let names = names.split(',');
            names.map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// A header and a row for each cell.
///
/// # Errors
/// What the writer says.
pub fn write(view: &RunView, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let columns = columns();
    csv.write_record(&columns)?;
    for row in CellRow::all(view, &run_warnings(view)) {
        let mut flat = HashMap::new();
        flatten(String::new(), serde_json::to_value(&row)?, &mut flat);
        csv.write_record(columns.iter().map(|c| flat.remove(c).unwrap_or_default()))?;
    }
    csv.flush()
}

pub(super) fn flatten(key: String, value: Value, flat: &mut HashMap<String, String>) {
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
        Value::Null => {}
        value => {
            flat.insert(key, field(value));
        }
    }
}

/// A value in a field of its own.
pub(super) fn field(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => defused(&text),
        number_or_bool => number_or_bool.to_string(),
    }
}

/// The most columns of a text in a field.
const FIELD_COLUMNS: usize = 2000;

/// A text that no terminal obeys and no spreadsheet takes for a formula: it would run whatever a file's name says
/// (OWASP, "CSV Injection"; the wide forms count in some languages' spreadsheets).
fn defused(text: &str) -> String {
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
        let row = CellRow::all(&view, &texts).next().expect("has cells");
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
