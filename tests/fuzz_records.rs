//! Records, changed at random: each is refused in a line, or read, compared, resumed and reported.
//! `GGUFBENCH_FUZZ_MINUTES=30 cargo test --release --test fuzz_records` looks longer.

mod support;

use std::path::Path;

use ggufbench::analysis::theory::Theory;
use ggufbench::compare::side::Side;
use ggufbench::compare::{CompareOptions, compare};
use ggufbench::metric::Metric;
use ggufbench::record::jsonl;
use ggufbench::report::lab::{Lab, html, markdown};
use ggufbench::report::{self, Output};
use ggufbench::run::resume::Done;
use ggufbench::view::RunView;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use support::fuzz::{self, odd_number, one_of};
use support::{Place, stderr, tiny_model};

const CORPUS: &str = include_str!("fuzz/records.txt");

/// Everything that is done with a record.
fn show(path: &Path) -> Result<(), String> {
    let one_line = |e: &dyn std::fmt::Display| {
        let reason = e.to_string();
        let is_line = !reason.is_empty() && !reason.contains('\n') && reason.len() < 2000;
        assert!(is_line, "{}: {reason:?}", path.display());
        reason
    };
    let view = RunView::read(path).map_err(|e| one_line(&e))?;
    let answers = report::RunAnswers::of(&view, &Theory::of(&view, &|_| None), None);
    for output in [
        Output::Table,
        Output::Md,
        Output::Csv,
        Output::Json,
        Output::Jsonl,
    ] {
        report::print(&view, &answers, output, &mut std::io::sink()).expect("a sink takes all");
    }
    let lab = Lab::of(&view, &Theory::of(&view, &|_| None), None);
    html::render(&lab, path).expect("a template that is compiled in");
    markdown::render(&lab);
    for figure in lab.figures() {
        ggufbench::plot::svg(figure, ggufbench::plot::Medium::File);
    }
    let both = [path.to_owned(), path.to_owned()];
    // The same run twice is for the reader to notice.
    RunView::read_all(&both).map_err(|e| one_line(&e))?;
    Done::read(path).map_err(|e| one_line(&e))?;
    for metric in [Metric::StepNs, Metric::TtftNs] {
        let side = Side::read(path, metric).map_err(|e| one_line(&e))?;
        if let Err(e) = compare(&side, &side, &CompareOptions::default()) {
            one_line(&e);
        }
    }
    Ok(())
}

/// A run of cells and one of requests, of an engine that takes no time.
fn sound() -> [Vec<Value>; 2] {
    let model = tiny_model().to_str().expect("text");
    let record = |args: &[&str]| {
        let place = Place::new();
        let engine = ["--engine", "synthetic", "-t", "1", "--no-report"];
        let out = place.run(&[args, &engine, &["-m", model]].concat());
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        support::json_lines(&place.the_run())
    };
    [
        record(&[
            "run",
            "--batch",
            "1,2",
            "-p",
            "8",
            "-n",
            "4",
            "--replicates",
            "2",
            "-r",
            "2",
        ]),
        record(&[
            "requests", "--batch", "1,2", "--n-gen", "4", "--rounds", "2",
        ]),
    ]
}

/// A place in a value, at random: branches are as likely as what hangs on them.
fn place_in<'v>(value: &'v mut Value, rng: &mut ChaCha8Rng) -> &'v mut Value {
    let n = match value {
        Value::Array(all) => all.len(),
        Value::Object(all) => all.len(),
        _ => 0,
    };
    if n == 0 || rng.random_bool(0.1) {
        return value;
    }
    let at = rng.random_range(0..n);
    match value {
        Value::Array(all) => place_in(&mut all[at], rng),
        Value::Object(all) => place_in(all.values_mut().nth(at).expect("within"), rng),
        _ => unreachable!("has parts"),
    }
}

fn odd_value(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(""),
        2 => json!("\u{1b}[2J\u{202e}=cmd|' /C calc'!A0\n".repeat(rng.random_range(1..5))),
        3 => json!("x".repeat(100_000)),
        4 => json!([]),
        5 => json!({}),
        6 => json!(-1),
        7 => json!(*one_of(
            rng,
            &[1e308, -1e308, 1e-300, 0.5, f64::from(u32::MAX)]
        )),
        8 => json!(rng.random::<bool>()),
        _ => json!(odd_number(rng)),
    }
}

fn change(lines: &mut Vec<Value>, rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..lines.len());
    match rng.random_range(0..10) {
        0..6 => {
            let value = place_in(&mut lines[at], rng);
            *value = match value {
                // Of a number mostly another one: what does not parse at all is soon refused.
                Value::Number(_) if rng.random_bool(0.8) => json!(odd_number(rng)),
                _ => odd_value(rng),
            };
        }
        6 => {
            let value = place_in(&mut lines[at], rng);
            match value {
                Value::Array(all) => {
                    let more: Vec<Value> = all.iter().take(3).cloned().collect();
                    for _ in 0..rng.random_range(0..300) {
                        all.extend(more.iter().cloned());
                    }
                }
                Value::Object(all) => {
                    if let Some(key) = all.keys().next().cloned() {
                        all.remove(&key);
                    }
                }
                other => *other = Value::Null,
            }
        }
        7 => {
            let line = lines[at].clone();
            lines.insert(rng.random_range(0..=lines.len()), line);
        }
        8 => {
            lines.remove(at);
        }
        _ => {
            let other = rng.random_range(0..lines.len());
            lines.swap(at, other);
        }
    }
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn mutated_records_are_refused_or_reported() {
    let sound = sound();
    fuzz::run("fuzz_records", 60, |rng, folder| {
        let mut lines = one_of(rng, &sound).clone();
        for _ in 0..rng.random_range(1..5) {
            if !lines.is_empty() {
                change(&mut lines, rng);
            }
        }
        let mut bytes = text(&lines).into_bytes();
        if rng.random_bool(0.1) {
            let at = rng.random_range(0..bytes.len().max(1));
            bytes.truncate(at);
        }
        let path = folder.join(jsonl::FILE_NAME);
        std::fs::write(&path, bytes).expect("writable");
        // Refused or shown: both are right, whatever stands there.
        let _ = show(&path);
    });
}

#[test]
fn records_that_were_trouble_once_are_refused_by_line() {
    let [cells, requests] = sound();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(jsonl::FILE_NAME);
    for sound in [&cells, &requests] {
        std::fs::write(&path, text(sound)).expect("writable");
        assert_eq!(show(&path), Ok(()));
    }
    for line in fuzz::corpus(CORPUS) {
        let is_of_requests = line.contains(" /requests/");
        let mut lines = if is_of_requests { &requests } else { &cells }.clone();
        for edit in line.split("; ") {
            let words: Vec<&str> = edit.splitn(3, ' ').collect();
            let [kind, pointer, value] = words[..] else {
                panic!("not KIND POINTER JSON: {edit}");
            };
            let of_kind = lines.iter_mut().find(|l| l["kind"] == kind).expect(kind);
            let value = serde_json::from_str(value).expect("JSON");
            let (parent, key) = pointer.rsplit_once('/').expect(pointer);
            // A field that a sound record leaves out is added.
            let parent = of_kind.pointer_mut(parent).expect(pointer);
            parent[key] = value;
        }
        std::fs::write(&path, text(&lines)).expect("writable");
        let reason = show(&path).expect_err(line);
        assert!(reason.contains("run.jsonl:"), "{line}: {reason}");
    }
}
