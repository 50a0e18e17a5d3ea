//! `ab` as a user sees it: two sides measured in turns, compared, and judged as a pair.

mod support;

use std::path::{Path, PathBuf};

use ggufbench::record::{Line, Outcome, PairSide};
use serde_json::Value;
use support::{Place, record, stderr, stdout};

/// The engine whose calls cost so many microseconds, with noise or without.
fn engine(call_us: u32, process_cv: f64, seed: u32) -> String {
    let ns = 1000 * call_us;
    format!(
        r#"synthetic:{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"process_cv":{process_cv},"seed":{seed}}}"#
    )
}

/// Flags of both sides, then A's and B's.
fn ab(place: &Place, both: &[&str], a: &[&str], b: &[&str]) -> std::process::Output {
    let model = ["ab", "--model", "synth:tiny:q4_0", "-p", "8", "-n", "16"];
    let all = [&model[..], both, &["--"], a, &["--"], b].concat();
    place.run(&all)
}

#[track_caller]
fn folder(place: &Place) -> PathBuf {
    let mut pairs: Vec<PathBuf> = std::fs::read_dir(place.out())
        .expect("out exists")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.join("a").is_dir())
        .collect();
    pairs.sort();
    pairs.pop().expect("a pair")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[track_caller]
fn verdicts(comparison: &Value) -> Vec<&str> {
    let rows = comparison["rows"].as_array().expect("rows");
    rows.iter()
        .map(|row| row["verdict"]["word"].as_str().expect("a word"))
        .collect()
}

/// The worker's replicate and repetition of every line of a side, in order of their beginning.
fn order(side: &Path) -> Vec<(u64, u32, u32)> {
    let (_, lines) = record(side);
    let repetition = |line: &Line| match line {
        Line::Repetition(r) => Some((r.started_ns, r.replicate, r.repetition)),
        _ => None,
    };
    lines.iter().filter_map(repetition).collect()
}

#[test]
fn a_dry_run_prices_both_sides_and_measures_nothing() {
    let place = Place::new();
    let out = ab(
        &place,
        &["--batch", "1,2", "--dry-run", "--budget", "1m"],
        &["--threads", "1"],
        &["--threads", "2"],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let said = stdout(&out)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains("4 of 4 cells would be measured"), "{said}");
    assert!(
        said.contains("pairs that a verdict needs at least"),
        "{said}"
    );
    assert!(said.contains("Nothing was loaded"), "{said}");
    assert!(!place.out().exists(), "nothing is written");
}

