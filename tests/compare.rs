//! `compare` and `gate` as a user sees them, with the synthetic engine in real worker processes.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use support::{Place, stderr, stdout};

/// A cost without noise, and one with: what a call costs, in thousandths.
fn cost(permille: u32) -> String {
    let ns = 1000 * permille;
    format!(r#"{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0}}"#)
}

fn noisy(permille: u32, seed: u32) -> String {
    let ns = 1000 * permille;
    format!(
        r#"{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"step_cv":0.02,"process_cv":0.004,"seed":{seed}}}"#
    )
}

const TWO_BATCHES: [&str; 2] = ["--batch", "1,8"];

/// Measures into `out/` a run of its own and returns its folder.
#[track_caller]
fn measure(place: &Place, cost: &str, args: &[&str]) -> PathBuf {
    let before = runs(place);
    let engine = format!("synthetic:{cost}");
    let mut all = vec!["--engine", &engine, "--model", "synth:tiny:q4_0"];
    all.extend(["-p", "8", "-n", "16", "-r", "3", "-o", "json"]);
    all.extend(args);
    let out = place.run(&all);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let new: Vec<PathBuf> = runs(place)
        .into_iter()
        .filter(|run| !before.contains(run))
        .collect();
    assert_eq!(new.len(), 1, "one new run");
    new[0].clone()
}

fn runs(place: &Place) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place.out()) else {
        return Vec::new();
    };
    let mut runs: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    runs.retain(|run| !run.ends_with("history"));
    runs.sort();
    runs
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// What `compare` says as JSON.
#[track_caller]
fn compared(place: &Place, args: &[&str]) -> Value {
    let out = place.run(&[&["compare"], args, &["-o", "json"]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    serde_json::from_str(&stdout(&out)).expect("JSON")
}

fn words(json: &Value, rows: &str) -> Vec<String> {
    let rows = json[rows].as_array().expect("rows");
    let word = |row: &Value| {
        let verdict = &row["verdict"];
        verdict
            .get("word")
            .unwrap_or(verdict)
            .as_str()
            .expect("a word")
            .to_owned()
    };
    rows.iter().map(word).collect()
}

#[test]
fn a_run_is_the_same_as_itself_and_a_slower_twin_is_slower() {
    let place = Place::new();
    let (a, b) = (
        measure(&place, &noisy(1000, 1), &TWO_BATCHES),
        measure(&place, &noisy(1100, 2), &TWO_BATCHES),
    );
    let itself = compared(&place, &[text(&a), text(&a)]);
    assert_eq!(words(&itself, "rows"), ["same"; 2]);
    let twin = compared(&place, &[text(&a), text(&b)]);
    assert_eq!(words(&twin, "rows"), ["slower"; 2]);
    let back = compared(&place, &[text(&b), text(&a), "--metric", "decode"]);
    assert_eq!(words(&back, "rows"), ["faster"; 2]);
    let out = place.run(&["compare", text(&a), text(&b)]);
    let table = stdout(&out);
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    assert!(
        table.contains("slower") && table.contains("+10."),
        "{table}"
    );
    let md = stdout(&place.run(&["compare", text(&a), text(&b), "-o", "md"]));
    assert!(md.starts_with("# ") && md.contains("| slower "), "{md}");
}

#[test]
fn exact_costs_give_exact_changes() {
    let place = Place::new();
    let a = measure(&place, &cost(1000), &TWO_BATCHES);
    let b = measure(&place, &cost(1100), &TWO_BATCHES);
    for (metric, value) in [
        ("step", 1_000_000.0),
        ("ttft", 1_000_000.0),
        ("decode", 1000.0),
    ] {
        let c = compared(&place, &[text(&a), text(&b), "--metric", metric]);
        let row = &c["rows"][0];
        let change = row["slowdown"]["estimate"].as_f64().expect("a change");
        assert!((change - 0.1).abs() < 1e-9, "{metric}: {change}");
        assert_eq!(row["a"].as_f64().expect("a value"), value, "{metric}");
        assert_eq!(row["cliffs_delta"]["delta"], 1.0);
    }
}

#[test]
fn cells_of_one_side_are_listed_and_other_conditions_named() {
    let place = Place::new();
    let a = measure(&place, &cost(1000), &["--batch", "1,2"]);
    let b = measure(&place, &cost(1000), &["--batch", "2,4", "--seed", "7"]);
    let record = b.join("run.jsonl");
    let lines = std::fs::read_to_string(&record).expect("readable");
    let other = lines.replacen("\"name\":\"synthetic\"", "\"name\":\"another engine\"", 1);
    assert_ne!(lines, other);
    std::fs::write(&record, other).expect("writable");
    let c = compared(&place, &[text(&a), text(&b)]);
    let ids = |key: &str| c[key][0].as_str().expect("a name").to_owned();
    assert!(
        ids("only_a").contains("/b1/") && ids("only_b").contains("/b4/"),
        "{c}"
    );
    let kinds: Vec<&str> = c["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| d["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(kinds, ["engine", "seed"]);
    let table = stdout(&place.run(&["compare", text(&a), text(&b)]));
    let (named, row) = (table.find("another engine"), table.find("same within 3%"));
    assert!(named.is_some() && named < row, "before any row: {table}");
}

#[test]
fn one_run_is_compared_along_an_axis() {
    let place = Place::new();
    let a = measure(&place, &cost(1000), &["--batch", "1,8", "--threads", "1,2"]);
    let c = compared(&place, &[text(&a), "--axis", "threads"]);
    assert_eq!(
        words(&c, "rows"),
        ["same"; 2],
        "the cost model has no threads"
    );
    assert_eq!(c["paired"], true);
    for (args, needle) in [
        (vec![], "say --axis NAME (they differ in batch, threads"),
        (vec!["--axis", "type-k"], "one value of type_k (f16)"),
        (
            vec!["--axis", "threads=1,4"],
            "no measured cell has threads 4",
        ),
    ] {
        let out = place.run(&[&["compare", text(&a)], args.as_slice()].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
        assert_eq!(stderr(&out).trim_end().lines().count(), 1);
    }
}

#[track_caller]
fn gated(place: &Place, args: &[&str]) -> (Option<i32>, Value) {
    let out: Output = place.run(&[&["gate"], args, &["-o", "json"]].concat());
    let json = serde_json::from_str(&stdout(&out));
    (
        out.status.code(),
        json.unwrap_or_else(|e| panic!("{e}: {}", stderr(&out))),
    )
}

#[test]
fn the_gates_exit_codes() {
    let place = Place::new();
    let old = measure(&place, &noisy(1000, 1), &TWO_BATCHES);
    let equal = measure(&place, &noisy(1000, 2), &TWO_BATCHES);
    let slow = measure(&place, &noisy(1300, 3), &TWO_BATCHES);
    let restless = measure(
        &place,
        &cost(1000).replace("\"past_ns\"", "\"process_cv\":0.3,\"past_ns\""),
        &TWO_BATCHES,
    );
    let against_old = |run: &Path, args: &[&str]| {
        gated(
            &place,
            &[&[text(run), "--baseline", text(&old)], args].concat(),
        )
    };
    let (code, pass) = against_old(&equal, &[]);
    assert_eq!(
        (code, words(&pass, "cells")),
        (Some(0), vec!["pass".into(); 2])
    );
    let (code, once) = against_old(&slow, &[]);
    assert_eq!(
        (code, words(&once, "cells")),
        (Some(3), vec!["suspected".into(); 2])
    );
    let (code, unclear) = against_old(&restless, &[]);
    assert_eq!(
        (code, words(&unclear, "cells")),
        (Some(3), vec!["inconclusive".into(); 2])
    );
    let (code, one) = against_old(&slow, &["--cell", "*/b8/*"]);
    assert_eq!(
        (code, one["cells"].as_array().expect("cells").len()),
        (Some(3), 1)
    );

    let before = runs(&place).len();
    let still_slow = format!("synthetic:{}", noisy(1300, 4));
    let (code, twice) = against_old(&slow, &["--rerun", "--engine", &still_slow]);
    assert_eq!(
        (code, words(&twice, "cells")),
        (Some(1), vec!["regression".into(); 2])
    );
    assert!(twice["rerun"].as_str().expect("a name").ends_with("-rerun"));
    assert_eq!(
        runs(&place).len(),
        before + 1,
        "the rerun is a run of its own"
    );
    let well_again = format!("synthetic:{}", noisy(1000, 5));
    let (code, gone) = against_old(&slow, &["--rerun", "--engine", &well_again]);
    assert_eq!(
        (code, words(&gone, "cells")),
        (Some(3), vec!["inconclusive".into(); 2])
    );
    let (code, _) = against_old(&slow, &["--confirm", text(&equal)]);
    assert_eq!(code, Some(3));

    for (args, needle) in [
        (
            vec![text(&slow), "--baseline", "no-such-run"],
            "no-such-run",
        ),
        (vec![text(&slow)], "no run is pinned"),
        (
            vec![text(&slow), "--baseline", "last:7"],
            "no earlier night",
        ),
        (
            vec![text(&slow), "--baseline", text(&old), "--cell", "x"],
            "--cell asks for",
        ),
        (
            vec![
                text(&slow),
                "--baseline",
                text(&old),
                "--confirm",
                text(&slow),
            ],
            "the same run that it should confirm",
        ),
    ] {
        let out = place.run(&[&["gate"], args.as_slice()].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
    }
}

#[test]
fn limits_in_absolute_values_need_no_baseline() {
    let place = Place::new();
    let old = measure(&place, &noisy(1000, 1), &TWO_BATCHES);
    let slow = measure(&place, &noisy(1300, 3), &TWO_BATCHES);
    let limited = |run: &Path, args: &[&str]| gated(&place, &[&[text(run)], args].concat());
    let (code, roomy) = limited(
        &old,
        &["--require", "step<=1s", "--require", "decode>=0.001"],
    );
    assert_eq!((code, &roomy["verdict"]), (Some(0), &json!("pass")));
    assert_eq!(words(&roomy, "required"), ["pass"; 4]);
    let first = &roomy["required"][0];
    let ns = first["value"].as_f64().expect("a value");
    let interval = &first["interval"];
    assert!(
        interval["lo"].as_f64() < Some(ns) && interval["hi"].as_f64() > Some(ns),
        "{first}"
    );
    let at_the_value = format!("step<={ns:.0}ns@*/b1/*");
    let (code, unclear) = limited(&old, &["--require", &at_the_value]);
    assert_eq!(
        (code, words(&unclear, "required")),
        (Some(3), vec!["inconclusive".into()])
    );
    let (code, over) = limited(&old, &["--baseline", "none", "--require", "step<=1ns"]);
    assert_eq!((code, &over["verdict"]), (Some(1), &json!("over_limit")));
    assert_eq!(words(&over, "required"), ["fail"; 2]);

    // With a baseline both are judged, and both sides' values are shown.
    let against = ["--baseline", text(&old), "--require", "step<=1s"];
    let (code, both) = limited(&slow, &against);
    assert_eq!(
        (code, words(&both, "cells")),
        (Some(3), vec!["suspected".into(); 2])
    );
    assert_eq!(words(&both, "required"), ["pass"; 2]);
    let cell = &both["cells"][0];
    let ratio = cell["value"].as_f64().expect("tonight's")
        / cell["value_before"].as_f64().expect("the baseline's");
    assert!((ratio - 1.3).abs() < 0.05, "{cell}");
    let against = [
        "--baseline",
        text(&old),
        "--require",
        "step<=1ns",
        "--summary",
        "page.md",
    ];
    let out = place.run(&[&["gate", text(&old)], &against[..]].concat());
    let table = stdout(&out);
    assert_eq!(out.status.code(), Some(1), "{table}");
    assert!(
        table.contains("beyond a limit (2 pass, 2 beyond a limit)"),
        "{table}"
    );
    assert!(
        table.contains("step before") && table.contains("≤ 1 ns"),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let alone = [
        "gate",
        text(&old),
        "--require",
        "step<=1ns",
        "--summary",
        "alone.md",
    ];
    let table = stdout(&place.run(&alone));
    assert!(
        table.contains("baseline  none: only limits (--require) are judged"),
        "{table}"
    );
    for page in ["page.md", "alone.md"] {
        let page = std::fs::read_to_string(place.path().join(page)).expect("a page");
        assert!(
            page.contains("beyond a limit") && page.contains("≤ 1 ns"),
            "{page}"
        );
    }

    for (args, needle) in [
        (
            vec!["--require", "step<=1s@*/b99/*"],
            "none of its cells has step, of those that it names",
        ),
        (
            vec!["--require", "request_ttft<=1s"],
            "none of its cells has request_ttft",
        ),
        (
            vec!["--baseline", "none"],
            "--baseline none leaves nothing to judge by",
        ),
        (vec!["--require", "step<=1s", "--rerun"], "need a baseline"),
    ] {
        let out = place.run(&[&["gate", text(&old)], &args[..]].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
        assert_eq!(
            stderr(&out).trim_end().lines().count(),
            1,
            "{}",
            stderr(&out)
        );
    }
}

#[test]
fn nights_go_into_the_history_and_failed_ones_are_no_baseline() {
    let place = Place::new();
    let first = measure(&place, &noisy(1000, 1), &TWO_BATCHES);
    let out = place.run(&["gate", text(&first), "--promote"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(stdout(&out).contains("history"), "{}", stdout(&out));
    for seed in 2..5 {
        let night = measure(&place, &noisy(1000, seed), &TWO_BATCHES);
        let (code, _) = gated(&place, &[text(&night), "--keep"]);
        assert_eq!(code, Some(0));
    }
    for seed in [5, 6] {
        let slow = measure(&place, &noisy(1300, seed), &TWO_BATCHES);
        let last = [text(&slow), "--baseline", "last:14", "--keep"];
        let (code, report) = gated(&place, &last);
        assert_eq!(
            (code, words(&report, "cells")),
            (Some(3), vec!["suspected".into(); 2])
        );
        assert_eq!(
            report["cells"][0]["night_sd"]["nights"], 4,
            "slow nights do not count"
        );
        assert_eq!(report["baseline"].as_array().expect("nights").len(), 4);
        assert_eq!(report["drift"], Value::Null, "too few nights to say");
    }
}

/// A slow-down that a single run cannot tell from a night's mood, but nights of history can.
#[test]
fn a_history_knows_how_much_nights_differ() {
    let place = Place::new();
    let history = place.out().join("history");
    let first = measure(&place, &noisy(1000, 1), &TWO_BATCHES);
    place.run(&["gate", text(&first), "--promote"]);
    let slow = measure(&place, &noisy(1150, 20), &TWO_BATCHES);
    let still_slow = format!("synthetic:{}", noisy(1150, 21));
    let again = ["--rerun", "--engine", &still_slow];
    let judge = |more: &[&str]| gated(&place, &[&[text(&slow)], &again[..], more].concat());
    let (code, young) = judge(&[]);
    assert_eq!(code, Some(3));
    assert_eq!(young["cells"][0]["doubt"]["why"], "night", "{young}");
    assert_eq!(young["cells"][0]["night_sd"]["nights"], 1);
    let (code, told) = judge(&["--night-sd", "1%"]);
    assert_eq!(code, Some(1), "{told}");
    for seed in 2..14 {
        let night = measure(&place, &noisy(1000, seed), &TWO_BATCHES);
        let (code, _) = gated(&place, &[text(&night), "--keep"]);
        assert_eq!(code, Some(0));
    }
    let (code, old) = judge(&[]);
    assert_eq!(
        (code, &old["cells"][0]["night_sd"]["nights"]),
        (Some(1), &13.into()),
        "{old}"
    );
    let (code, last) = judge(&["--baseline", "last:14"]);
    assert_eq!(
        (code, &last["cells"][0]["against"]["nights"]),
        (Some(1), &13.into()),
        "{last}"
    );

    let broken = history.join("99999999-000000-broken");
    std::fs::create_dir(&broken).expect("writable");
    std::fs::write(broken.join("run.jsonl"), "no record\n").expect("writable");
    let out = place.run(&[
        "gate",
        text(&first),
        "--baseline",
        text(&first),
        "-o",
        "json",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("left out of the history"),
        "{}",
        stderr(&out)
    );
}

/// Copies a run's record under another name and time, as a night of the history that repeats it.
fn copied(place: &Place, run: &Path, name: &str, permille: u64) {
    let folder = place.out().join("history").join(name);
    std::fs::create_dir_all(&folder).expect("writable");
    let lines = support::json_lines(run).into_iter().map(|mut line| {
        if line["kind"] == "run" {
            line["run"] = name.into();
        }
        for call in line["calls"].as_array_mut().into_iter().flatten() {
            let ns = call["submit_ns"].as_u64().expect("a time");
            call["submit_ns"] = (ns * permille / 1000).into();
        }
        line.to_string() + "\n"
    });
    std::fs::write(folder.join("run.jsonl"), lines.collect::<String>()).expect("writable");
}

#[test]
fn a_drift_of_the_history_is_told_and_changes_no_exit_code() {
    let place = Place::new();
    let run = measure(&place, &noisy(1000, 1), &TWO_BATCHES);
    for night in 0..35_u64 {
        let level = if night < 20 { 1000 } else { 1020 };
        copied(
            &place,
            &run,
            &format!("20260101-{night:06}-n"),
            level + night * 7 % 5,
        );
    }
    let args = ["--baseline", text(&run)];
    let (code, report) = gated(&place, &[&[text(&run)], &args[..]].concat());
    assert_eq!(code, Some(0), "a run against itself");
    let changes = report["drift"]["changes"].as_array().expect("changes");
    let step = &changes[changes.len() - 2..];
    for change in step {
        assert_eq!(change["before"], "20260101-000019-n", "{report}");
        assert_eq!(change["after"], "20260101-000020-n");
        let by = change["change"].as_f64().expect("a change");
        assert!((by - 0.02).abs() < 0.003, "{by}");
    }
    let table = stdout(&place.run(&[&["gate", text(&run)], &args[..]].concat()));
    assert!(
        table.contains("history: level changed by +2.0% between"),
        "{table}"
    );
    assert!(table.contains("in all 2 cells (p 0.001)"), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}
