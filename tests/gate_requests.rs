//! `gate` on runs of requests, as a user sees it: with the synthetic engine in real worker processes, and with a server.

#[allow(dead_code)] // other tests use the rest of it
#[path = "servers/fake.rs"]
mod fake;
mod support;

use std::path::{Path, PathBuf};

use fake::{Fake, stream, whole};
use serde_json::{Value, json};
use support::{Place, stderr, stdout};

/// An engine whose calls take so many microseconds, with noise of steps and of processes.
fn engine(call_us: u32, seed: u32) -> String {
    let ns = 1000 * call_us;
    format!(
        r#"synthetic:{{"call_ns":{ns},"token_ns":0,"past_ns":0,"sample_ns":0,"step_cv":0.02,"process_cv":0.004,"seed":{seed}}}"#
    )
}

/// Runs a verb that measures into a run of its own, and returns the run's folder.
#[track_caller]
fn measure(place: &Place, name: &str, args: &[&str]) -> PathBuf {
    let out = place.run(&[args, &["--no-report", "--name", name]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let mut runs = runs(place);
    runs.retain(|run| text(run).ends_with(&format!("-{name}")));
    runs.remove(0)
}

/// Sends the requests of two jobs.
#[track_caller]
fn send(place: &Place, name: &str, engine: &str) -> PathBuf {
    let own = ["requests", "--engine", engine, "-m", "synth:tiny:q4_0"];
    let jobs = ["--batch", "1,2", "-n", "8", "--class", "short"];
    measure(place, name, &[&own[..], &jobs].concat())
}

fn runs(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.out()).expect("runs").flatten();
    let mut runs: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    runs.retain(|run| !run.ends_with("history"));
    runs
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The exit code of a gate, and the names and verdicts of its cells.
#[track_caller]
fn gate(place: &Place, args: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let out = place.run(&[&["gate"], args, &["-o", "json"]].concat());
    let report: Value =
        serde_json::from_str(&stdout(&out)).unwrap_or_else(|e| panic!("{e}: {}", stderr(&out)));
    let cells = report["cells"].as_array().expect("cells").iter();
    let word = |cell: &Value, key: &str| cell[key].as_str().expect("a word").to_owned();
    let cells = cells.map(|cell| (word(cell, "case_id"), word(cell, "verdict")));
    (out.status.code(), cells.collect())
}

fn both(verdict: &str) -> Vec<(String, String)> {
    let cell = |job| (format!("{job} at in-process"), verdict.to_owned());
    ["concurrency/c1", "concurrency/c2"].map(cell).to_vec()
}

#[test]
fn requests_pass_regress_and_are_inconclusive() {
    let place = Place::new();
    let old = send(&place, "old", &engine(1000, 1));
    let equal = send(&place, "equal", &engine(1000, 2));
    let slow = send(&place, "slow", &engine(1400, 3));
    let against_old = |run: &Path, more: &[&str]| {
        gate(
            &place,
            &[&[text(run), "--baseline", text(&old)], more].concat(),
        )
    };
    for metric in [
        "request_latency",
        "request_ttft",
        "request_tpot",
        "throughput",
    ] {
        let by = ["--metric", metric];
        assert_eq!(against_old(&equal, &by), (Some(0), both("pass")));
        assert_eq!(against_old(&slow, &by), (Some(3), both("suspected")));
    }
    assert_eq!(against_old(&equal, &[]), (Some(0), both("pass")));
    for name in [
        "*/c2 *",
        "*/c2",
        "concurrency/c2",
        "concurrency/c2 at in-process",
    ] {
        let some = against_old(&slow, &["--cell", name]);
        assert_eq!(some, (Some(3), both("suspected")[1..].to_vec()), "{name}");
    }

    let before = runs(&place).len();
    let still_slow = against_old(&slow, &["--rerun", "--engine", &engine(1400, 4)]);
    assert_eq!(still_slow, (Some(1), both("regression")));
    assert_eq!(runs(&place).len(), before + 1, "the rerun is a run");
    let well_again = against_old(&slow, &["--rerun", "--engine", &engine(1000, 5)]);
    assert_eq!(well_again, (Some(3), both("inconclusive")));
    let confirmed = send(&place, "confirmed", &engine(1400, 6));
    let confirmed = against_old(&slow, &["--confirm", text(&confirmed)]);
    assert_eq!(confirmed, (Some(1), both("regression")));

    let too_few = [
        text(&slow),
        "--baseline",
        text(&old),
        "--metric",
        "ttft_p95",
    ];
    let too_few = place.run(&[&["gate"], &too_few[..]].concat());
    assert_eq!(too_few.status.code(), Some(2));
    let said = stderr(&too_few);
    assert!(
        said.contains("59 of them in a round (--n-requests"),
        "{said}"
    );

    let table = stdout(&place.run(&["gate", text(&slow), "--baseline", text(&old)]));
    assert!(
        table.contains("metric    request_latency") && table.contains("concurrency/c2 at"),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[test]
fn a_percentile_of_enough_answers_is_judged() {
    let place = Place::new();
    let [old, slow] = [("old", 1000), ("slow", 1400)].map(|(name, call_us)| {
        let engine = engine(call_us, call_us);
        let own = ["requests", "--engine", &engine, "-m", "synth:tiny:q4_0"];
        let jobs = ["--batch", "1", "-n", "4", "--n-requests", "60"];
        measure(&place, name, &[&own[..], &jobs].concat())
    });
    for (run, code, verdict) in [(&old, 0, "pass"), (&slow, 3, "suspected")] {
        let by = ["--baseline", text(&old), "--metric", "ttft_p95"];
        let judged = gate(&place, &[&[text(run)], &by[..]].concat());
        assert_eq!(judged, (Some(code), both(verdict)[..1].to_vec()));
    }
}

#[test]
fn nights_of_requests_have_a_history() {
    let place = Place::new();
    let first = send(&place, "first", &engine(1000, 1));
    let promoted = place.run(&["gate", text(&first), "--promote"]);
    assert_eq!(promoted.status.code(), Some(0), "{}", stderr(&promoted));
    for seed in 2..4 {
        let night = send(&place, &format!("n{seed}"), &engine(1000, seed));
        let last = [text(&night), "--baseline", "last:14", "--keep"];
        assert_eq!(gate(&place, &last), (Some(0), both("pass")));
    }
    let slow = send(&place, "slow", &engine(1400, 5));
    let args = [text(&slow), "--rerun", "--keep", "--engine"];
    let again = engine(1400, 6);
    let judged = gate(&place, &[&args[..], &[&again]].concat());
    assert_eq!(judged, (Some(1), both("regression")));
    let name = slow.file_name().expect("a name");
    let mark = place.out().join("history").join(name).join("regression");
    assert!(mark.exists(), "a failed night is no baseline");
}

#[test]
fn requests_and_cells_are_not_held_against_each_other() {
    let place = Place::new();
    let requests = send(&place, "requests", &engine(1000, 1));
    let engine = engine(1000, 2);
    let own = ["run", "--engine", &engine, "-m", "synth:tiny:q4_0"];
    let cells = measure(
        &place,
        "cells",
        &[&own[..], &["-p", "8", "-n", "8", "-r", "3"]].concat(),
    );
    let (requests, cells) = (text(&requests), text(&cells));
    for (args, needle) in [
        (vec![requests, "--baseline", cells], "has no requests, but "),
        (vec![cells, "--baseline", requests], "has no cells, but "),
        (
            vec![requests, "--baseline", requests, "--metric", "step"],
            "name a --metric of requests: request_latency, ",
        ),
        (
            vec![cells, "--baseline", cells, "--metric", "ttft_p95"],
            "has no requests, and request_ttft_p95 is a metric of requests",
        ),
    ] {
        let out = place.run(&[&["gate"], args.as_slice()].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(needle), "{}", stderr(&out));
    }
}

/// A server that lists its model and answers every prompt with three tokens.
fn server() -> Fake {
    Fake::start(move |_, seen| match seen.method.as_str() {
        "POST" => {
            let piece = |delta: Value, end: Value| {
                let chunk = json!({"choices": [{"delta": delta, "finish_reason": end}]});
                format!("data: {chunk}\n\n")
            };
            let usage =
                json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}});
            let mut pieces: Vec<String> = ["a", "b", "c"]
                .map(|text| piece(json!({ "content": text }), Value::Null))
                .to_vec();
            pieces.push(piece(json!({}), "length".into()));
            pieces.push(format!("data: {usage}\n\ndata: [DONE]\n\n"));
            stream("text/event-stream", &pieces)
        }
        _ if seen.path == "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
        _ => whole("404 Not Found", "{}"),
    })
}

/// Copies a run under another name, with every duration of its requests a thousand times shorter.
fn thousand_times_faster(place: &Place, run: &Path) -> PathBuf {
    let folder = place.out().join("faster");
    std::fs::create_dir_all(&folder).expect("writable");
    let shorter = |ns: &mut Value| *ns = (ns.as_u64().expect("a time") / 1000).into();
    let lines = support::json_lines(run).into_iter().map(|mut line| {
        if line["kind"] == "run" {
            line["run"] = "faster".into();
        }
        if line["kind"] == "request" {
            let timeline = &mut line["timeline"];
            for key in ["due_ns", "sent_ns", "ended_ns"] {
                shorter(&mut timeline[key]);
            }
            for arrival in timeline["arrivals"].as_array_mut().expect("arrivals") {
                shorter(&mut arrival["at_ns"]);
            }
        }
        line.to_string() + "\n"
    });
    let lines: String = lines.collect();
    std::fs::write(folder.join("run.jsonl"), lines).expect("writable");
    folder
}

#[test]
fn suspected_requests_are_sent_to_their_server_again() {
    let place = Place::new();
    let fake = server();
    let target = format!("openai:{}/v1", fake.url(""));
    let slow = measure(
        &place,
        "slow",
        &[
            "requests",
            "--target",
            &target,
            "--n-requests",
            "3",
            "--n-gen",
            "3",
            "--rounds",
            "5",
        ],
    );
    let fast = thousand_times_faster(&place, &slow);
    let before = fake.seen().len();
    let (code, cells) = gate(&place, &[text(&slow), "--baseline", text(&fast), "--rerun"]);
    let verdicts: Vec<&str> = cells.iter().map(|(_, verdict)| verdict.as_str()).collect();
    assert_eq!((code, verdicts), (Some(1), vec!["regression"]));
    assert!(fake.seen().len() >= before + 15, "sent again");
}
