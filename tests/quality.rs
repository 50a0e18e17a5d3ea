//! Scoring a text, with real llama.cpp on a tiny random model: what is recorded, resumed and refused.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::{Place, json_lines, stderr, tiny_model};

/// Runs `quality` on the tiny model as the base; its copy and its Q8_0 are compared with it.
fn quality(place: &Place, more: &[&str]) -> Output {
    let model = tiny_model().to_str().expect("text");
    let mut args = vec!["quality", "--base", model, "twin.gguf", "q8.gguf"];
    args.extend(["--n-ctx", "64", "-t", "1", "--no-report"]);
    args.extend(more);
    place.run(&args)
}

/// A folder with the copy and the Q8_0.
fn with_files() -> Place {
    let place = Place::new();
    std::fs::copy(tiny_model(), place.path().join("twin.gguf")).expect("room");
    let model = tiny_model().to_str().expect("text");
    let made = place.run(&["model", "quantize", model, "q8_0", "q8.gguf"]);
    assert!(made.status.success(), "{}", stderr(&made));
    place
}

fn text_of(place: &Place, n_words: usize) -> PathBuf {
    let path = place.path().join("own.txt");
    let words: Vec<String> = (0..n_words).map(|n| format!("word{n}")).collect();
    std::fs::write(&path, words.join(" ")).expect("writable");
    path
}

/// The chunks of each cell, by its name.
fn chunks(run: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut of_cell: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in json_lines(run) {
        if line["kind"] == "chunk" {
            let name = line["case_id"].as_str().expect("a name").to_owned();
            of_cell.entry(name).or_default().push(line);
        }
    }
    of_cell
}

