//! `requests`, `compare-live` and a sweep with requests, as a user sees them.

mod support;

use std::collections::BTreeSet;

use ggufbench::record::Line;
use ggufbench::record::jsonl;
use serde_json::Value;
use support::{Place, record_of_requests, stderr, stdout, tiny_model};

const ALL: [&str; 14] = [
    "--classes",
    "--batch",
    "1,4",
    "--temperature",
    "0,1",
    "--n-prompt",
    "256",
    "--sustained",
    "2s",
    "--difficulty",
    "--n-gen",
    "8",
    "--rounds",
    "3",
];

#[test]
fn every_experiment_is_served_recorded_and_reported() {
    let place = Place::new();
    let ran = place
        .command()
        .args(["requests", "--engine", "synthetic"])
        .args(ALL)
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let shown = stdout(&ran);
    for job in ["classes", "concurrency/c4", "difficulty/control"] {
        assert!(shown.contains(job), "{job}: {shown}");
    }
    let run = place.the_run();
    let (requests, jobs) = record_of_requests(&run);
    assert_eq!(jobs.len(), 3 * 9, "nine jobs in three rounds");
    for job in &jobs {
        let own = requests
            .iter()
            .filter(|r| (&r.job, r.round) == (&job.job, job.round));
        let own: Vec<_> = own.map(|r| &r.timeline).collect();
        assert!(own.iter().all(|t| t.ending.is_whole()), "{own:?}");
        // No token is lost or counted twice: what was computed is the prompts, and every token of an answer but the
        // last of those that ended by their length.
        let computed: u64 = job.calls.iter().map(|c| u64::from(c.n_tokens)).sum();
        let told: u64 = own
            .iter()
            .map(|t| {
                let n_generated = t.n_generated.expect("counted");
                let is_cut = t.ending == ggufbench::request::Ending::Length;
                u64::from(t.n_prompt.expect("counted") + n_generated - u32::from(is_cut))
            })
            .sum();
        assert_eq!(computed, told, "{}", job.job);
    }
    let lengths: BTreeSet<_> = requests
        .iter()
        .filter(|r| r.job == "prompt-length/p256")
        .map(|r| r.timeline.n_prompt)
        .collect();
    assert_eq!(lengths, [Some(256)].into());

    let report = std::fs::read_to_string(run.join("report.md")).expect("a report");
    for needle in [
        "Impact of temperature",
        "harder question",
        "concurrent requests",
    ] {
        assert!(report.contains(needle), "{needle}");
    }
    let csv = std::fs::read_to_string(run.join("requests.csv")).expect("a row for each request");
    assert_eq!(csv.lines().count(), 1 + requests.len());
    let name = run.file_name().expect("a folder").to_string_lossy();
    let again = place.run(&["report", &format!("out/{name}"), "-o", "table"]);
    // Only the run itself says where it wrote its report.
    let without_path: Vec<&str> = shown
        .lines()
        .filter(|l| !l.starts_with("report "))
        .collect();
    let again = stdout(&again);
    assert_eq!(
        again.lines().collect::<Vec<_>>(),
        without_path,
        "the same from the record alone"
    );
}

