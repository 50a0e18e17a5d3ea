//! A run in llama-bench's own forms, with the columns of llama.cpp b11434: its compare-llama-bench.py reads them.

use std::io::{self, Write};

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};

use super::llama_bench::UNKNOWN;
use super::sql::TABLE;
use super::tested::TestedPart;
use crate::engine::Device;
use crate::plan::{Case, FlashAttn};
use crate::record::RunHeader;
use crate::stats::Summary;
use crate::text::shown_json;
use crate::view::TestPart;

/// A column's type.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Int,
    Bool,
    Real,
}

/// The columns in their order, and for those that this program does not set the value of llama-bench's defaults, which are the
/// engine's own.
const COLUMNS: &[(&str, Kind, &str)] = &[
    ("build_commit", Kind::Text, ""),
    ("build_number", Kind::Int, ""),
    ("cpu_info", Kind::Text, ""),
    ("gpu_info", Kind::Text, ""),
    ("backends", Kind::Text, ""),
    ("model_filename", Kind::Text, ""),
    ("model_type", Kind::Text, ""),
    ("model_size", Kind::Int, ""),
    ("model_n_params", Kind::Int, ""),
    ("n_batch", Kind::Int, ""),
    ("n_ubatch", Kind::Int, ""),
    ("n_threads", Kind::Int, ""),
    ("cpu_mask", Kind::Text, "0x0"),
    ("cpu_strict", Kind::Bool, "0"),
    ("poll", Kind::Int, "50"),
    ("type_k", Kind::Text, ""),
    ("type_v", Kind::Text, ""),
    ("n_gpu_layers", Kind::Int, ""),
    ("n_cpu_moe", Kind::Int, "0"),
    ("split_mode", Kind::Text, ""),
    ("main_gpu", Kind::Int, ""),
    ("no_kv_offload", Kind::Bool, "0"),
    ("flash_attn", Kind::Int, ""),
    ("devices", Kind::Text, ""),
    ("tensor_split", Kind::Text, ""),
    ("tensor_buft_overrides", Kind::Text, "none"),
    ("load_mode", Kind::Text, "auto"),
    ("lazy_mode", Kind::Text, "auto"),
    ("embeddings", Kind::Bool, "0"),
    ("no_op_offload", Kind::Int, "0"),
    ("no_host", Kind::Bool, "0"),
    ("repack", Kind::Bool, "1"),
    ("fit_target", Kind::Int, "0"),
    ("fit_min_ctx", Kind::Int, "0"),
    ("n_prompt", Kind::Int, ""),
    ("n_gen", Kind::Int, ""),
    ("n_depth", Kind::Int, ""),
    ("test_time", Kind::Text, ""),
    ("avg_ns", Kind::Int, ""),
    ("stddev_ns", Kind::Int, ""),
    ("avg_ts", Kind::Real, ""),
    ("stddev_ts", Kind::Real, ""),
];

