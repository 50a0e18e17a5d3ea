//! Requests in several models and settings, and at servers, in one run.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use ggufbench::record::jsonl;
use ggufbench::record::requests::{JobLine, RequestsPlan};
use serde_json::Value;
use support::{Place, record_of_requests, stderr, stdout, tiny_model};

/// The plan and the jobs of a run, every line of whose record is held against the schema.
fn record(run: &Path) -> (RequestsPlan, Vec<JobLine>) {
    let plan = support::record(run).0.requests.expect("requests");
    (plan, record_of_requests(run).1)
}

const SENT: [&str; 12] = [
    "requests",
    "--engine",
    "synthetic",
    "--batch",
    "1,2",
    "--n-requests",
    "4",
    "-n",
    "4",
    "--class",
    "short",
    "--no-report",
];

fn send(place: &Place, more: &[&str]) -> Output {
    let out = place.run(&[&SENT, more].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    out
}

#[test]
fn every_setting_is_a_target_with_jobs_and_processes_of_its_own() {
    let place = Place::new();
    send(
        &place,
        &[
            "--threads",
            "1,2",
            "--flash-attn",
            "on,off",
            "--replicates",
            "2",
        ],
    );
    let (plan, jobs) = record(&place.the_run());
    let names = ["t1/fa-on", "t1/fa-off", "t2/fa-on", "t2/fa-off"];
    let names = names.map(|setting| format!("in-process/{setting}"));
    assert_eq!(
        BTreeSet::from_iter(&plan.targets),
        BTreeSet::from_iter(&names)
    );
    for target in &plan.targets {
        assert!(plan.is_in_process(target), "{target}");
        let cases = plan.jobs_of(target).map(|job| &job.case);
        let settings: BTreeSet<String> = cases
            .map(|c| format!("in-process/t{}/fa-{}", c.n_threads, c.flash_attn))
            .collect();
        assert_eq!(settings, BTreeSet::from([target.clone()]));
    }
    // Two jobs in each of two processes of each of four targets.
    assert_eq!(jobs.len(), 2 * 2 * 4);
    let processes: BTreeSet<(u32, &str)> = jobs
        .iter()
        .map(|job| (job.worker.expect("a worker"), job.target.as_str()))
        .collect();
    assert_eq!(processes.len(), 2 * 4, "{processes:?}");
    let workers: BTreeSet<u32> = processes.iter().map(|(worker, _)| *worker).collect();
    assert_eq!(workers.len(), 2 * 4, "no number stands for two processes");
    // A target's jobs of a process are served one after the other: its model alone is in memory.
    let mut turns: Vec<u32> = jobs.iter().filter_map(|job| job.worker).collect();
    turns.dedup();
    assert_eq!(turns.len(), 2 * 4, "{turns:?}");
    let order = |round: u32| -> Vec<&str> {
        let mut order: Vec<&str> = jobs
            .iter()
            .filter(|j| j.round == round)
            .map(|j| j.target.as_str())
            .collect();
        order.dedup();
        order
    };
    let mut reversed = order(1);
    reversed.reverse();
    assert_eq!(order(0), reversed, "the order alternates");
}

#[test]
fn settings_of_one_run_are_compared_along_any_axis() {
    let place = Place::new();
    send(&place, &["--threads", "1,2"]);
    let run = place.the_run();
    let run = run.to_str().expect("text");
    let out = place.run(&[
        "compare",
        run,
        "--axis",
        "threads=1,2",
        "--metric",
        "request_latency",
        "-o",
        "json",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    let rows = found["rows"].as_array().expect("rows");
    let jobs: Vec<&str> = rows.iter().filter_map(|r| r["job"].as_str()).collect();
    assert_eq!(
        jobs,
        [
            "concurrency/c1 at in-process",
            "concurrency/c2 at in-process"
        ]
    );
    assert!(
        rows.iter()
            .all(|r| r["n_processes_a"] == 3 && r["n_processes_b"] == 3),
        "{found}"
    );
}

#[test]
fn models_get_texts_of_their_own_and_what_is_missing_is_resumed() {
    let place = Place::new();
    let models = ["synth:tiny:q4_0", "synth:tiny:q8_0"];
    send(
        &place,
        &["-m", models[0], "-m", models[1], "--replicates", "2"],
    );
    let run = place.the_run();
    let (plan, jobs) = record(&run);
    assert_eq!(plan.targets.len(), 2, "{:?}", plan.targets);
    let models: BTreeSet<&str> = plan
        .targets
        .iter()
        .map(|t| plan.jobs_of(t).next().expect("a job").case.model.as_str())
        .collect();
    assert_eq!(models.len(), 2, "{models:?}");
    // The record of a run that ended in the middle.
    let path = run.join(jsonl::FILE_NAME);
    let text = std::fs::read_to_string(&path).expect("a record");
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&path, lines[..lines.len() * 6 / 10].join("\n") + "\n").expect("writable");
    assert!(record(&run).1.len() < jobs.len());
    let out = place.run(&[
        "--resume",
        run.to_str().expect("text"),
        "--engine",
        "synthetic",
        "--no-report",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let key = |job: &JobLine| (job.job.clone(), job.target.clone(), job.round);
    let (_, resumed) = record(&run);
    let whole = resumed.iter().filter(|j| j.elapsed_ns.is_some());
    assert_eq!(
        BTreeSet::from_iter(whole.map(key)),
        BTreeSet::from_iter(jobs.iter().map(key))
    );
}

#[test]
fn a_server_is_asked_once_for_all_settings_that_it_is_not_told() {
    let place = Place::new();
    let server = "openai:http://127.0.0.1:9/v1";
    let dry = send(
        &place,
        &[
            "--threads",
            "1,2",
            "--target",
            "in-process",
            "--target",
            server,
            "--dry-run",
        ],
    );
    let said = stdout(&dry);
    let shown = "openai:127.0.0.1:9";
    assert_eq!(said.matches(shown).count(), 1, "one group of jobs: {said}");
    assert!(
        said.contains("in-process/t1") && said.contains("in-process/t2"),
        "{said}"
    );
    let dry = send(
        &place,
        &["--threads", "1,2", "--target", "ollama:m", "--dry-run"],
    );
    let said = stdout(&dry);
    assert!(
        said.contains("ollama:m/t1") && said.contains("ollama:m/t2"),
        "{said}"
    );
    let models = [
        "-m",
        "synth:tiny:q4_0",
        "-m",
        "synth:tiny:q8_0",
        "--target",
        "ollama:m",
        "--dry-run",
    ];
    let refused = place.run(&[&SENT, &models[..]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("texts of one model"),
        "{}",
        stderr(&refused)
    );
}

/// What `report -o json` says of each job: target, outcome and its words.
fn outcomes(place: &Place, run: &Path) -> Vec<(String, String, String)> {
    let shown = place.run(&["report", run.to_str().expect("text"), "-o", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&stdout(&shown)).expect("JSON");
    let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
    let of = |row: &Value| {
        (
            text(row, "target"),
            text(row, "outcome"),
            text(row, "outcome_detail"),
        )
    };
    rows.iter().map(of).collect()
}

#[test]
fn a_job_that_does_not_fit_leaves_the_others_to_be_served() {
    let place = Place::new();
    let huge = "1000000000";
    let args = ["--n-ctx", "512,1000000000", "--replicates", "2"];
    let dry = send(&place, &[&args[..], &["--dry-run"]].concat());
    let said = stdout(&dry);
    assert!(
        said.contains("does not fit: concurrency/c1 at in-process/c1000000000: needs"),
        "{said}"
    );
    assert!(said.contains("a smaller --n-ctx"), "{said}");

    let out = send(&place, &args);
    assert!(
        stderr(&out).contains("concurrency/c2 at in-process/c1000000000: skipped: needs"),
        "{}",
        stderr(&out)
    );
    let run = place.the_run();
    let (_, jobs) = record(&run);
    assert_eq!(jobs.len(), 4, "two jobs in two processes");
    assert!(jobs.iter().all(|j| j.target == "in-process/c512"));
    for (target, outcome, detail) in outcomes(&place, &run) {
        match target.ends_with(huge) {
            true => assert!(detail.starts_with("skipped: needs "), "{detail}"),
            false => assert_eq!(detail, "answered 8 of 8 requests in 2 rounds"),
        }
        let word = if target.ends_with(huge) {
            "skipped"
        } else {
            "measured"
        };
        assert_eq!(outcome, word, "{target}");
    }

    // Nothing is missing, and nothing is tried again.
    let run_folder = run.to_str().expect("text");
    let again = place.run(&["--resume", run_folder, "--engine", "synthetic"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(record(&run).1.len(), jobs.len());

    let refused = place.run(&[&SENT[..], &["--n-ctx", huge]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("sequences of 1000000000 tokens need"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_the_others_to_be_served() {
    let place = Place::new();
    let good = std::fs::read(tiny_model()).expect("a model");
    let at = good
        .windows(18)
        .position(|w| w == b"output_norm.weight")
        .expect("a tensor of this name");
    let mut bad = good.clone();
    bad[at..at + 18].copy_from_slice(b"output_nurm.weight");
    for (name, bytes) in [("bad.gguf", &bad), ("good.gguf", &good)] {
        std::fs::write(place.path().join(name), bytes).expect("writes");
    }
    let sent = |models: &str| {
        place.run(&[
            "requests",
            "-m",
            models,
            "--class",
            "short",
            "--n-requests",
            "2",
            "-n",
            "4",
            "-t",
            "1",
            "--rounds",
            "1",
            "--no-report",
        ])
    };
    let out = sent("bad.gguf,good.gguf");
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let run = place.the_run();
    let found = outcomes(&place, &run);
    let words: Vec<&str> = found.iter().map(|(_, word, _)| word.as_str()).collect();
    assert_eq!(words, ["failed", "measured"], "{found:?}");
    assert!(found[0].2.contains("output_norm.weight"), "{found:?}");

    let alone = sent("bad.gguf");
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));
    assert!(
        stderr(&alone).contains("bad.gguf: cannot be loaded"),
        "{}",
        stderr(&alone)
    );
}

const COST: &str = r#""call_ns":1000000,"token_ns":100000,"past_ns":0,"sample_ns":0"#;

#[test]
fn processes_are_added_until_the_mean_latency_is_known() {
    let served = |place: &Place, cv: &str| {
        let engine = format!("synthetic:{{{COST},\"process_cv\":{cv},\"seed\":5}}");
        let out = place.run(&[
            "requests",
            "--engine",
            &engine,
            "--class",
            "short",
            "--n-requests",
            "2",
            "-n",
            "4",
            "--max-replicates",
            "9",
            "--precision",
            "5%",
            "--no-report",
        ]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let (_, jobs) = record(&place.the_run());
        let workers: BTreeSet<Option<u32>> = jobs.iter().map(|j| j.worker).collect();
        assert_eq!(workers.len(), jobs.len(), "a process of its own each");
        (jobs.len(), stdout(&out))
    };
    let (n, shown) = served(&Place::new(), "0.001");
    assert_eq!(n, 6, "{shown}");
    let place = Place::new();
    let (n, shown) = served(&place, "0.3");
    assert_eq!(n, 9, "{shown}");
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains("6 processes, then 3 rounds until precise"),
        "{shown}"
    );
    assert!(shown.contains("only, 5.0% were asked for"), "{shown}");
    // The most processes were used: nothing is left to be resumed.
    let run = place.the_run();
    let resume = || {
        let folder = run.to_str().expect("text");
        let engine = format!("synthetic:{{{COST},\"process_cv\":0.3,\"seed\":5}}");
        let out = place.run(&["--resume", folder, "--engine", &engine, "--no-report"]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let rounds = record(&run).1.into_iter().map(|j| j.round);
        rounds.collect::<Vec<u32>>()
    };
    let all: Vec<u32> = (0..9).collect();
    assert_eq!(resume(), all);
    // Cut off in the middle of what was added: the rest is served, each round once.
    let file = run.join("run.jsonl");
    let text = std::fs::read_to_string(&file).expect("readable");
    let is_eighth = |line: &str| line.contains("\"kind\":\"job\"") && line.contains("\"round\":7,");
    let kept: Vec<&str> = text.lines().take_while(|line| !is_eighth(line)).collect();
    assert!(kept.len() > 20 && kept.len() < text.lines().count());
    std::fs::write(&file, kept.join("\n") + "\n").expect("writable");
    assert_eq!(resume(), all);
}