/// Every figure is the synthetic engine's, so that all pairs agree.
#[test]
fn pairs_are_added_until_the_questions_are_decided() {
    let place = Place::new();
    let args = [
        "requests",
        "--engine",
        "synthetic",
        "--difficulty",
        "--temperature",
        "0,0.7,1.5",
    ];
    let fixed = ["-n", "8", "--max-pairs", "30", "--replicates", "1"];
    let dry = place.run(&[&args[..], &fixed, &["--dry-run"]].concat());
    let said = in_one_line(&stdout(&dry));
    assert!(
        said.contains("temperature, difficulty/equal, difficulty/control: further rounds until decided, at most 30 pairs each")
            && said.contains("30 min"),
        "{said}"
    );
    let ran = place.run(&[&args[..], &fixed].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let run = place.the_run();
    let (requests, jobs) = record_of_requests(&run);
    let n_rounds = |name: &str| jobs.iter().filter(|j| j.job == name).count();
    // Six equal pairs exclude every difference of 1%. More than one comparison needs more.
    assert!(n_rounds("difficulty/equal") >= 1 && n_rounds("difficulty/equal") <= 5);
    assert!(
        n_rounds("temperature") >= 2 && n_rounds("temperature") <= 5,
        "{}",
        n_rounds("temperature")
    );
    assert_eq!(n_rounds("difficulty/natural"), 1);
    let of = |name: &str| -> Vec<u32> {
        let own = requests.iter().filter(|r| r.job == name);
        own.map(|r| r.timeline.number).collect()
    };
    let numbers = of("temperature");
    assert_eq!(
        numbers,
        (0..numbers.len() as u32).collect::<Vec<_>>(),
        "each round asks the next questions"
    );
    let shown = stdout(&ran);
    assert!(
        shown.contains("temperature") && shown.contains("Positive control"),
        "{shown}"
    );
    let report = std::fs::read_to_string(run.join("report.md")).expect("a report");
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
    for needle in [
        "No: at equal length a token of a hard question takes 0.00% more time",
        "equal within 1%",
        "Positive control,",
        "with decode calls slowed by 3.00% on purpose a token took",
        ": seen.",
        "No: the tokens per second are those of temperature 0 within 1%",
        "The 2 comparisons share the errors of the rule",
    ] {
        assert!(flat.contains(needle), "{needle}: {flat}");
    }
    let rows = place.run(&["report", run.to_str().expect("text"), "-o", "json"]);
    for job in [
        "temperature/t0",
        "temperature/t0.7",
        "temperature/t1.5",
        "temperature/control",
    ] {
        assert!(stdout(&rows).contains(&format!("\"{job}\"")), "{job}");
    }
    // Nothing is missing, so nothing is measured again.
    let run_name = run.to_str().expect("text");
    let again = place.run(&["run", "--resume", run_name, "--engine", "synthetic"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(record_of_requests(&run).1.len(), jobs.len());
}

/// What was printed, without the breaks of lines and the width of columns.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_sweep_may_have_requests_beside_its_cells() {
    let place = Place::new();
    let sweep = place.path().join("both.toml");
    let text = "batch = [1, 2]\nn_prompt = 8\nn_gen = 8\n[[also]]\nbatch = 1\nn_gen = [16]\n[protocol]\nreplicates = 1\n\
                repetitions = 2\n[requests]\nconcurrency = [1, 2]\nrounds = 1\nn_gen = 4\n";
    std::fs::write(&sweep, text).expect("writable");
    let sweep = sweep.to_str().expect("text");
    let dry = place.run(&["sweep", sweep, "--engine", "synthetic", "--dry-run"]);
    let said = in_one_line(&stdout(&dry));
    assert!(said.contains("concurrency/c2 12 2 4 "), "{said}");
    let ran = place.run(&["sweep", sweep, "--engine", "synthetic"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let (requests, jobs) = record_of_requests(&place.the_run());
    assert_eq!((requests.len(), jobs.len()), (24, 2));
    let mut cells = BTreeSet::new();
    jsonl::read(&place.the_run(), |line| {
        if let Line::Cell(c) = line {
            cells.insert((c.case.n_seq, c.case.n_gen));
        }
    })
    .expect("readable");
    assert_eq!(cells, [(1, 8), (2, 8), (1, 16)].into());
}

#[test]
fn each_replicate_is_a_fresh_process_and_the_unit_of_the_intervals() {
    let place = Place::new();
    let tiny = tiny_model().to_str().expect("text");
    let out = place.run(&[
        "requests",
        "-m",
        tiny,
        "--batch",
        "2",
        "-n",
        "4",
        "--replicates",
        "3",
        "--rounds",
        "2",
        "--no-report",
        "-o",
        "json",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let (_, jobs) = record_of_requests(&place.the_run());
    let workers: Vec<Option<u32>> = jobs.iter().map(|j| j.worker).collect();
    assert_eq!(workers, [0, 0, 1, 1, 2, 2].map(Some));
    let rows: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(rows[0]["n_processes"], 3);
    assert_eq!(rows[0]["n_rounds"], 6);
    assert!(rows[0]["latency_ns"]["mean_ci"].is_array(), "{rows}");
    assert!(!stderr(&out).contains("one process"), "{}", stderr(&out));
}

#[test]
fn two_runs_of_requests_are_compared_job_by_job() {
    let place = Place::new();
    let tiny = tiny_model().to_str().expect("text");
    // Sends the same requests into a run of its own, whose folder it returns.
    let sent = |name: &str, temperature: &str| -> String {
        let out = place.run(&[
            "requests",
            "-m",
            tiny,
            "--batch",
            "1,2",
            "-n",
            "8",
            "--class",
            "short",
            "--temperature",
            temperature,
            "--no-report",
            "--name",
            name,
        ]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let runs = std::fs::read_dir(place.out()).expect("runs").flatten();
        let mut runs = runs.map(|e| e.path().to_str().expect("text").to_owned());
        runs.find(|run| run.ends_with(&format!("-{name}")))
            .expect("the run")
    };
    let (a, b, warm) = (sent("a", "0"), sent("b", "0"), sent("c", "0.7"));
    let compare = |metric: &str| {
        let out = place.run(&["compare", &a, &b, "--metric", metric, "-o", "json"]);
        (out.status.code(), stdout(&out), stderr(&out))
    };
    for metric in [
        "request_latency",
        "request_ttft",
        "request_tpot",
        "throughput",
    ] {
        let (code, said, error) = compare(metric);
        assert_eq!(code, Some(0), "{error}");
        let found: Value = serde_json::from_str(&said).expect("JSON");
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
            "{said}"
        );
    }
    let other = place.run(&["compare", &a, &warm, "--metric", "request_latency"]);
    assert_eq!(other.status.code(), Some(0), "{}", stderr(&other));
    let said = stdout(&other);
    let said: Vec<&str> = said.split_whitespace().collect();
    assert!(said.join(" ").contains("are other work"), "{said:?}");
    let (code, _, error) = compare("request_ttft_p95");
    assert_eq!(code, Some(2));
    assert!(error.contains("59 of them in a round"), "{error}");
    let (code, _, error) = compare("step");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("--metric of requests: request_latency"),
        "{error}"
    );
}

#[test]
fn a_budget_ends_requests_and_what_is_missing_can_be_resumed() {
    let place = Place::new();
    let tiny = tiny_model().to_str().expect("text");
    let out = place.run(&[
        "requests",
        "-m",
        tiny,
        "--batch",
        "1,2",
        "-n",
        "4",
        "--n-requests",
        "2",
        "--rounds",
        "1000",
        "--budget",
        "4s",
        "--class",
        "short",
        "--no-report",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let run = place.the_run();
    let (_, jobs) = record_of_requests(&run);
    assert!(!jobs.is_empty() && jobs.len() < 2000, "{}", jobs.len());
    assert!(stdout(&out).contains("--resume"), "{}", stdout(&out));
    let folder = run.to_str().expect("text");
    let refused = place.run(&["--resume", folder, "--budget", "4s", "-t", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let why = "leave out --threads, --budget";
    assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
    let again = place.run(&["--resume", folder, "--no-report"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(record_of_requests(&run).1.len() > jobs.len(), "it went on");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_job_in_hand_and_keeps_what_was_answered() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let place = Place::new();
    let mut child = place
        .command()
        .args([
            "requests", "--batch", "2", "--rounds", "1000", "--n-gen", "4", "-m",
        ])
        .arg(tiny_model())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = said.lines().map_while(Result::ok);
    // The first job is in the record when its line is told.
    let first = lines.find(|line| line.contains("concurrency/c2"));
    assert!(first.is_some(), "a job ends");
    assert!(support::signal(child.id(), "-INT"));
    let rest: Vec<String> = lines.collect();
    let status = child.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(130), "{rest:?}");
    let run = place.the_run();
    let (requests, jobs) = record_of_requests(&run);
    assert!(
        !requests.is_empty() && jobs.len() < 1000,
        "{} jobs",
        jobs.len()
    );
    let mut ends = Vec::new();
    jsonl::read(&run, |line| {
        if let Line::End(end) = line {
            ends.push(end.interrupted);
        }
    })
    .expect("readable");
    assert_eq!(ends, [true]);
    assert!(run.join("report.md").exists(), "what there is, is reported");
}

#[test]
fn what_cannot_be_is_said_before_anything_is_sent() {
    let place = Place::new();
    let tiny = tiny_model().to_str().expect("text");
    for (args, needle) in [
        (
            vec!["requests", "-m", tiny, "--target", "vllm:x"],
            "target `vllm:x`",
        ),
        (vec!["requests", "-m", tiny, "--n-depth", "8"], "--n-depth"),
        (
            vec!["requests", "-m", tiny, "--class", "nonsense"],
            "no prompt of class 'nonsense'",
        ),
        (
            vec!["requests", "-m", tiny, "--prompts", "nowhere.jsonl"],
            "nowhere.jsonl",
        ),
        (
            vec!["requests", "-m", tiny, "--n-gen", "2000"],
            "n_ctx 2048",
        ),
        (vec!["compare-live", "-m", tiny], "--target"),
        (vec!["compare-live", "--target", "ollama:m"], "--model"),
        (
            vec![
                "requests",
                "-m",
                tiny,
                "--target",
                "openai:http://127.0.0.1:9/v1",
                "--timeout",
                "1ms",
            ],
            "127.0.0.1:9",
        ),
        (
            vec![
                "requests",
                "--target",
                "openai:http://127.0.0.1:9/v1",
                "--n-prompt",
                "16",
            ],
            "name its file with --model",
        ),
    ] {
        let refused = place.run(&[&args[..], &["--engine", "synthetic"]].concat());
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(needle), "{args:?}: {said}");
        let errors = said.lines().filter(|line| !line.contains("waiting for it"));
        assert_eq!(errors.count(), 1, "{said}");
        assert!(!place.out().exists(), "{args:?} left something behind");
    }
}
