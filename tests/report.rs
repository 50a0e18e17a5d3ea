//! `report` as a user types it: which files it writes, what it prints, and what it refuses.

mod support;

use std::path::Path;
use std::time::Instant;

use support::{Place, stderr, stdout};

const ENGINE: &str =
    r#"synthetic:{"call_ns":4000000,"token_ns":800000,"past_ns":300,"sample_ns":9000}"#;

/// Measures with the synthetic engine; returns the new run's folder, relative to the place.
fn run(place: &Place, out: &str, args: &[&str]) -> String {
    let mut all = vec![
        "--engine",
        ENGINE,
        "--model",
        "synth:tiny:q4_0",
        "--out",
        out,
    ];
    all.extend(args);
    let made = place.run(&all);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let folder = std::fs::read_dir(place.path().join(out))
        .expect("made")
        .next();
    let name = folder.expect("a run").expect("readable").file_name();
    format!("{out}/{}", name.to_string_lossy())
}

fn exists(place: &Place, path: impl AsRef<Path>) -> bool {
    place.path().join(path).exists()
}

const FILES: [&str; 5] = [
    "report.html",
    "report.md",
    "cells.csv",
    "plots/throughput.svg",
    "plots/throughput.png",
];

#[test]
fn every_run_ends_with_its_report_unless_told_not_to() {
    let place = Place::new();
    let args = ["--batch", "1,8,32", "-n", "20", "-r", "2"];
    let with = run(&place, "with", &args);
    for file in FILES {
        assert!(exists(&place, format!("{with}/{file}")), "{file}");
    }
    let without = run(&place, "without", &[&args[..], &["--no-report"]].concat());
    for file in FILES {
        assert!(!exists(&place, format!("{without}/{file}")), "{file}");
    }
    // The same from the record alone, on a machine that may have neither model nor engine.
    std::fs::remove_dir_all(place.path().join("gguf")).expect("removable");
    let again = place.run(&["report", &without, "--to", "elsewhere"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(!exists(&place, format!("{without}/report.html")));
    let read = |path: String| std::fs::read_to_string(place.path().join(path)).expect("written");
    let said = stdout(&again);
    assert!(
        said.contains("Which file and batch size, for many users?"),
        "{said}"
    );
    assert!(said.contains("wrote elsewhere/report.html"), "{said}");
    let (a, b) = (
        read(format!("{with}/cells.csv")),
        read("elsewhere/cells.csv".to_owned()),
    );
    let figures = |csv: &str| {
        csv.lines()
            .map(|l| l.split_once(',').expect("a row").1.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(figures(&a).len(), figures(&b).len());
}

#[test]
fn a_form_prints_and_writes_nothing() {
    let place = Place::new();
    let folder = run(&place, "out", &["--no-report", "-n", "4", "-r", "1"]);
    for (form, begins) in [
        ("csv", "run,machine"),
        ("json", "[\n{"),
        ("jsonl", "{"),
        ("md", "# "),
        ("table", "run "),
    ] {
        let printed = place.run(&["report", &folder, "-o", form]);
        assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
        assert!(
            stdout(&printed).starts_with(begins),
            "{form}: {}",
            stdout(&printed)
        );
    }
    for file in FILES {
        assert!(!exists(&place, format!("{folder}/{file}")), "{file}");
    }
    let refused = place.run(&["report", &folder, "-o", "csv", "--html", "x.html"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn only_the_named_files_are_written() {
    let place = Place::new();
    let folder = run(
        &place,
        "out",
        &["--no-report", "--batch", "1,4", "-n", "4", "-r", "1"],
    );
    let made = place.run(&["report", &folder, "--html", "page.html"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(exists(&place, "page.html") && !exists(&place, "plots"));
    let made = place.run(&["report", &folder, "--md", "doc.md", "--csv", "cells.csv"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(exists(&place, "doc.md") && exists(&place, "plots/throughput.png"));
    let nowhere = place.run(&["report", &folder, "--html", "no/such/folder/page.html"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("no/such/folder/page.html: cannot write the report"));
}

#[test]
fn limits_tell_how_many_users() {
    let place = Place::new();
    let folder = run(
        &place,
        "out",
        &[
            "--no-report",
            "--batch",
            "1,4,16",
            "-n",
            "20",
            "-r",
            "2",
            "--slo=tpot=10ms",
        ],
    );
    // The limits of the measurement are those of its reports, unless others are named.
    let said = stdout(&place.run(&["report", &folder]));
    assert!(said.contains("How many users within the limits?"), "{said}");
    // A step takes 4 ms and 0.8 ms a sequence, and a little for sampling and context.
    let said = stdout(&place.run(&["report", &folder, "--slo", "tpot=10ms"]));
    assert!(said.contains("How many users within the limits?"), "{said}");
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("serves 6 users at once") || flat.contains("serves 7 users at once"),
        "{said}"
    );
    let said = stdout(&place.run(&["report", &folder, "--slo", "tpot=1s,ttft=9s"]));
    assert!(said.contains("serves at least 16 users at once"), "{said}");
    // What no cell can have is undetermined, and no reason to call the machine too slow.
    let said = stdout(&place.run(&["report", &folder, "--slo", "ttft_p95=1s"]));
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains(
            "Undetermined for TTFT p95 at most 1.00 s: a p95 of TTFT is a figure of requests"
        ),
        "{said}"
    );
    assert!(!flat.contains("No measured cell keeps"), "{said}");
    let spent = place.run(&[
        "--model",
        "synth:tiny:q4_0",
        "--engine",
        ENGINE,
        "--slo",
        "ttft_p95=1s",
    ]);
    assert_eq!(spent.status.code(), Some(2), "before anything is measured");
    let wrong = place.run(&["report", &folder, "--slo", "tpot=10"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("'10' has no unit; say 10ms or 10s"));
}

#[test]
fn several_runs_fill_one_report() {
    let place = Place::new();
    let base = ["--no-report", "-n", "20", "-r", "1"];
    let batches = run(&place, "a", &[&base[..], &["--batch", "1,8,32"]].concat());
    let prompts = run(&place, "b", &[&base[..], &["-p", "16,64,256"]].concat());
    let made = place.run(&["report", &batches, &prompts, "--to", "both"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(exists(&place, "both/plots/throughput.png"));
    assert!(exists(&place, "both/plots/prompt_length_impact.png"));
    // A cell that both runs measured has the processes of both; 128 prompt tokens are the default.
    let twice = run(&place, "c", &[&base[..], &["--batch", "1,8,32"]].concat());
    let table = stdout(&place.run(&["report", &batches, &twice, "-o", "json"]));
    let cells: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!(cells.as_array().expect("cells").len(), 3);
    assert_eq!(cells[0]["n_processes"], 6);
    // Cells of unlike engines do not stand in one table.
    let record = place.path().join(&prompts).join("run.jsonl");
    let text = std::fs::read_to_string(&record).expect("readable");
    std::fs::write(
        &record,
        text.replacen("\"name\":\"synthetic\"", "\"name\":\"other\"", 1),
    )
    .expect("writable");
    let refused = place.run(&["report", &batches, &prompts, "-o", "csv"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("they differ in engines"),
        "{}",
        stderr(&refused)
    );
}

/// A record, not a test: how long the report of 1,000 cells and 1,000,000 calls takes, and how much memory.
/// `cargo test --release --test report million -- --ignored --nocapture`
#[test]
#[ignore = "measures; takes a minute"]
fn a_million_calls() {
    let place = Place::new();
    let args = [
        "--batch",
        "1-10+1",
        "-p",
        "1-10+1",
        "--threads",
        "1-10",
        "-n",
        "333",
        "-r",
        "1",
        "--no-report",
    ];
    let folder = run(&place, "out", &args);
    let lines =
        std::fs::read_to_string(place.path().join(&folder).join("run.jsonl")).expect("readable");
    let n_calls = lines.matches("\"phase\"").count();
    let bytes = lines.len();
    drop(lines);
    let began = Instant::now();
    let mut child = place
        .command()
        .args(["report", &folder])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    // It prints when all is written, and is still there while the rest is unread.
    let mut said = child.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut said, &mut [0]).expect("prints");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let most = status.lines().find(|l| l.starts_with("VmHWM:"));
    std::io::copy(&mut said, &mut std::io::sink()).expect("prints");
    assert!(child.wait().expect("a child").success());
    println!(
        "{n_calls} calls, {} MiB of record: {:.1} s, {}",
        bytes >> 20,
        began.elapsed().as_secs_f64(),
        most.unwrap_or("memory unknown")
    );
}

/// The exit code 2, and one line that says these things.
#[track_caller]
fn refused(place: &Place, args: &[&str], says: &[&str]) {
    let out = place.run(args);
    let said = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(says.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn inputs_without_an_end_and_cells_that_cannot_be_are_refused_in_a_line() {
    let place = Place::new();
    if cfg!(unix) {
        refused(
            &place,
            &["report", "/dev/zero"],
            &["/dev/zero", "is no run"],
        );
        refused(
            &place,
            &["compare", "/dev/zero", "/dev/zero"],
            &["is no run"],
        );
        let sweep = ["sweep", "/dev/zero", "--dry-run"];
        refused(&place, &sweep, &["/dev/zero", "larger than 1.00 MiB"]);
    }
    let sweep = place.path().join("large.toml");
    std::fs::write(&sweep, "#".repeat(2 << 20)).expect("writable");
    let sweep = ["sweep", "large.toml", "--dry-run"];
    refused(&place, &sweep, &["large.toml", "larger than 1.00 MiB"]);

    let run = run(
        &place,
        "out",
        &["--batch", "1", "-p", "8", "-n", "4", "-r", "1"],
    );
    let record = place.path().join(&run).join("run.jsonl");
    let text = std::fs::read_to_string(&record).expect("readable");
    let many = text.replace(
        "\"n_seq\":1,\"n_prompt\"",
        "\"n_seq\":2147483648,\"n_prompt\"",
    );
    assert_ne!(many, text);
    std::fs::write(&record, many).expect("writable");
    refused(
        &place,
        &["report", &run],
        &["run.jsonl:1: ", "2147483648 sequences"],
    );
}

#[test]
fn a_repetition_that_stands_twice_counts_once_and_is_told() {
    let place = Place::new();
    let args = [
        "--batch",
        "1",
        "-p",
        "8",
        "-n",
        "4",
        "-r",
        "2",
        "--replicates",
        "1",
    ];
    let run = run(&place, "out", &args);
    let json = |place: &Place| {
        let out = place.run(&["report", &run, "-o", "json"]);
        serde_json::from_str::<serde_json::Value>(&stdout(&out)).expect("JSON")
    };
    let before = json(&place);
    let record = place.path().join(&run).join("run.jsonl");
    let text = std::fs::read_to_string(&record).expect("readable");
    let repetition = text.lines().find(|l| l.contains("\"kind\":\"repetition\""));
    let twice = format!("{text}{}\n", repetition.expect("one was measured"));
    std::fs::write(&record, twice).expect("writable");
    let after = json(&place);
    for key in ["n_repetitions", "n_steps", "decode_tokens_per_s"] {
        assert_eq!(after[0][key], before[0][key], "{key}");
    }
    let warnings = after[0]["run_warnings"].to_string();
    assert!(
        warnings.contains("1 line is repeated in the record"),
        "{warnings}"
    );
    let compared = place.run(&["compare", &run, &run]);
    let both = "count once: A 1, B 1";
    assert!(stdout(&compared).contains(both), "{}", stdout(&compared));
}

#[test]
fn the_newest_run_that_ended_is_called_latest() {
    let place = Place::new();
    let none = place.run(&["report", "latest", "-o", "csv"]);
    assert_eq!(none.status.code(), Some(2));
    let said = stderr(&none);
    assert!(said.contains("out has no run that ended"), "{said}");
    let flags = ["--no-report", "-n", "4", "-r", "1", "--batch"];
    let first = run(&place, "out", &[&flags[..], &["1"]].concat());
    run(&place, "out", &[&flags[..], &["2"]].concat());
    let all = std::fs::read_dir(place.path().join("out")).expect("made");
    let names = all.map(|entry| entry.expect("readable").file_name());
    let folders = names.map(|name| format!("out/{}", name.to_string_lossy()));
    let second = folders.into_iter().find(|folder| *folder != first);
    let second = second.expect("a second run");
    let table = |run: &str| stdout(&place.run(&["report", run, "-o", "csv"]));
    assert_eq!(table("latest"), table(&second));
    assert_eq!(table("out/latest"), table(&second));
    assert_ne!(table("latest"), table(&first));
    let compared = place.run(&["compare", &first, "latest", "--axis", "batch=1,2"]);
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let judged = place.run(&["gate", "latest", "--baseline", "latest"]);
    assert!(
        matches!(judged.status.code(), Some(0 | 3)),
        "{}",
        stderr(&judged)
    );
}

#[test]
fn a_card_is_a_picture_that_only_its_own_kind_replaces() {
    let place = Place::new();
    let flags = ["--no-report", "--batch", "1,4", "-n", "4", "-r", "1"];
    let folder = run(&place, "out", &flags);
    let made = || place.run(&["report", &folder, "--card", "card.png"]);
    assert_eq!(made().status.code(), Some(0), "{}", stderr(&made()));
    let path = place.path().join("card.png");
    let bytes = std::fs::read(&path).expect("a picture");
    assert!(bytes.starts_with(b"\x89PNG"));
    // Width and height, as the header has them.
    assert_eq!(bytes[16..24], [0, 0, 4, 176, 0, 0, 2, 118]);
    assert!(!exists(&place, format!("{folder}/report.html")));
    std::fs::write(&path, b"\x89PNG of somebody").expect("writable");
    let refused = made();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--force replaces it"));
}