/// A test as llama-bench has it: its columns as texts, and the samples.
pub(crate) struct BenchRow {
    columns: Vec<(&'static str, Kind, String)>,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
}

/// Whether llama-bench could measure a cell: it has one sequence.
pub(crate) fn has_form(case: &Case) -> bool {
    case.n_seq == 1
}

/// A test in llama-bench's form; `build_commit` where the record does not know it.
pub(crate) fn row(header: &RunHeader, test: &TestedPart, build_commit: Option<&str>) -> BenchRow {
    let samples_ts: Vec<f64> = test.all_rates().collect();
    let samples_ns: Vec<u64> = test
        .all_rates()
        .map(|rate| test.ns(rate).round() as u64)
        .collect();
    let times: Vec<f64> = samples_ns.iter().map(|ns| *ns as f64).collect();
    let summary = [&times, &samples_ts].map(|values| {
        let summary = Summary::of(values);
        // llama-bench writes 0 for the deviation of a single sample.
        summary.map_or((0.0, 0.0), |s| (s.mean, s.sd.unwrap_or(0.0)))
    });
    let [(avg_ns, sd_ns), (avg_ts, sd_ts)] = summary;
    let known = known(header, test, build_commit);
    let columns = COLUMNS.iter().map(|(name, kind, usual)| {
        let value = match *name {
            "avg_ns" => format!("{avg_ns:.0}"),
            "stddev_ns" => format!("{sd_ns:.0}"),
            "avg_ts" => format!("{avg_ts:.6}"),
            "stddev_ts" => format!("{sd_ts:.6}"),
            name => known(name).unwrap_or_else(|| (*usual).to_owned()),
        };
        (*name, *kind, value)
    });
    BenchRow {
        columns: columns.collect(),
        samples_ns,
        samples_ts,
    }
}

/// The values of the columns that a record knows.
fn known<'a>(
    header: &'a RunHeader,
    test: &'a TestedPart,
    build_commit: Option<&'a str>,
) -> impl Fn(&str) -> Option<String> + 'a {
    let case = &test.case;
    let model = header.plan.models.iter().find(|m| m.name == case.model);
    let imported = header.imported.as_ref();
    let foreign = imported.and_then(|of| of.model(&case.model));
    let foreign_model = foreign.cloned().unwrap_or_default();
    let [n_prompt, n_gen, n_depth] = geometry(test);
    move |name| {
        let setting = || imported?.settings.get(name).cloned();
        Some(match name {
            "build_commit" => build_commit
                .or(header.program.llama_cpp_commit.as_deref())
                .unwrap_or(UNKNOWN)
                .to_owned(),
            "build_number" => header.program.llama_cpp_build.unwrap_or(0).to_string(),
            "cpu_info" => header.machine.cpu.model.clone().unwrap_or_default(),
            "gpu_info" => gpus(header),
            "backends" => backends(header),
            "model_filename" => match (model, &foreign_model.file) {
                (Some(facts), _) => facts.path.display().to_string(),
                (None, Some(file)) => file.clone(),
                (None, None) => case.model.clone(),
            },
            "model_type" => match (model, &foreign_model.description) {
                (Some(facts), _) => format!(
                    "{} {} {}",
                    facts.architecture,
                    crate::text::count(facts.n_params),
                    facts.file_type
                ),
                (None, Some(description)) => description.clone(),
                (None, None) => case.model.clone(),
            },
            "model_size" => model
                .map(|m| m.tensor_bytes)
                .or(foreign_model.size_bytes)?
                .to_string(),
            "model_n_params" => model
                .map(|m| m.n_params)
                .or(foreign_model.n_params)?
                .to_string(),
            "n_batch" => case.n_batch.to_string(),
            "n_ubatch" => case.n_ubatch.to_string(),
            "n_threads" => case.n_threads.to_string(),
            "type_k" => case.type_k.to_string(),
            "type_v" => case.type_v.to_string(),
            "n_gpu_layers" => case.n_gpu_layers.to_string(),
            "split_mode" => case.split_mode.to_string(),
            "main_gpu" => case.main_gpu.to_string(),
            "flash_attn" => match case.flash_attn {
                FlashAttn::Auto => "-1",
                FlashAttn::On => "1",
                FlashAttn::Off => "0",
            }
            .to_owned(),
            "devices" => case.device.to_string().replace(',', "/"),
            "tensor_split" => tensor_split(case),
            "n_prompt" => n_prompt.to_string(),
            "n_gen" => n_gen.to_string(),
            "n_depth" => n_depth.to_string(),
            "test_time" => test_time(header, test.started_ns),
            _ => return setting(),
        })
    }
}

/// n_prompt, n_gen and n_depth of the test. Of a cell that has both, the generation begins behind the prompt.
fn geometry(test: &TestedPart) -> [u32; 3] {
    let case = &test.case;
    let behind = case.n_depth.saturating_add(case.n_prompt);
    match test.part {
        TestPart::Prompt => [case.n_prompt, 0, case.n_depth],
        TestPart::Generation => [0, case.n_gen, behind],
        TestPart::Both => [case.n_prompt, case.n_gen, case.n_depth],
    }
}

