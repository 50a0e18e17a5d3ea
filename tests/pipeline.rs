//! The whole program with the synthetic engine in real worker processes: exact figures, and every
//! way in which a cell can go wrong.

mod support;

use ggufbench::measure::Phase;
use ggufbench::record::{CellLine, Line, Outcome, StoppedBy};
use serde_json::Value;
use support::{Place, follow, json_lines, record, repetitions, stderr, stdout};

const MODEL: [&str; 2] = ["--model", "synth:tiny:q4_0"];

fn synthetic(place: &Place, cost: &str, args: &[&str]) -> std::process::Output {
    let engine = format!("synthetic:{cost}");
    let mut all = vec!["--engine", &engine];
    all.extend(MODEL);
    all.extend(args);
    place.run(&all)
}

/// What became of each cell in each replicate of the only run.
fn cells(place: &Place) -> Vec<CellLine> {
    let (_, lines) = record(&place.the_run());
    lines
        .into_iter()
        .filter_map(|line| match line {
            Line::Cell(c) => Some(*c),
            _ => None,
        })
        .collect()
}

const COST: &str = r#"{"call_ns":1000000,"token_ns":1000,"past_ns":0,"sample_ns":0}"#;

#[test]
fn figures_are_exactly_the_cost_models() {
    let place = Place::new();
    let out = synthetic(
        &place,
        COST,
        &[
            "--batch", "1,8", "-p", "10", "-n", "20", "-r", "4", "-o", "json",
        ],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let cells: Vec<Value> = serde_json::from_str(&stdout(&out)).expect("one JSON array");
    assert_eq!(cells.len(), 2);
    for (cell, n_seq) in cells.iter().zip([1_u64, 8]) {
        let step = 1_000_000 + 1000 * n_seq;
        assert_eq!(cell["outcome"], "measured");
        assert_eq!(cell["n_seq"], n_seq);
        assert_eq!(
            (&cell["n_prompt"], &cell["n_gen"]),
            (&10.into(), &20.into())
        );
        assert_eq!(cell["n_ctx"], 2048);
        let rate = cell["decode_tokens_per_s"].as_f64().expect("a rate");
        let expected = n_seq as f64 * 1e9 / step as f64;
        assert!((rate / expected - 1.0).abs() < 1e-9, "{rate} != {expected}");
        let ci = &cell["decode_tokens_per_s_ci"];
        assert!((ci[0].as_f64().expect("lo") / expected - 1.0).abs() < 1e-9);
        assert_eq!(cell["ttft_ns"], 1_000_000 + 10_000 * n_seq);
        assert_eq!(cell["tpot_ns"], step);
        assert_eq!(cell["step_ns"]["max"], step);
        // 3 processes x 4 repetitions x 20 steps are too few for a p99, enough for a p95.
        assert_eq!(cell["step_ns"]["p99"], Value::Null);
        let p95 = cell["step_ns"]["p95"].as_f64().expect("enough steps");
        assert!(
            (p95 / step as f64 - 1.0).abs() < 1e-3,
            "3 significant figures"
        );
    }
    let (_, lines) = record(&place.the_run());
    assert_eq!(repetitions(&lines).len(), 2 * 3 * 4);
    for line in &lines {
        if let Line::Repetition(r) = line {
            let decodes = r.calls.iter().filter(|c| c.phase == Phase::Decode);
            assert_eq!(decodes.count(), 20);
        }
    }
}

#[test]
fn workers_are_watched_while_they_repeat() {
    let place = Place::new();
    let out = synthetic(
        &place,
        COST,
        &["--batch", "1,2", "-n", "4", "-r", "3", "--replicates", "1"],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let cells = cells(&place);
    assert_eq!(cells.len(), 2);
    for cell in cells {
        let usage = cell.usage.expect("has repetitions");
        // One at the end of each repetition, and more where the machine is so busy that one lasts 200 ms.
        assert!(usage.samples >= 3, "{usage:?}");
        if cfg!(target_os = "linux") {
            assert!(
                usage
                    .rss_bytes
                    .is_some_and(|rss| rss.min > 0.0 && rss.min <= rss.max)
            );
            assert!(usage.process_cpu_percent.is_some() && usage.own_cost_ns.is_some());
        }
        assert_eq!(usage.gpu, None, "no layers on a GPU");
    }
}

#[test]
fn a_steady_cell_stops_at_the_asked_precision_and_a_noisy_one_at_the_most() {
    let place = Place::new();
    let out = synthetic(&place, COST, &["-n", "8", "--min-repetitions", "3"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let noisy = Place::new();
    let cost = r#"{"step_cv":0.5}"#;
    let out = synthetic(&noisy, cost, &["-n", "8", "--max-repetitions", "5"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let stops = |place: &Place| -> Vec<(u32, StoppedBy)> {
        cells(place)
            .iter()
            .filter_map(|c| match c.outcome {
                Outcome::Measured {
                    repetitions,
                    stopped_by,
                } => Some((repetitions, stopped_by)),
                _ => None,
            })
            .collect()
    };
    assert_eq!(stops(&place), [(3, StoppedBy::Precision); 3]);
    assert_eq!(stops(&noisy), [(5, StoppedBy::MaxRepetitions); 3]);
}

#[test]
fn an_abort_costs_one_cell_and_the_exit_code() {
    let place = Place::new();
    // A cell makes 3 warm-up rounds and 2 repetitions of 1 + 4 calls: the 30th is in the second cell.
    let cost = r#"{"abort_at_call":30}"#;
    let args = [
        "--batch",
        "1,2,4",
        "-n",
        "4",
        "-r",
        "2",
        "--replicates",
        "1",
    ];
    let out = synthetic(&place, cost, &args);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let cells = cells(&place);
    let words: Vec<_> = cells.iter().map(|c| c.outcome.word()).collect();
    assert_eq!(words, ["measured", "crashed", "measured"]);
    #[cfg(unix)]
    assert_eq!(cells[1].outcome.to_string(), "crashed: SIGABRT");
    assert!(
        cells[1]
            .log
            .iter()
            .any(|l| l.contains("aborting at call 30")),
        "the engine's last words: {:?}",
        cells[1].log
    );
    assert_eq!((cells[0].worker, cells[2].worker), (Some(0), Some(1)));
}

#[test]
fn an_engine_error_costs_one_cell_and_no_process() {
    let place = Place::new();
    let cost = r#"{"fail_at_call":30}"#;
    let args = [
        "--batch",
        "1,2,4",
        "-n",
        "4",
        "-r",
        "2",
        "--replicates",
        "1",
    ];
    let out = synthetic(&place, cost, &args);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let outcomes: Vec<_> = cells(&place)
        .iter()
        .map(|c| (c.outcome.word(), c.worker))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("measured", Some(0)),
            ("failed", Some(0)),
            ("measured", Some(0))
        ]
    );
}

/// Loading is tried once a replicate, not once a cell.
#[test]
fn a_model_that_cannot_be_loaded_fails_each_cell_with_the_engines_reason() {
    let place = Place::new();
    let broken = place.path().join("broken.gguf");
    let tiny = std::fs::read(support::tiny_model()).expect("readable");
    // Another architecture's name, as long as the true one: the engine wants tensors that are not there.
    // A tensor by another name: the header reads well, and the engine misses it.
    let mut bytes = tiny;
    let name = b"blk.0.attn_q.weight";
    let at = bytes
        .windows(name.len())
        .position(|w| w == name)
        .expect("every llama has it");
    bytes[at..at + name.len()].copy_from_slice(b"blk.0.attn_x.weight");
    std::fs::write(&broken, bytes).expect("writable");
    let out = place.run(&[
        "-m",
        broken.to_str().expect("text"),
        "--batch",
        "1,2,4",
        "--replicates",
        "2",
    ]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let (_, lines) = record(&place.the_run());
    let loads = lines
        .iter()
        .filter(|l| matches!(l, Line::Worker(_)))
        .count();
    assert_eq!(loads, 2, "once a replicate");
    for line in &lines {
        if let Line::Cell(c) = line {
            assert_eq!(c.outcome.word(), "failed");
            assert!(
                c.log.iter().any(|l| l.contains("attn_q.weight")),
                "{:?}",
                c.log
            );
        }
    }
}

#[test]
fn a_worker_that_hangs_is_killed_and_named() {
    let place = Place::new();
    let cost = r#"{"hang_at_call":30}"#;
    let args = [
        "--batch",
        "1,2",
        "-n",
        "4",
        "-r",
        "2",
        "--replicates",
        "1",
        "--timeout",
        "500ms",
    ];
    let out = synthetic(&place, cost, &args);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stdout(&out).contains("timed out"), "{}", stdout(&out));
}

#[test]
fn a_resumed_run_measures_exactly_what_is_missing() {
    let place = Place::new();
    let cost = r#"{"abort_at_call":30}"#;
    let args = [
        "--batch",
        "1,2,4",
        "-n",
        "4",
        "-r",
        "2",
        "--replicates",
        "2",
    ];
    synthetic(&place, cost, &args);
    let run = place.the_run();
    let before = repetitions(&record(&run).1);
    let run_text = run.to_str().expect("text");
    let whole = place.run(&["--engine", "synthetic", "--resume", run_text]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let after = repetitions(&record(&run).1);
    assert_eq!(after[..before.len()], before, "nothing lost");
    let mut unique = after.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), after.len(), "nothing repeated");
    assert_eq!(after.len(), 3 * 2 * 2);
    let again = place.run(&["--engine", "synthetic", "--resume", run_text]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(repetitions(&record(&run).1), after, "nothing was missing");
}

#[test]
fn a_resumed_run_keeps_its_plan_and_its_engine() {
    let place = Place::new();
    synthetic(&place, COST, &["-n", "4", "-r", "1", "--replicates", "1"]);
    let run = place.the_run();
    let run = run.to_str().expect("text");
    for (args, needle) in [
        (
            vec!["--engine", "synthetic", "--resume", run, "--batch", "2"],
            "leave out",
        ),
        (
            vec!["--engine", "synthetic", "--resume", run, "--seed", "2"],
            "leave out",
        ),
        (vec!["--resume", run], "was measured with synthetic"),
        (vec!["--resume", "no-such-run"], "no-such-run"),
    ] {
        let out = place.run(&args);
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
    }
}

#[test]
fn a_cell_that_does_not_fit_is_a_visible_row() {
    let place = Place::new();
    // 256 sequences of 8 million cells: more memory than any machine has.
    let args = [
        "--batch", "1,256", "-c", "8000000", "-n", "4", "-r", "1", "-o", "json",
    ];
    let out = synthetic(&place, COST, &args);
    let cells: Vec<Value> = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(cells[1]["outcome"], "skipped");
    let detail = cells[1]["outcome_detail"].as_str().expect("text");
    assert!(
        detail.starts_with("skipped: needs ") && detail.contains(", has "),
        "{detail}"
    );
    assert_eq!(cells[1]["decode_tokens_per_s"], Value::Null);
}

#[test]
fn a_dry_run_prices_every_cell_and_leaves_nothing() {
    let place = Place::new();
    let out = synthetic(&place, COST, &["--batch", "1,8,32", "--dry-run"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = stdout(&out);
    for needle in ["MiB", "32"] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    assert!(!place.out().exists(), "no record");
    let models = std::fs::read_dir(place.path().join("gguf")).expect("readable");
    assert_eq!(models.count(), 0, "no model written");
}

#[test]
fn the_record_and_the_json_follow_their_schemas() {
    let place = Place::new();
    let cost = r#"{"abort_at_call":30}"#;
    let args = ["--batch", "1,2,4", "-n", "4", "-r", "2", "-o", "json"];
    let out = synthetic(&place, cost, &args);
    follow("run.schema.json", json_lines(&place.the_run()));
    let cells: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    follow("cells.schema.json", [cells]);
}