#[test]
fn a_slower_side_is_found_through_noise_that_both_share() {
    let place = Place::new();
    // Processes differ by 5%, but by the same luck on both sides: the pairs cancel it.
    let (a, b) = (engine(1000, 0.05, 7), engine(1100, 0.05, 7));
    let out = ab(
        &place,
        &["--batch", "1,8", "-r", "4", "-o", "json"],
        &["--engine", &a],
        &["--engine", &b],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found = json(&stdout(&out));
    assert_eq!(found["paired"], true);
    assert_eq!(verdicts(&found), ["regression", "regression"]);
    // The pair's folder is judged as side B against side A.
    let pair = folder(&place);
    let pair = pair.to_str().expect("text");
    let judged = place.run(&["gate", pair]);
    assert_eq!(judged.status.code(), Some(1), "{}", stderr(&judged));
    let page = stdout(&place.run(&["compare", pair, "-o", "md"]));
    let decode = page.lines().find(|line| line.contains("tg16 "));
    assert!(
        decode.is_some_and(|line| line.contains("regression")),
        "{page}"
    );
    let slowdown = found["rows"][0]["slowdown"]["estimate"].as_f64();
    assert!(
        (slowdown.expect("known") - 0.1).abs() < 1e-4,
        "{slowdown:?}"
    );

    let pair = folder(&place);
    let again = place.run(&["compare", pair.to_str().expect("text"), "-o", "json"]);
    assert_eq!(
        json(&stdout(&again)),
        found,
        "the records alone say the same"
    );
    let report = place.run(&["report", pair.to_str().expect("text")]);
    assert!(
        stderr(&report).contains("holds a pair of runs"),
        "{}",
        stderr(&report)
    );
    let md = std::fs::read_to_string(pair.join("comparison.md")).expect("written");
    assert!(md.contains("regression"), "{md}");
    for side in [PairSide::A, PairSide::B] {
        let (header, _) = record(&pair.join(side.folder()));
        let own = header.pair.expect("a pair");
        assert_eq!((own.side, own.axes), (side, Vec::new()));
        assert!(header.run.ends_with(&format!("-{}", side.folder())));
    }
}

/// The sides' pairs, and in which of them A began.
fn pairs(pair: &Path) -> (usize, usize) {
    let (a, b) = (order(&pair.join("a")), order(&pair.join("b")));
    assert_eq!(a.len(), b.len());
    let first = a.iter().zip(&b).filter(|(a, _)| a.2 == 0);
    let a_first = first.clone().filter(|(a, b)| a.0 < b.0).count();
    (first.count(), a_first)
}

#[test]
fn pairs_are_added_until_a_cell_is_decided_and_the_gate_decides_alike() {
    let place = Place::new();
    // B's processes have luck of their own.
    let measure = |slow: u32, cv: f64, flags: &[&str]| {
        let (a, b) = (engine(1000, cv, 7), engine(slow, cv, 8));
        let both = [&["-o", "json"], flags].concat();
        let out = ab(&place, &both, &["--engine", &a], &["--engine", &b]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        (json(&stdout(&out)), folder(&place))
    };
    let gate = |pair: &Path, flags: &[&str]| {
        let (a, b) = (pair.join("a"), pair.join("b"));
        let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
        let out = place.run(&[&["gate", b, "--baseline", a, "-o", "json"], flags].concat());
        (out.status.code(), json(&stdout(&out)))
    };
    let (same, pair) = measure(1000, 0.005, &["--name", "same"]);
    assert_eq!(verdicts(&same), ["no_regression"]);
    let row = &same["rows"][0];
    let (n, a_first) = pairs(&pair);
    assert_eq!(row["pairs"]["n_pairs"], n);
    for side in ["a", "b"] {
        support::follow("run.schema.json", support::json_lines(&pair.join(side)));
    }
    assert!(
        (6..40).contains(&n) && (1..n).contains(&a_first),
        "{n}, {a_first}"
    );
    let (code, judged) = gate(&pair, &[]);
    assert_eq!((code, judged["verdict"].as_str()), (Some(0), Some("pass")));
    assert_eq!(judged["cells"][0]["pairs"], row["pairs"]);
    assert_eq!(judged["cells"][0]["slowdown"], row["slowdown"]);

    let (slower, pair) = measure(1100, 0.005, &["--name", "slower"]);
    assert_eq!(verdicts(&slower), ["regression"]);
    assert_eq!(gate(&pair, &[]).0, Some(1), "no rerun is needed");
    let (code, again) = gate(&pair, &["--rerun"]);
    assert_eq!(code, Some(1), "and one that is asked for confirms");
    assert!(again["cells"][0]["rerun"]["slowdown"]["estimate"].as_f64() > Some(0.05));
    assert_eq!(gate(&pair, &["--tolerance", "30%"]).0, Some(0));

    let (few, pair) = measure(1000, 0.005, &["--name", "few", "--max-replicates", "3"]);
    assert_eq!(verdicts(&few), ["not_decided"]);
    assert_eq!(pairs(&pair).0, 3);
    assert!(few["rows"][0]["verdict"]["more_pairs"].as_u64() >= Some(3));
    assert_eq!(gate(&pair, &[]).0, Some(3));
}

#[test]
fn pairs_get_longer_where_their_own_noise_is_what_hides_the_answer() {
    let place = Place::new();
    // Steps differ by a tenth, each side's by themselves, and processes do not.
    let engine = |seed: u32| {
        format!(
            r#"synthetic:{{"call_ns":300000,"token_ns":0,"past_ns":0,"sample_ns":0,"step_cv":0.1,"process_cv":0,"seed":{seed}}}"#
        )
    };
    let lengths = |flags: &[&str]| -> Vec<usize> {
        let (a, b) = (engine(1), engine(2));
        let both = [&["--max-replicates", "14", "--same-within", "0.1%"], flags].concat();
        let out = ab(&place, &both, &["--engine", &a], &["--engine", &b]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let pair = folder(&place);
        let of = |side: &str| {
            let turns = order(&pair.join(side));
            let mut n = vec![0; 14];
            turns.iter().for_each(|turn| n[turn.1 as usize] += 1);
            n
        };
        assert_eq!(of("a"), of("b"), "a turn is of both sides");
        of("a")
    };
    let chosen = lengths(&["--name", "chosen"]);
    assert_eq!(chosen[..6], [2; 6], "nothing is known yet");
    assert!(chosen.iter().all(|n| n % 2 == 0 && *n <= 16), "{chosen:?}");
    assert!(chosen[6..].iter().any(|n| *n > 2), "{chosen:?}");
    let fixed = lengths(&["--name", "fixed", "--repetitions", "3"]);
    assert_eq!(fixed, [3; 14]);
}

#[test]
fn turns_are_taken_abba() {
    let place = Place::new();
    let engine = engine(1000, 0.0, 1);
    let out = ab(
        &place,
        &["--engine", &engine, "-r", "4", "--replicates", "2"],
        &["--threads", "1"],
        &["--threads", "2"],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let pair = folder(&place);
    let (a, b) = (order(&pair.join("a")), order(&pair.join("b")));
    assert_eq!((a.len(), b.len()), (8, 8));
    let first: Vec<bool> = a.iter().zip(&b).map(|(a, b)| a.0 < b.0).collect();
    assert_eq!(
        first,
        [true, false, true, false, false, true, false, true],
        "who begins alternates, also between replicates"
    );
    let (header, _) = record(&pair.join("b"));
    assert_eq!(header.pair.expect("a pair").axes, ["threads"]);
    let text = stdout(&out);
    assert!(text.contains("same within 3%"), "{text}");
}

/// The folder of a pair whose B takes 10% more time, with these flags, and its comparison.
fn slower_pair(place: &Place, flags: &[&str]) -> (PathBuf, Value) {
    // Nobody's steps differ by more than the luck that both sides share.
    let engine = |ns: u32| {
        format!(
            r#"synthetic:{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"step_cv":0.2,"process_cv":0,"seed":3}}"#
        )
    };
    let (a, b) = (engine(1_000_000), engine(1_100_000));
    let both = [&["--threads", "1", "-o", "json"], flags].concat();
    let out = ab(place, &both, &["--engine", &a], &["--engine", &b]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    (folder(place), json(&stdout(&out)))
}

#[test]
fn sides_take_turns_within_a_repetition_and_each_is_whole() {
    let place = Place::new();
    let (pair, found) = slower_pair(&place, &["--name", "steps"]);
    let slowdown = found["rows"][0]["slowdown"]["estimate"].as_f64();
    let is_ten_percent = |found: Option<f64>| found.is_some_and(|x| (x - 0.1).abs() < 1e-4);
    assert!(is_ten_percent(slowdown), "{slowdown:?}");
    let mut n_repetitions = 0;
    for side in ["a", "b"] {
        let (header, lines) = record(&pair.join(side));
        assert!(header.plan.protocol.turns_of_steps);
        for line in lines {
            let Line::Repetition(r) = line else { continue };
            let past: Vec<u32> = r.calls.iter().map(|c| c.n_past).collect();
            let whole: Vec<u32> = [0].into_iter().chain(8..24).collect();
            assert_eq!(past, whole, "the prompt, and every step once");
            // One of the prompt, and as a step is of about 1 ms and a turn of 5, some of the 16 steps.
            let turns = r.turns.expect("turns were taken");
            assert!((4..=6).contains(&turns), "{turns}");
            n_repetitions += 1;
        }
    }
    assert!(n_repetitions >= 24, "six pairs of two: {n_repetitions}");
    let again = place.run(&["compare", pair.to_str().expect("text"), "-o", "json"]);
    assert_eq!(json(&stdout(&again)), found);
    let gate = place.run(&["gate", pair.to_str().expect("text")]);
    assert_eq!(gate.status.code(), Some(1), "{}", stderr(&gate));

    for (name, flags) in [
        ("asked", ["--turns", "repetitions"]),
        ("metric", ["--metric", "decode"]),
    ] {
        let (pair, found) = slower_pair(&place, &[&["--name", name], &flags[..]].concat());
        let (header, lines) = record(&pair.join("a"));
        assert!(!header.plan.protocol.turns_of_steps, "{name}");
        let is_whole = |line: &Line| !matches!(line, Line::Repetition(r) if r.turns.is_some());
        assert!(lines.iter().all(is_whole), "{name}");
        let slowdown = found["rows"][0]["slowdown"]["estimate"].as_f64();
        assert!(is_ten_percent(slowdown), "{name}: {slowdown:?}");
    }
}

#[test]
fn a_side_that_dies_leaves_the_other_measured() {
    // Between repetitions, and within one whose turns the sides take.
    dies_beside_another(&["--replicates", "2"]);
    dies_beside_another(&[
        "--max-replicates",
        "2",
        "--turns",
        "steps",
        "--threads",
        "1",
    ]);
}

fn dies_beside_another(flags: &[&str]) {
    let place = Place::new();
    let dying = r#"synthetic:{"call_ns":1000000,"abort_at_call":40}"#;
    let out = ab(
        &place,
        &[flags, &["-r", "3"]].concat(),
        &["--engine", &engine(1000, 0.0, 1)],
        &["--engine", dying],
    );
    assert_eq!(
        out.status.code(),
        Some(1),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    let pair = folder(&place);
    let outcomes = |side: &str| -> Vec<bool> {
        let (_, lines) = record(&pair.join(side));
        let measured = |line: &Line| match line {
            Line::Cell(c) => Some(matches!(c.outcome, Outcome::Measured { .. })),
            _ => None,
        };
        lines.iter().filter_map(measured).collect()
    };
    assert_eq!(outcomes("a"), [true, true]);
    assert_eq!(outcomes("b"), [false, false]);
}

#[test]
fn sides_that_make_no_pair_are_refused_in_one_line() {
    let place = Place::new();
    type Flags<'a> = &'a [&'a str];
    let cases: [(Flags, Flags, Flags, &str); 5] = [
        (&[], &["--seed", "1"], &[], "stands before the first --"),
        (&["-o", "csv"], &[], &[], "ab prints table, md or json"),
        (&[], &["--threads", "1,2"], &[], "one value of what differs"),
        (
            &[],
            &["--batch", "1,2"],
            &["--batch", "4,8"],
            "several values of batch",
        ),
        (
            &["--worker-a", "no/such"],
            &[],
            &[],
            "side A: the engine does not start",
        ),
    ];
    for (both, a, b, needle) in cases {
        let engine = engine(1000, 0.0, 1);
        let out = ab(&place, &[&["--engine", &engine], both].concat(), a, b);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{both:?} {a:?} {b:?}: {text}");
        assert!(text.contains(needle) && text.lines().count() == 1, "{text}");
    }
    assert!(!place.out().exists(), "nothing was written");
}

#[test]
fn the_gate_judges_a_pair_and_measures_it_again_in_turns() {
    let place = Place::new();
    let gate = |slow: u32| {
        let (a, b) = (engine(1000, 0.05, 3), engine(slow, 0.05, 3));
        let out = ab(
            &place,
            &[
                "--batch",
                "1,8",
                "-r",
                "3",
                "--replicates",
                "5",
                "--name",
                "night",
            ],
            &["--engine", &a],
            &["--engine", &b],
        );
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let pair = folder(&place);
        let (a, b) = (pair.join("a"), pair.join("b"));
        let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
        place.run(&[
            "gate",
            b,
            "--baseline",
            a,
            "--rerun",
            "--keep",
            "-o",
            "json",
        ])
    };
    let same = gate(1000);
    assert_eq!(
        same.status.code(),
        Some(0),
        "{}{}",
        stdout(&same),
        stderr(&same)
    );
    let slower = gate(1100);
    assert_eq!(
        slower.status.code(),
        Some(1),
        "{}{}",
        stdout(&slower),
        stderr(&slower)
    );
    let report = json(&stdout(&slower));
    let rerun = report["rerun"].as_str().expect("made");
    assert!(rerun.ends_with("night-rerun-b"), "{rerun}");
    let again = &report["cells"][0]["rerun"]["slowdown"]["estimate"];
    assert!(
        (again.as_f64().expect("known") - 0.1).abs() < 1e-4,
        "{again}"
    );
}

#[test]
fn either_side_of_a_pair_can_be_tonight() {
    let place = Place::new();
    let both = ["-r", "3", "--replicates", "5", "--name", "night"];
    // Side A is the slower one, and the sides differ in an axis too.
    let (a, b) = (engine(1100, 0.05, 3), engine(1000, 0.05, 3));
    let out = ab(
        &place,
        &both,
        &["--engine", &a, "--threads", "1"],
        &["--engine", &b, "--threads", "2"],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let pair = folder(&place);
    let (a, b) = (pair.join("a"), pair.join("b"));
    let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
    let out = place.run(&["gate", a, "--baseline", b, "--rerun", "-o", "json"]);
    assert_eq!(
        out.status.code(),
        Some(1),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    let report = json(&stdout(&out));
    let rerun = report["rerun"].as_str().expect("made");
    assert!(rerun.ends_with("night-rerun-a"), "{rerun}");
    let again = &report["cells"][0]["rerun"]["slowdown"]["estimate"];
    assert!(
        (again.as_f64().expect("known") - 0.1).abs() < 1e-4,
        "{again}"
    );
    let sides = place.run(&["compare", a, b, "-o", "json"]);
    let sides = json(&stdout(&sides));
    assert_eq!(
        (&sides["paired"], verdicts(&sides)),
        (&Value::Bool(true), vec!["faster"])
    );
}

#[test]
fn another_program_can_be_a_sides_worker() {
    let place = Place::new();
    let old = place.path().join("old-ggufbench");
    std::fs::copy(env!("CARGO_BIN_EXE_ggufbench"), &old).expect("copied");
    let engine = engine(1000, 0.0, 1);
    let both = [
        "--engine",
        &engine,
        "--worker-a",
        "old-ggufbench",
        "--replicates",
        "2",
    ];
    let out = ab(&place, &both, &[], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let program = |side: &str| {
        let (header, _) = record(&folder(&place).join(side));
        header.pair.expect("a pair").worker_program
    };
    assert_eq!(program("a"), old);
    assert_ne!(program("b"), old);
}

#[test]
fn cells_that_are_not_known_get_more_processes() {
    let place = Place::new();
    let measure = |engine: &str, most: &str| {
        let args = [
            "--engine",
            engine,
            "--model",
            "synth:tiny:q4_0",
            "-p",
            "8",
            "-n",
            "16",
        ];
        let protocol = ["-r", "2", "--precision", "0.02", "--max-replicates", most];
        let out = place.run(&[&args[..], &protocol, &["--batch", "1,8", "-o", "json"]].concat());
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let cells = json(&stdout(&out));
        let n = |at: usize| cells[at]["n_processes"].as_u64().expect("a count");
        (n(0), n(1))
    };
    assert_eq!(
        measure(&engine(1000, 0.0, 1), "9"),
        (6, 6),
        "quiet: six suffice"
    );
    let (one, eight) = measure(&engine(1000, 0.04, 1), "12");
    assert!(one > 6 && one == eight, "noisy: {one}, {eight}");
    assert!(one <= 12);
    assert_eq!(
        measure(&engine(1000, 0.3, 1), "7"),
        (7, 7),
        "hopeless: the most"
    );
}
