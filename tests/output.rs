//! Outputs that are wrong, with real llama.cpp on a tiny random model: `--check-output` finds them where speed does not.

mod support;

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use support::gguf::with_doubled_tensor;
use support::{Place, follow, json_lines, stderr, stdout, tiny_model};

/// Both sides of a short `ab`, with what each has of its own.
fn ab(place: &Place, both: &[&str], a: &[&str], b: &[&str]) -> Output {
    let model = tiny_model().to_str().expect("text");
    let mut args = vec!["ab", "--model", model, "-p", "8", "-n", "4", "-t", "1"];
    args.extend([
        "--n-ctx",
        "64",
        "--replicates",
        "2",
        "-r",
        "1",
        "-o",
        "json",
    ]);
    args.extend(["--no-report", "--check-output"]);
    args.extend(both);
    args.push("--");
    args.extend(a);
    args.push("--");
    args.extend(b);
    place.run(&args)
}

#[track_caller]
fn json(out: &Output) -> Value {
    let read = serde_json::from_str(&stdout(out));
    read.unwrap_or_else(|e| panic!("{e}: {}", stderr(out)))
}

/// What each row of the outputs says, in their order.
#[track_caller]
fn verdicts(document: &Value) -> Vec<(&str, &str)> {
    let rows = document["outputs"]["rows"].as_array().expect("outputs");
    let mut found = Vec::new();
    for row in rows {
        let word = |key: &str| row[key].as_str().expect("a word");
        found.push((word("kind"), word("verdict")));
    }
    found
}

#[test]
fn equal_sides_have_equal_outputs() {
    let place = Place::new();
    let out = ab(&place, &["--batch", "1,8"], &[], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let document = json(&out);
    let expected = [
        ("sides", "same"),
        ("sides", "same"),
        ("together_a", "same"),
        ("together_b", "same"),
    ];
    assert_eq!(verdicts(&document), expected);
    let first = &document["outputs"]["rows"][0];
    assert_eq!(first["kld"], 0.0, "one build computes the same twice");
    assert_eq!(first["n_greedy_equal"], first["n_greedy"]);
}

#[test]
fn a_doubled_tensor_differs_although_it_is_as_fast() {
    let place = Place::new();
    let twin = place.path().join("twin.gguf");
    with_doubled_tensor(tiny_model(), "blk.0.ffn_down.weight", &twin);
    let out = ab(&place, &["--batch", "8"], &[], &["--model", "twin.gguf"]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let document = json(&out);
    let expected = [
        ("sides", "differs"),
        ("together_a", "same"),
        ("together_b", "same"),
    ];
    assert_eq!(verdicts(&document), expected);
    let row = &document["outputs"]["rows"][0];
    let of = |key: &str| row[key].as_f64().expect("a number");
    assert!(
        of("kld") > 10.0 * of("most_kld") && of("nmse") > 1e-6,
        "{row}"
    );
}

#[test]
fn swapped_sequences_differ_from_each_alone() {
    let place = Place::new();
    let swap = ["--engine", "llama:swap"];
    let out = ab(&place, &["--batch", "1,8"], &[], &swap);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let document = json(&out);
    let expected = [
        ("sides", "same"),
        ("sides", "same"),
        ("together_a", "same"),
        ("together_b", "differs"),
    ];
    assert_eq!(verdicts(&document), expected);
    let worst = document["outputs"]["rows"][3]["worst_seq"].as_u64();
    assert!(
        worst.expect("a sequence") < 2,
        "the first two are exchanged"
    );
}

#[test]
fn a_cache_type_that_loses_accuracy_differs() {
    let place = Place::new();
    let out = ab(&place, &["--batch", "8"], &[], &["--type-k", "q4_0"]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert_eq!(verdicts(&json(&out))[0], ("sides", "differs"));
}

/// A run of one cell; returns its folder.
#[track_caller]
fn run(place: &Place, name: &str, expected: i32, more: &[&str]) -> PathBuf {
    let model = tiny_model().to_str().expect("text");
    let mut args = vec!["--model", model, "--batch", "8", "-p", "8", "-n", "4"];
    args.extend(["-t", "1", "--n-ctx", "64", "--replicates", "2", "-r", "1"]);
    args.extend(["--no-report", "--name", name]);
    args.extend(more);
    let out = place.run(&args);
    assert_eq!(out.status.code(), Some(expected), "{}", stderr(&out));
    let runs = std::fs::read_dir(place.out()).expect("runs").flatten();
    let mut runs = runs.map(|entry| entry.path());
    let is_it = |run: &PathBuf| run.to_string_lossy().ends_with(&format!("-{name}"));
    let folder = runs.find(is_it).expect("a run of that name");
    if expected == 1 {
        let shown = stdout(&out);
        assert!(
            shown.contains("WRONG OUTPUT: this run: in a batch of 8"),
            "{shown}"
        );
    }
    folder
}

#[test]
fn the_gate_holds_a_night_s_output_against_the_promoted_one() {
    let place = Place::new();
    let check = ["--check-output"];
    let sound = run(&place, "sound", 0, &check);
    let again = run(&place, "again", 0, &check);
    let swapped = [&check[..], &["--engine", "llama:swap"]].concat();
    let faulty = run(&place, "faulty", 1, &swapped);
    let unchecked = run(&place, "unchecked", 0, &[]);
    let text = |path: &PathBuf| path.to_str().expect("text").to_owned();
    let promoted = place.run(&["gate", &text(&sound), "--promote"]);
    assert_eq!(promoted.status.code(), Some(0), "{}", stderr(&promoted));
    // Any slow-down is tolerated here, so that the output alone decides.
    let gate = |run: &PathBuf, form: &str| {
        place.run(&[
            "gate",
            &text(run),
            "--tolerance",
            "99%",
            "-o",
            form,
            "--check-output",
        ])
    };
    let passed = gate(&again, "json");
    let document = json(&passed);
    assert_ne!(passed.status.code(), Some(1), "{document}");
    assert_eq!(
        verdicts(&document),
        [
            ("sides", "same"),
            ("together_a", "same"),
            ("together_b", "same")
        ]
    );
    let failed = gate(&faulty, "json");
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert_eq!(json(&failed)["verdict"], "regression");
    let shown = stdout(&gate(&faulty, "md"));
    assert!(
        shown.contains("tonight: in a batch of 8, sequence"),
        "{shown}"
    );
    let refused = gate(&unchecked, "json");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("has no output to compare on both sides"));
    let compared = place.run(&["compare", &text(&sound), &text(&faulty)]);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    assert!(stdout(&compared).contains("B, together against alone"));
    let outputs = json_lines(&sound);
    follow("run.schema.json", outputs.clone());
    let outputs = outputs.iter().filter(|line| line["kind"] == "output");
    assert_eq!(outputs.count(), 1, "once a setting, not once a process");
}
