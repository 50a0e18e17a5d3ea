//! `ab` of other programs' benchmarks, as a user sees it.
#![cfg(unix)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::bench::{engine, program};
use support::{Place, follow, stderr, stdout, tiny_model};

/// Two programs in turns, as JSON.
fn ab(place: &Place, a: &Path, b: &Path, more: &[&str]) -> Output {
    let model = tiny_model().to_str().expect("text");
    let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
    let mut args = vec![
        "ab",
        "--model",
        model,
        "-p",
        "0",
        "-n",
        "4",
        "-t",
        "1",
        "--program-a",
        a,
        "--program-b",
        b,
    ];
    args.extend(more);
    place.run(&args)
}

#[track_caller]
fn json(out: &Output) -> Value {
    serde_json::from_str(&stdout(out)).unwrap_or_else(|e| panic!("{e}: {}", stderr(out)))
}

#[track_caller]
fn folder(place: &Place) -> PathBuf {
    let entries = std::fs::read_dir(place.out()).expect("out exists");
    let mut entries: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    entries.sort();
    entries.pop().expect("a folder")
}

#[test]
fn a_slower_program_is_found_and_the_same_one_is_not_slower() {
    let place = Place::new();
    let fast = program(place.path(), "fast", 1_000_000, &engine(0));
    let slow = program(place.path(), "slow", 1_100_000, &engine(0));
    let out = ab(&place, &fast, &slow, &["-o", "json"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found = json(&out);
    let row = &found["rows"][0];
    assert_eq!(
        (&found["metric"], &row["verdict"]["word"]),
        (&"tpot_ns".into(), &"regression".into())
    );
    let change = row["pairs"]["estimate"].as_f64().expect("known").exp_m1();
    assert!((change - 0.1).abs() < 0.02, "{change}");
    let md = std::fs::read_to_string(folder(&place).join("comparison.md")).expect("written");
    assert!(
        md.contains("regression") && md.contains("the mean step, is compared"),
        "{md}"
    );
    matches_the_schema(&folder(&place).join("programs.jsonl"));

    let same = json(&ab(&place, &fast, &fast, &["-o", "json"]));
    assert_eq!(same["is_same_twice"], true);
    assert_eq!(same["rows"][0]["verdict"]["word"], "no_regression");
}

fn matches_the_schema(record: &Path) {
    let text = std::fs::read_to_string(record).expect("readable");
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
    follow("programs.schema.json", lines.clone());
    let kind = |line: &Value| line["kind"].as_str().expect("text").to_owned();
    let kinds: Vec<String> = lines.iter().map(kind).collect();
    assert_eq!(
        (kinds[0].as_str(), kinds.last().map(String::as_str)),
        ("programs", Some("end"))
    );
    assert!(
        kinds.iter().filter(|kind| *kind == "visit").count() >= 12,
        "{kinds:?}"
    );
}

#[test]
fn a_program_that_crashes_is_named_and_the_exit_code_says_so() {
    let place = Place::new();
    let fast = program(place.path(), "fast", 1_000_000, &engine(0));
    let crash = program(
        place.path(),
        "crash",
        1,
        "#!/bin/sh\necho 'no such op' >&2\nexit 3\n",
    );
    let out = ab(&place, &fast, &crash, &[]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(
        stdout(&out).contains("exit code 3: no such op"),
        "{}",
        stdout(&out)
    );
}

#[test]
fn this_program_is_the_other_side_where_only_one_is_named() {
    let place = Place::new();
    let model = tiny_model().to_str().expect("text");
    let fast = program(place.path(), "fast", 1_000, &engine(0));
    let fast = fast.to_str().expect("text");
    let out = place.run(&[
        "ab",
        "--model",
        model,
        "-p",
        "0",
        "-n",
        "4",
        "-t",
        "1",
        "--program-a",
        fast,
        "--replicates",
        "2",
        "-o",
        "json",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let row = &json(&out)["rows"][0];
    assert_eq!(row["pairs"]["n_pairs"], 2);
    assert!(
        row["b"].as_f64() > row["a"].as_f64(),
        "nothing decodes in a microsecond: {row}"
    );
}

#[test]
fn what_other_programs_cannot_do_is_refused_before_anything_is_written() {
    let place = Place::new();
    let fast = program(place.path(), "fast", 1_000_000, &engine(0));
    let mute = place.path().join("mute");
    std::fs::copy(&fast, &mute).expect("copied");
    let none = place.path().join("none");
    for (b, more, needle) in [
        (
            &fast,
            &["--metric", "ttft"][..],
            "only prefill, decode and tpot",
        ),
        (&fast, &["--price", "0.3/kWh"], "energy of other programs"),
        (
            &fast,
            &["--batch", "8"],
            "llama-batched-bench of the same build",
        ),
        (&mute, &[], "say --program-kind"),
        (&none, &[], "there is no such program"),
    ] {
        let out = ab(&place, &fast, b, more);
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{more:?}: {}", stderr(&out));
        assert!(!place.out().exists(), "{more:?}");
    }
}