fn tensor_split(case: &Case) -> String {
    let shares = case
        .tensor_split
        .shares()
        .map(|share| format!("{share:.2}"));
    let shares: Vec<String> = shares.collect();
    match shares.is_empty() {
        true => "0.00".to_owned(),
        false => shares.join("/"),
    }
}

fn gpus(header: &RunHeader) -> String {
    let devices = header.engine.devices.iter();
    let of_engine = devices
        .filter(|d| d.takes_layers())
        .map(|d| d.description.trim());
    let names: Vec<&str> = match header.imported {
        None => of_engine.collect(),
        Some(_) => {
            let named = header.machine.gpus.devices.iter();
            named.filter_map(|gpu| gpu.name.as_deref()).collect()
        }
    };
    names.join(", ")
}

fn backends(header: &RunHeader) -> String {
    if let Some(backends) = header.imported.as_ref().and_then(|of| of.backends.clone()) {
        return backends;
    }
    let is_own = |d: &&Device| d.backend != "CPU" && !d.backend.is_empty();
    let mut names: Vec<&str> = Vec::new();
    for device in header.engine.devices.iter().filter(is_own) {
        if !names.contains(&device.backend.as_str()) {
            names.push(&device.backend);
        }
    }
    match names.is_empty() {
        true => "CPU".to_owned(),
        false => names.join(","),
    }
}

/// As llama-bench writes instants, in UTC; empty where the record has none.
fn test_time(header: &RunHeader, started_ns: u64) -> String {
    let since = i64::try_from(started_ns).unwrap_or(0).nanoseconds();
    let at: Option<Timestamp> = header.started().and_then(|at| at.checked_add(since).ok());
    at.map_or_else(String::new, |at| {
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    })
}

impl BenchRow {
    fn json(&self) -> Value {
        let value = |kind: Kind, text: &str| match kind {
            Kind::Text => json!(text),
            Kind::Bool => json!(text == "1"),
            Kind::Int => json!(text.parse::<i64>().ok()),
            Kind::Real => json!(text.parse::<f64>().ok()),
        };
        let columns = self.columns.iter();
        let mut object: Map<String, Value> = columns
            .map(|(name, kind, text)| ((*name).to_owned(), value(*kind, text)))
            .collect();
        object.insert("samples_ns".to_owned(), json!(self.samples_ns));
        object.insert("samples_ts".to_owned(), json!(self.samples_ts));
        Value::Object(object)
    }

    fn insert(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, ..)| *name).collect();
        let values = self.columns.iter();
        let values: Vec<String> = values.map(|(.., text)| quoted(text)).collect();
        let (names, values) = (names.join(", "), values.join(", "));
        format!("INSERT INTO {TABLE} ({names}) VALUES ({values});\n")
    }
}

/// A text in SQL; llama-bench itself does not double its quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `-o json`.
///
/// # Errors
/// The writer's.
pub(crate) fn write_json(rows: &[BenchRow], out: &mut dyn Write) -> io::Result<()> {
    let all: Vec<Value> = rows.iter().map(BenchRow::json).collect();
    let text = serde_json::to_string_pretty(&all)?;
    writeln!(out, "{}", shown_json(&text))
}

/// `-o jsonl`.
///
/// # Errors
/// The writer's.
pub(crate) fn write_jsonl(rows: &[BenchRow], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        writeln!(out, "{}", shown_json(&row.json().to_string()))?;
    }
    Ok(())
}

/// `-o sql`.
///
/// # Errors
/// The writer's.
pub(crate) fn write_sql(rows: &[BenchRow], out: &mut dyn Write) -> io::Result<()> {
    let columns = COLUMNS.iter().map(|(name, kind, _)| {
        let kind = match kind {
            Kind::Text => "TEXT",
            Kind::Int | Kind::Bool => "INTEGER",
            Kind::Real => "REAL",
        };
        format!("  {name} {kind}")
    });
    let columns: Vec<String> = columns.collect();
    let columns = columns.join(",\n");
    writeln!(out, "CREATE TABLE IF NOT EXISTS {TABLE} (\n{columns}\n);\n")?;
    rows.iter()
        .try_for_each(|row| out.write_all(row.insert().as_bytes()))
}
