//! `gate-trial`: what a gate does to runs of which the truth is known, with the synthetic engine's records.

mod support;

use serde_json::Value;
use support::{Place, stderr, stdout};

/// Measures a run of its own below a folder.
#[track_caller]
fn measure(place: &Place, folder: &str, ns: u32, seed: u32) {
    let engine = format!(
        r#"synthetic:{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"step_cv":0.02,"process_cv":0.02,"seed":{seed}}}"#
    );
    let mut args = vec![
        "--engine",
        &engine,
        "--model",
        "synth:tiny:q4_0",
        "--out",
        folder,
        "--name",
        folder,
    ];
    args.extend([
        "--batch", "1,8", "-p", "8", "-n", "16", "-r", "3", "-o", "json",
    ]);
    let out = place.run(&args);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
}

/// The rows of a kind, as they stand in the JSON.
fn row<'a>(trial: &'a Value, kind: &str, is_slower: bool) -> &'a Value {
    let rows = trial["rows"].as_array().expect("rows");
    let is_it = |row: &&Value| row["gates"]["kind"] == kind && row["is_slower"] == is_slower;
    rows.iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no {kind} in {trial}"))
}

fn count(row: &Value, what: &str) -> u64 {
    row[what].as_u64().expect("a count")
}

#[test]
fn unchanged_runs_do_not_fail_and_slower_ones_do() {
    let place = Place::new();
    for seed in 1..10 {
        measure(&place, "same", 1_000_000, seed);
    }
    for seed in 10..12 {
        measure(&place, "slower", 1_500_000, seed);
    }
    let args = ["gate-trial", "same", "--slower", "slower", "--flips", "360"];
    let out = place.run(&[&args[..], &["-o", "json"]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let trial: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(trial["runs"].as_array().expect("runs").len(), 9);
    for (kind, n_gates) in [
        ("one_run", 9 * 8),
        ("one_run_among", 9 * 8),
        ("nights", 9),
        ("by_cell", 360),
        ("by_process", 360),
    ] {
        let row = row(&trial, kind, false);
        assert_eq!(
            (count(row, "n_gates"), count(row, "failed")),
            (n_gates, 0),
            "{kind}"
        );
        let ended = count(row, "inconclusive") + count(row, "passed");
        assert_eq!(ended, n_gates, "{kind}");
        let naive = count(row, "naive");
        assert!(naive > 0 || n_gates < 50, "processes differ by 2%: {row}");
    }
    for (kind, n_gates) in [("one_run", 18), ("one_run_among", 18)] {
        let row = row(&trial, kind, true);
        assert_eq!(
            (count(row, "n_gates"), count(row, "failed")),
            (n_gates, n_gates),
            "{row}"
        );
    }
    assert_eq!(row(&trial, "one_run_among", true)["gates"]["nights"], 9);
    assert_eq!(count(row(&trial, "nights", true), "n_gates"), 2);

    let again = stdout(&place.run(&[&args[..], &["-o", "json"]].concat()));
    assert_eq!(again, stdout(&out), "the exchanges are seeded");
    let table = stdout(&place.run(&args));
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let md = stdout(&place.run(&[&args[..], &["-o", "md"]].concat()));
    let words: Vec<&str> = md.split_whitespace().collect();
    let md = words.join(" ");
    assert!(
        md.contains("| slower | one run | 18 | 18 (100.00%) |"),
        "{md}"
    );

    for (args, needle) in [
        (vec!["gate-trial", "slower"], "at least 3 runs"),
        (vec!["gate-trial", "none"], "none"),
        (vec!["gate-trial", "same", "--slower", "none"], "none"),
    ] {
        let out = place.run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
    }
}
