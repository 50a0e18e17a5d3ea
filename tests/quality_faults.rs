//! Faults that are planted on purpose, with real llama.cpp on a tiny random model: a scored text shows them, and the gate fails.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::gguf::with_doubled_tensor;
use support::{Place, json_lines, stderr, stdout, tiny_model};

/// Scores a text with the tiny model as the base and with `candidate`, and returns the run.
#[track_caller]
fn score(place: &Place, name: &str, candidate: &str, more: &[&str]) -> PathBuf {
    let model = tiny_model().to_str().expect("text");
    let mut args = vec!["quality", "--base", model, candidate, "--name", name];
    args.extend(["--n-ctx", "64", "-t", "1", "--chunks", "8", "--no-report"]);
    args.extend(more);
    let done = place.run(&args);
    assert!(done.status.success(), "{}", stderr(&done));
    run_named(place, name)
}

fn run_named(place: &Place, name: &str) -> PathBuf {
    let runs = std::fs::read_dir(place.out()).expect("runs").flatten();
    let mut runs = runs.map(|entry| entry.path());
    let is_it = |run: &PathBuf| run.to_string_lossy().ends_with(&format!("-{name}"));
    runs.find(is_it).expect("a run of that name")
}

/// The mean KLD of the cell whose name begins so.
#[track_caller]
fn kld(run: &Path, cell: &str) -> f64 {
    let lines = json_lines(run);
    let chunks = lines.iter().filter(|line| {
        line["kind"] == "chunk" && line["case_id"].as_str().expect("a name").starts_with(cell)
    });
    let klds = chunks.flat_map(|line| line["kld"].as_array().cloned().unwrap_or_default());
    let klds: Vec<f64> = klds.filter_map(|kld| kld.as_f64()).collect();
    assert!(!klds.is_empty(), "{cell}: no chunk was compared");
    klds.iter().sum::<f64>() / klds.len() as f64
}

/// The gate's exit code and its report.
#[track_caller]
fn gate(place: &Place, run: &Path, baseline: &Path, metric: &str) -> (Option<i32>, Value) {
    let [run, baseline] = [run, baseline].map(|path| path.to_str().expect("text"));
    let out = place.run(&[
        "gate",
        run,
        "--baseline",
        baseline,
        "--metric",
        metric,
        "-o",
        "json",
    ]);
    let report = serde_json::from_str(&stdout(&out));
    let report = report.unwrap_or_else(|e| panic!("{e}: {}", stderr(&out)));
    (out.status.code(), report)
}

/// The verdict of the cell whose name begins so.
#[track_caller]
fn verdict(report: &Value, cell: &str) -> String {
    let mut cells = report["cells"].as_array().expect("cells").iter();
    let is_it = |found: &&Value| found["case_id"].as_str().expect("a name").starts_with(cell);
    let found = cells.find(is_it).expect("judged");
    found["verdict"].as_str().expect("a word").to_owned()
}

#[test]
fn a_tensor_of_doubled_values_is_seen_and_fails_the_gate() {
    let place = Place::new();
    let candidate = place.path().join("twin.gguf");
    std::fs::copy(tiny_model(), &candidate).expect("room");
    let sound = score(&place, "sound", "twin.gguf", &[]);
    let again = score(&place, "again", "twin.gguf", &[]);
    with_doubled_tensor(tiny_model(), "blk.0.ffn_down.weight", &candidate);
    let faulty = score(&place, "faulty", "twin.gguf", &[]);
    let floor = kld(&faulty, "tiny/pp32/tg32/b8").max(kld(&faulty, "tiny/pp32/tg32/b1"));
    let loss = kld(&faulty, "twin");
    assert!(loss > 1e-5 && loss > 100.0 * floor, "{loss} {floor}");
    for metric in ["kld", "perplexity", "same_top", "right_token_rms"] {
        let (code, report) = gate(&place, &again, &sound, metric);
        assert_eq!(code, Some(0), "{metric}: {report}");
    }
    let (code, report) = gate(&place, &faulty, &sound, "kld");
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(verdict(&report, "twin"), "regression");
    assert_eq!(verdict(&report, "tiny/pp32/tg32/b8"), "pass");
    let has_times = json_lines(&faulty)
        .iter()
        .any(|line| line["kind"] == "repetition");
    assert!(!has_times, "no speed was measured");
}

#[test]
fn swapped_sequences_are_seen_in_the_floor_and_the_record_says_that_they_were_planted() {
    let place = Place::new();
    std::fs::copy(tiny_model(), place.path().join("twin.gguf")).expect("room");
    let one_by_one = ["--batch", "1"];
    let sound = score(&place, "sound", "twin.gguf", &one_by_one);
    let swap = [&one_by_one[..], &["--engine", "llama:swap"]].concat();
    let faulty = score(&place, "faulty", "twin.gguf", &swap);
    let header = &json_lines(&faulty)[0];
    let version = header["engine"]["version"].as_str().expect("a version");
    assert!(version.contains("faulty on purpose"), "{version}");
    let (several, one) = (
        kld(&faulty, "tiny/pp32/tg32/b8"),
        kld(&faulty, "tiny/pp32/tg32/b1"),
    );
    assert!(
        several > 1e-4 && several > 100.0 * one.abs(),
        "{several} {one}"
    );
    assert!(several > 100.0 * kld(&sound, "tiny/pp32/tg32/b8"));
    let (code, report) = gate(&place, &faulty, &sound, "kld");
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(verdict(&report, "tiny/pp32/tg32/b8"), "regression");
    assert_eq!(verdict(&report, "twin"), "pass");
}

#[test]
fn a_quantised_kv_cache_is_seen() {
    let place = Place::new();
    std::fs::copy(tiny_model(), place.path().join("twin.gguf")).expect("room");
    let run = score(&place, "cache", "twin.gguf", &["--type-k", "f16,q4_0"]);
    let floor = kld(&run, "tiny/pp32/tg32/b8");
    let cell = "tiny/pp64/tg0/b32/d0/t1/c64/ctk-q4_0";
    let loss = kld(&run, cell);
    assert!(loss > 1e-6 && loss > 10.0 * floor, "{loss} {floor}");
    assert_eq!(kld(&run, "twin/pp64/tg0/b32/d0/t1/c64/ctk-q4_0"), loss);
}
