//! Requests to targets that are servers: in turns, side by side, and alone, as a user sees them.

#[allow(dead_code)] // other tests use the rest of it
#[path = "servers/fake.rs"]
mod fake;
mod support;
#[path = "servers/tls.rs"]
mod tls;

use std::collections::BTreeSet;

use fake::{Fake, Seen, Step, stream, whole};
use serde_json::{Value, json};
use support::{Place, record_of_requests, stderr, stdout, tiny_model};

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

/// An Ollama that has the tiny model's file.
fn ollama_with_tiny() -> Fake {
    let facts = ggufbench::model::ModelFacts::read(tiny_model());
    let mut facts = facts.expect("a model");
    facts.hash(&mut |_, _| {}).expect("readable");
    ollama(facts.sha256.expect("hashed"))
}

#[test]
fn a_live_comparison_goes_on_until_it_is_decided_and_no_longer() {
    let place = Place::new();
    let fake = ollama_with_tiny();
    let target = format!("ollama:m@{}", fake.url(""));
    // Each call takes 40 ms, and the server answers at once.
    let engine = r#"synthetic:{"call_ns":40000000,"token_ns":0,"past_ns":0,"sample_ns":0}"#;
    let ran = place
        .command()
        .args(["compare-live", "--engine", engine, "--model"])
        .arg(tiny_model())
        .args(["--target", &target, "--batch", "1", "--n-gen", "3"])
        .args(["--n-requests", "1", "--max-pairs", "40", "--no-report"])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let said = stdout(&ran)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains("Decided after at most"), "{said}");
    assert!(said.contains("rounds: different."), "{said}");
    assert!(said.contains("3 processes, then"), "{said}");
    let (_, jobs) = record_of_requests(&place.the_run());
    let rounds = |target: &str| -> Vec<u32> {
        let own = jobs.iter().filter(|job| job.target == target);
        own.map(|job| job.round).collect()
    };
    let own = rounds("in-process");
    assert_eq!(own, rounds(&target), "every round is a pair");
    assert!((6..40).contains(&own.len()), "{own:?}");
    let workers: BTreeSet<u32> = jobs.iter().filter_map(|job| job.worker).collect();
    assert_eq!(
        workers.len(),
        own.len(),
        "every round has a process of its own"
    );
    // Nothing is left to do.
    let run = place.the_run();
    let run = run.to_str().expect("text");
    let again = place.run(&["--resume", run, "--engine", engine, "--no-report"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(record_of_requests(&place.the_run()).1.len(), jobs.len());
}

#[test]
fn a_live_comparison_takes_turns_and_sends_no_text_twice() {
    let place = Place::new();
    let fake = ollama_with_tiny();
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
    let (requests, jobs) = record_of_requests(&place.the_run());
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
    let fake = ollama_with_tiny();
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
    record_of_requests(&place.the_run());
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
    let (requests, _) = record_of_requests(&place.the_run());
    assert!(requests.iter().all(|r| r.timeline.n_generated.is_none()));
}