fn numbers(line: &Value, key: &str) -> Vec<f64> {
    let values = line[key].as_array().cloned().unwrap_or_default();
    values.iter().filter_map(Value::as_f64).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_copy_has_the_bases_distributions_and_a_quantised_file_has_others() {
    let place = with_files();
    let done = quality(&place, &["--chunks", "4"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let run = place.the_run();
    let of_cell = chunks(&run);
    assert_eq!(of_cell.len(), 5, "base, two floors, copy, Q8_0");
    let of = |name: &str| {
        let found = of_cell.iter().find(|(id, _)| id.starts_with(name));
        found.expect("scored").1
    };
    for chunk in of_cell.values().flatten() {
        assert_eq!(numbers(chunk, "nll").len(), 31, "positions 32 to 62");
    }
    let (base, twin, q8) = (of("tiny/pp64/tg0"), of("twin"), of("q8"));
    for (base, twin) in base.iter().zip(twin) {
        assert_eq!(base["nll"], twin["nll"]);
        assert_eq!(base["top"], twin["top"]);
        assert_eq!(base["tokens_hash"], twin["tokens_hash"]);
        assert!(base.get("kld").is_none(), "nothing to compare it with");
        assert!(mean(&numbers(twin, "kld")).abs() < 1e-6);
    }
    let lost: Vec<f64> = q8.iter().flat_map(|chunk| numbers(chunk, "kld")).collect();
    let floor = of("tiny/pp32/tg32/b8");
    let floor: Vec<f64> = floor.iter().flat_map(|c| numbers(c, "kld")).collect();
    assert!(mean(&lost) > 1e-6, "{}", mean(&lost));
    assert!(
        mean(&floor) < mean(&lost),
        "{} {}",
        mean(&floor),
        mean(&lost)
    );
    let files = std::fs::read_dir(&run).expect("readable").flatten();
    let left = files.filter(|f| f.path().extension().is_some_and(|e| e == "distributions"));
    assert_eq!(left.count(), 0, "the base's distributions are removed");
}

#[test]
fn a_run_that_was_cut_off_goes_on_without_repeating_a_chunk() {
    let place = with_files();
    let done = quality(&place, &["--chunks", "6", "--batch", "2"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let run = place.the_run();
    let whole = chunks(&run);
    let record = run.join("run.jsonl");
    let text = std::fs::read_to_string(&record).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    // After the header, in the base, in the middle of the last cell, and before its outcome.
    for n_lines in [1, 4, lines.len() - 5, lines.len() - 2] {
        let cut: String = lines[..n_lines].iter().map(|l| format!("{l}\n")).collect();
        std::fs::write(&record, cut + "{\"kind\":\"chu").expect("writable");
        let run_name = run.to_str().expect("text");
        let resumed = place.run(&["--resume", run_name, "--no-report"]);
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        let again = chunks(&run);
        assert_eq!(again.len(), whole.len(), "cut after {n_lines} lines");
        for (name, chunks) in &whole {
            let number = |chunk: &Value| chunk["chunk"].as_u64().expect("a number");
            let expected: BTreeSet<u64> = chunks.iter().map(number).collect();
            let mut found: Vec<u64> = again[name].iter().map(number).collect();
            found.sort_unstable();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}");
            for chunk in &again[name] {
                let same = chunks.iter().find(|c| c["chunk"] == chunk["chunk"]);
                assert_eq!(chunk["nll"], same.expect("scored")["nll"]);
            }
        }
    }
}

#[test]
fn a_text_that_is_too_short_and_a_base_that_is_several_are_told_in_one_line() {
    let place = with_files();
    let text = text_of(&place, 8);
    let short = quality(&place, &["--text", text.to_str().expect("text")]);
    assert_eq!(short.status.code(), Some(1), "{}", stderr(&short));
    let outcomes: Vec<Value> = json_lines(&place.the_run())
        .into_iter()
        .filter(|line| line["kind"] == "quality")
        .collect();
    assert_eq!(outcomes.len(), 5);
    for line in outcomes {
        let reason = line["outcome"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("2 chunks of 64 are the fewest"), "{reason}");
    }
    let several = place.run(&["quality", "--base", ".", "--no-report"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(
        stderr(&several).contains("name the one"),
        "{}",
        stderr(&several)
    );
    let nothing = place.run(&["quality"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        stderr(&nothing).contains("--base F16.gguf"),
        "{}",
        stderr(&nothing)
    );
    let missing = quality(&place, &["--text", "missing.txt"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        stderr(&missing).contains("missing.txt"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn a_text_is_scored_whole_and_nothing_runs_in_a_dry_run() {
    let place = with_files();
    let text = text_of(&place, 200);
    let text = text.to_str().expect("text");
    let dry = quality(&place, &["--text", text, "--chunks", "all", "--dry-run"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(support::stdout(&dry).contains("base, all chunks of 64 tokens"));
    assert!(!place.out().exists());
    let whole = quality(&place, &["--text", text, "--chunks", "all"]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let lines = json_lines(&place.the_run());
    let base = lines.iter().find(|line| line["kind"] == "quality");
    let n_tokens = base.expect("ended")["n_text_tokens"].as_u64();
    let n_chunks = chunks(&place.the_run()).values().map(Vec::len).max();
    assert_eq!(n_chunks.map(|n| n as u64), n_tokens.map(|n| n / 64));
}

#[test]
fn a_budget_leaves_whole_chunks_of_every_file() {
    let place = with_files();
    let done = quality(
        &place,
        &["--chunks", "all", "--batch", "1", "--budget", "2s"],
    );
    assert!(done.status.success(), "{}", stderr(&done));
    let of_cell = chunks(&place.the_run());
    assert_eq!(of_cell.len(), 5);
    let cut = json_lines(&place.the_run())
        .into_iter()
        .filter(|line| line["outcome"]["stopped_by"] == "budget");
    // A fast machine may score the whole text in its share.
    for line in cut {
        let n = line["outcome"]["repetitions"].as_u64().expect("a number");
        let name = line["case_id"].as_str().expect("a name");
        assert_eq!(of_cell[name].len() as u64, n);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_keeps_its_chunks_and_no_distributions() {
    let place = with_files();
    let model = tiny_model().to_str().expect("text");
    let mut child = place
        .command()
        .args(["quality", "--base", model, "twin.gguf", "--chunks", "100"])
        .args(["--n-ctx", "64", "-t", "1", "--batch", "1", "--no-report"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let is_scoring = || {
        let runs = std::fs::read_dir(place.out()).into_iter().flatten();
        let mut runs = runs.flatten().map(|run| run.path());
        runs.any(|run| support::json_lines_or_empty(&run) > 3)
    };
    while !is_scoring() {
        assert!(child.try_wait().expect("ours").is_none(), "it ended early");
        std::thread::yield_now();
    }
    support::signal(child.id(), "-INT");
    assert_eq!(child.wait().expect("ours").code(), Some(130));
    let run = place.the_run();
    let files = std::fs::read_dir(&run).expect("readable").flatten();
    let left = files.filter(|f| f.path().extension().is_some_and(|e| e == "distributions"));
    assert_eq!(left.count(), 0);
    assert!(chunks(&run).values().all(|chunks| !chunks.is_empty()));
    let run = run.to_str().expect("text");
    let resumed = place.run(&["--resume", run, "--no-report"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
}
