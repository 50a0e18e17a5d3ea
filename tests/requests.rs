//! `requests`, `compare-live` and a sweep with requests, as a user sees them.

#[allow(dead_code)] // other tests use the rest of it
#[path = "servers/fake.rs"]
mod fake;
mod support;
#[path = "servers/tls.rs"]
mod tls;

use std::collections::BTreeSet;
use std::path::Path;

use fake::{Fake, Seen, Step, stream, whole};
use ggufbench::record::Line;
use ggufbench::record::jsonl;
use ggufbench::record::requests::{JobLine, RequestLine};
use serde_json::{Value, json};
use support::{Place, stderr, stdout, tiny_model};

/// A run's requests and jobs, every line of its record held against the schema.
fn record(run: &Path) -> (Vec<RequestLine>, Vec<JobLine>) {
    let schema: Value =
        serde_json::from_str(include_str!("../schema/run.schema.json")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a valid schema");
    let text = std::fs::read_to_string(run.join(jsonl::FILE_NAME)).expect("a record");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let errors: Vec<String> = schema.iter_errors(&line).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {line}");
    }
    let (mut requests, mut jobs) = (Vec::new(), Vec::new());
    jsonl::read(run, |line| match line {
        Line::Request(r) => requests.push(*r),
        Line::Job(j) => jobs.push(*j),
        _ => {}
    })
    .expect("readable");
    (requests, jobs)
}

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
    let (requests, jobs) = record(&run);
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
    let said = stdout(&dry);
    assert!(
        said.contains("temperature, difficulty/equal, difficulty/control: further rounds until decided, at most 30 pairs each")
            && said.contains("30 min"),
        "{said}"
    );
    let ran = place.run(&[&args[..], &fixed].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let run = place.the_run();
    let (requests, jobs) = record(&run);
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
        "No: at equal length a token of a hard question takes 0.00% longer",
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
    assert_eq!(record(&run).1.len(), jobs.len());
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
    assert!(
        stdout(&dry).contains("concurrency/c2: 12 requests"),
        "{}",
        stdout(&dry)
    );
    let ran = place.run(&["sweep", sweep, "--engine", "synthetic"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let (requests, jobs) = record(&place.the_run());
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

/// An Ollama that has the model, and answers three tokens.
fn ollama(sha256: String) -> Fake {
    Fake::start(move |_, seen: &Seen| -> Vec<Step> {
        let model = json!({"name": "m:latest", "model": "m:latest", "size": 1000, "size_vram": 0, "context_length": 2048});
        match seen.path.as_str() {
            "/api/version" => whole("200 OK", &json!({"version": "1.2.3"}).to_string()),
            "/api/ps" => whole("200 OK", &json!({"models": [model]}).to_string()),
            "/api/show" => whole(
                "200 OK",
                &json!({"modelfile": format!("FROM /store/blobs/sha256-{sha256}\n"), "details": {"quantization_level": "F16"}})
                    .to_string(),
            ),
            _ => {
                let piece = |text| json!({"response": text, "done": false}).to_string() + "\n";
                let done = json!({
                    "response": "", "done": true, "done_reason": "length", "total_duration": 9_000_000,
                    "load_duration": 1, "prompt_eval_count": 9, "prompt_eval_duration": 3_000_000, "eval_count": 3,
                    "eval_duration": 2_000_000,
                });
                let pieces = [piece("a"), piece("b"), piece("c"), done.to_string() + "\n"];
                stream("application/x-ndjson", &pieces)
            }
        }
    })
}

#[test]
fn a_live_comparison_takes_turns_and_sends_no_text_twice() {
    let place = Place::new();
    let facts = ggufbench::model::ModelFacts::read(tiny_model());
    let mut facts = facts.expect("a model");
    facts.hash(&mut |_, _| {}).expect("readable");
    let fake = ollama(facts.sha256.expect("hashed"));
    let target = format!("ollama:m@{}", fake.url(""));
    let ran = place
        .command()
        .args(["compare-live", "--engine", "synthetic", "--model"])
        .arg(tiny_model())
        .args([
            "--target", &target, "--batch", "1,2", "--n-gen", "3", "--rounds", "3",
        ])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let (requests, jobs) = record(&place.the_run());
    assert_eq!(jobs.len(), 2 * 2 * 3);
    assert!(requests.iter().all(|r| r.timeline.ending.is_whole()));
    // In each round and job one comes first, and then the other; neither is always the first.
    let first: BTreeSet<&str> = jobs.chunks(2).map(|turn| turn[0].target.as_str()).collect();
    assert_eq!(first.len(), 2, "{first:?}");
    for turn in jobs.chunks(2) {
        assert_eq!((&turn[0].job, turn[0].round), (&turn[1].job, turn[1].round));
    }
    let asked = fake.seen();
    let mut texts: Vec<String> = asked
        .iter()
        .filter(|seen| seen.path == "/api/generate")
        .map(|seen| seen.json()["prompt"].as_str().expect("a prompt").to_owned())
        .collect();
    let n = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(
        texts.len(),
        n,
        "a text sent twice would be answered from a cache"
    );
    let report = std::fs::read_to_string(place.the_run().join("report.md")).expect("a report");
    assert!(report.contains("ran the same file"), "{report}");
}

#[test]
fn targets_of_one_run_are_compared_like_any_other_axis() {
    let place = Place::new();
    let facts = ggufbench::model::ModelFacts::read(tiny_model());
    let mut facts = facts.expect("a model");
    facts.hash(&mut |_, _| {}).expect("readable");
    let fake = ollama(facts.sha256.expect("hashed"));
    let target = format!("ollama:m@{}", fake.url(""));
    let tiny = tiny_model().to_str().expect("text");
    let sent = place.run(&[
        "compare-live",
        "--engine",
        "synthetic",
        "--model",
        tiny,
        "--target",
        &target,
        "--batch",
        "1,2",
        "--n-gen",
        "3",
        "--n-requests",
        "4",
        "--no-report",
    ]);
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let run = place.the_run();
    let axis = format!("target=in-process,{target}");
    for axis in ["target", &axis] {
        let out = place.run(&[
            "compare",
            run.to_str().expect("text"),
            "--axis",
            axis,
            "--metric",
            "request_latency",
            "-o",
            "json",
        ]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let found: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
        let rows = found["rows"].as_array().expect("rows");
        let jobs: Vec<&str> = rows.iter().filter_map(|r| r["job"].as_str()).collect();
        assert_eq!(jobs, ["concurrency/c1", "concurrency/c2"]);
        assert!(
            rows.iter().all(|r| r["slowdown"]["estimate"].is_number()),
            "three pairs: {found}"
        );
    }
}

/// Two requests to a server with OpenAI's protocol, and nothing but its address.
fn ask(place: &Place, url: &str, more: &[&str]) -> std::process::Command {
    let mut command = place.command();
    let target = format!("openai:{url}/v1");
    command.args([
        "requests",
        "--target",
        &target,
        "--n-requests",
        "2",
        "--n-gen",
        "16",
    ]);
    command
        .args(["--rounds", "1", "--no-report", "-o", "csv"])
        .args(more);
    command
}

/// The column of this name, a value for each request.
fn column(ran: &std::process::Output, name: &str) -> Vec<String> {
    let table = stdout(ran);
    let mut read = csv::Reader::from_reader(table.as_bytes());
    let headers = read.headers().expect("a header").clone();
    let at = headers.iter().position(|h| h == name).expect("a column");
    read.records()
        .map(|row| row.expect("a row")[at].to_owned())
        .collect()
}

#[test]
fn certificates_of_an_own_authority_are_trusted_where_they_are_named() {
    let place = Place::new();
    let url = tls::start();
    let trusting = ask(&place, &url, &[])
        .env("SSL_CERT_FILE", tls::authority())
        .output();
    let trusting = trusting.expect("the program starts");
    assert_eq!(trusting.status.code(), Some(0), "{}", stderr(&trusting));
    assert_eq!(column(&trusting, "ending"), ["stop", "stop"]);
    let folder = tls::authority().parent().expect("a folder").to_owned();
    let in_folder = ask(&place, &url, &[]).env("SSL_CERT_DIR", folder).output();
    assert_eq!(
        in_folder.expect("the program starts").status.code(),
        Some(0)
    );
    for file in ["", "/nowhere.pem"] {
        let wary = ask(&place, &url, &[]).env("SSL_CERT_FILE", file).output();
        let wary = wary.expect("the program starts");
        let said = stderr(&wary);
        assert_eq!(wary.status.code(), Some(2), "{said}");
        assert!(
            said.contains("certificate") && said.contains("SSL_CERT_FILE"),
            "{said}"
        );
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

/// A server that lists its model and answers prompts by `answer`, which gets their number.
fn openai(answer: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Fake {
    let n = std::sync::atomic::AtomicUsize::new(0);
    Fake::start(move |_, seen| match seen.method.as_str() {
        "POST" => answer(n.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        _ if seen.path == "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
        _ => whole("404 Not Found", "{}"),
    })
}

fn said(delta: Value) -> String {
    let chunk = json!({"choices": [{"delta": delta, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

fn ended(n_tokens: u32) -> String {
    let finish = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let usage =
        json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": n_tokens}});
    format!("data: {finish}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

const SSE: &str = "text/event-stream";

#[test]
fn a_server_that_loads_while_it_is_warmed_up_is_waited_for() {
    let fake = openai(|number| match number {
        0 => whole(
            "503 Service Unavailable",
            r#"{"error":{"message":"Loading model"}}"#,
        ),
        _ => stream(SSE, &[said(json!({"content": "a"})), ended(2)]),
    });
    let place = Place::new();
    let ran = ask(&place, fake.url("").to_string().as_str(), &[]).output();
    let ran = ran.expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert_eq!(column(&ran, "ending"), ["stop", "stop"]);
    assert_eq!(
        stderr(&ran).matches("waiting for it").count(),
        1,
        "{}",
        stderr(&ran)
    );
    // One that never is, is told in the job's line.
    let fake = openai(|_| {
        whole(
            "503 Service Unavailable",
            r#"{"error":{"message":"Loading model"}}"#,
        )
    });
    let place = Place::new();
    let never = ask(
        &place,
        fake.url("").to_string().as_str(),
        &["--timeout", "300ms"],
    )
    .output();
    let never = never.expect("the program starts");
    assert_eq!(never.status.code(), Some(1), "{}", stderr(&never));
    assert!(
        stderr(&never).contains("still loading"),
        "{}",
        stderr(&never)
    );
}

#[test]
fn a_server_alone_is_asked_by_chats_and_its_reasoning_is_told() {
    let fake = openai(|number| {
        let mut pieces = vec![
            said(json!({"role": "assistant"})),
            said(json!({"reasoning_content": "hm"})),
        ];
        if number % 2 == 0 {
            pieces.push(said(json!({"content": "yes"})));
        }
        pieces.push(ended(3));
        stream(SSE, &pieces)
    });
    let place = Place::new();
    let ran = ask(&place, fake.url("").to_string().as_str(), &[]).output();
    let ran = ran.expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let posts = fake.seen().into_iter().filter(|seen| seen.method == "POST");
    assert!(posts.clone().count() >= 3);
    assert!(
        posts
            .into_iter()
            .all(|seen| seen.path == "/v1/chat/completions")
    );
    assert_eq!(column(&ran, "n_reasoning"), ["1", "1"]);
    let visible = column(&ran, "ttft_visible_ns");
    assert_eq!(
        visible.iter().filter(|v| v.is_empty()).count(),
        1,
        "{visible:?}"
    );
    record(&place.the_run());
    let name = place
        .the_run()
        .file_name()
        .expect("a folder")
        .to_string_lossy()
        .into_owned();
    let table = stdout(&place.run(&["report", &format!("out/{name}"), "-o", "table"]));
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        table.contains("reasoning only") && table.contains("visible TTFT"),
        "{table}"
    );
    let json: Value = serde_json::from_str(&stdout(&place.run(&[
        "report",
        &format!("out/{name}"),
        "-o",
        "json",
    ])))
    .expect("JSON");
    assert_eq!(json[0]["n_reasoning_only"], json!(1));
    assert_eq!(
        (&json[0]["ttft_ns"]["n"], &json[0]["ttft_visible_ns"]["n"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn a_count_that_is_not_believed_is_a_warning_and_no_rate() {
    let fake = openai(|_| stream(SSE, &[said(json!({"content": "a"})), ended(u32::MAX)]));
    let place = Place::new();
    let target = format!("{}#unlisted", fake.url("/v1"));
    let mut command = place.command();
    command.args([
        "requests",
        "--target",
        &format!("openai:{target}"),
        "--n-requests",
        "2",
        "--n-gen",
        "16",
    ]);
    let ran = command
        .args(["--rounds", "1", "--no-report"])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let shown = stdout(&ran)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        shown.contains("it says 4294967295 where 16 were asked for"),
        "{shown}"
    );
    assert!(
        shown.contains("`unlisted` is not in the server's list (m)"),
        "{shown}"
    );
    let (requests, _) = record(&place.the_run());
    assert!(requests.iter().all(|r| r.timeline.n_generated.is_none()));
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
    let (_, jobs) = record(&place.the_run());
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
    let (_, jobs) = record(&run);
    assert!(!jobs.is_empty() && jobs.len() < 2000, "{}", jobs.len());
    assert!(stdout(&out).contains("--resume"), "{}", stdout(&out));
    let folder = run.to_str().expect("text");
    let again = place.run(&["--resume", folder, "--no-report"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(record(&run).1.len() > jobs.len(), "it went on");
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
    let (requests, jobs) = record(&run);
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
