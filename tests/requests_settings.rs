//! Requests in several models and settings, and at servers, in one run.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use ggufbench::record::jsonl;
use ggufbench::record::requests::{JobLine, RequestsPlan};
use serde_json::Value;
use support::{Place, record_of_requests, stderr, stdout};

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
    assert_eq!(said.matches(server).count(), 2, "one for each job: {said}");
    assert!(
        said.contains("in-process/t1") && said.contains("in-process/t2"),
        "{said}"
    );
    let dry = send(
        &place,
        &["--threads", "1,2", "--target", "ollama:m", "--dry-run"],
    );
    assert!(
        stdout(&dry).contains("ollama:m/t1, ollama:m/t2"),
        "{}",
        stdout(&dry)
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
