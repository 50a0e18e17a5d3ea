//! A server that is measured alone, as a user sees it: with nothing but its address, whatever it answers.

#[allow(dead_code)] // other tests use the rest of it
#[path = "servers/fake.rs"]
mod fake;
mod support;

use std::path::Path;
use std::time::Duration;

use fake::{Fake, Seen, Step, raw, stream, whole};
use serde_json::{Value, json};
use support::{Place, stderr, stdout, tiny_model};

const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A server that knows chats only, and counts 900 tokens in every prompt.
fn chat_only() -> Fake {
    Fake::start(|_, seen| match seen.path.as_str() {
        "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
        "/v1/chat/completions" => {
            let delta = |text: &str| event(&json!({"choices": [{"delta": {"content": text}}]}));
            let pieces = [
                delta("one "),
                delta("two "),
                delta("three"),
                event(&json!({"choices": [{"delta": {}, "finish_reason": "length"}]})),
                event(
                    &json!({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 3}}),
                ),
                "data: [DONE]\n\n".to_owned(),
            ];
            stream(SSE, &pieces)
        }
        _ => whole("404 Not Found", r#"{"error":"no such path"}"#),
    })
}

fn openai(fake: &Fake) -> String {
    format!("openai:{}", fake.url("/v1"))
}

fn rows(stdout: &str) -> Vec<Value> {
    let rows: Value = serde_json::from_str(stdout).expect("JSON");
    rows.as_array().expect("an array").clone()
}

#[test]
fn nothing_but_the_address_is_needed() {
    let place = Place::new();
    let fake = chat_only();
    let ran = place.run(&["requests", "--target", &openai(&fake), "-o", "json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let rows = rows(&stdout(&ran));
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    for figure in ["latency_ns", "ttft_ns", "tpot_ns"] {
        assert!(row[figure]["median"].is_u64(), "{figure}: {row}");
    }
    assert_eq!(
        (row["n_whole"].as_u64(), row["n_empty"].as_u64()),
        (Some(102), Some(0))
    );
    // The server tells neither, and nobody asked for any.
    assert_eq!(
        (&row["n_threads"], &row["n_ctx"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(row["n_prompt_tokens"], json!(102 * 900));
    let (header, _) = support::record(&place.the_run());
    assert!(
        header.plan.models.is_empty(),
        "no model of this machine has a part in it"
    );
    assert!(!place.path().join("gguf").join("synth").exists());
    let report = place.the_run().join("report.md");
    assert!(
        std::fs::read_to_string(report)
            .expect("a report")
            .contains("How long does a request take?")
    );
}

#[test]
fn a_context_that_comes_from_no_model_refuses_no_prompt() {
    let place = Place::new();
    let long =
        json!({"id": "long", "class": "long", "source": "a test", "text": "word ".repeat(20_000)});
    std::fs::write(place.path().join("p.jsonl"), long.to_string()).expect("writable");
    let fake = chat_only();
    let target = openai(&fake);
    let args = [
        "requests",
        "--target",
        &target,
        "--prompts",
        "p.jsonl",
        "--rounds",
        "1",
        "--n-requests",
        "2",
    ];
    let ran = place.run(&args);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    // 900 tokens cannot be 20,000 words.
    let shown = stdout(&ran);
    assert!(
        shown.replace("\n", " ").contains("fewer prompt tokens"),
        "{shown}"
    );
    // A number of threads or tokens that nobody named is not claimed, one that was named is.
    let ran = place.run(&[&args[..], &["--n-ctx", "512", "-o", "json", "--no-report"]].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert_eq!(rows(&stdout(&ran))[0]["n_ctx"], json!(512));
}

/// An Ollama that answers by `answer`, which gets what was sent.
fn ollama(answer: impl Fn(&Seen) -> Vec<Value> + Send + Sync + 'static) -> Fake {
    Fake::start(move |_, seen| match seen.path.as_str() {
        "/api/version" => whole("200 OK", r#"{"version":"0.12.0"}"#),
        "/api/ps" => whole("200 OK", r#"{"models":[]}"#),
        "/api/show" => whole("200 OK", r#"{"modelfile":"FROM m","details":{}}"#),
        _ => {
            let lines: Vec<String> = answer(seen).iter().map(|v| format!("{v}\n")).collect();
            stream(NDJSON, &lines)
        }
    })
}

fn piece(text: &str) -> Value {
    json!({"response": text, "done": false})
}

fn done(n_prompt: u32, n_eval: u32) -> Value {
    json!({"response": "", "done": true, "done_reason": "length", "total_duration": 9_000_000, "load_duration": 1,
           "prompt_eval_count": n_prompt, "prompt_eval_duration": 3_000_000, "eval_count": n_eval,
           "eval_duration": 2_000_000})
}

#[test]
fn a_server_is_told_only_what_somebody_named() {
    let fake = ollama(|_| vec![piece("a"), piece("b"), done(30, 2)]);
    let target = format!("ollama:m@{}", fake.url(""));
    let options = |more: &[&str]| {
        let before = fake.seen().len();
        let place = Place::new();
        let args = [
            "requests",
            "--target",
            &target,
            "--n-requests",
            "1",
            "--rounds",
            "1",
            "--no-report",
        ];
        let ran = place.run(&[&args[..], more].concat());
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        let sent = fake.seen().split_off(before);
        let last = sent
            .iter()
            .rev()
            .find(|s| s.path == "/api/generate")
            .expect("asked")
            .json();
        (
            last["options"]["num_thread"].clone(),
            last["options"]["num_ctx"].clone(),
        )
    };
    assert_eq!(options(&[]), (Value::Null, Value::Null));
    assert_eq!(options(&["--threads", "3"]), (json!(3), Value::Null));
    assert_eq!(options(&["--n-ctx", "4096"]), (Value::Null, json!(4096)));
    // Beside a model of this machine both have the same context, and each its own threads.
    let model = tiny_model().to_str().expect("text");
    assert_eq!(
        options(&[
            "--model",
            model,
            "--engine",
            "synthetic",
            "--chat-template=false"
        ]),
        (Value::Null, json!(2048))
    );
}

#[test]
fn empty_answers_are_in_no_average_and_are_told() {
    // Every second answer ends at once.
    let n = std::sync::atomic::AtomicU32::new(0);
    let fake = ollama(
        move |_| match n.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
            0 => vec![done(30, 0)],
            _ => vec![piece("a"), piece("b"), done(30, 2)],
        },
    );
    let place = Place::new();
    let target = format!("ollama:m@{}", fake.url(""));
    let args = [
        "requests",
        "--target",
        &target,
        "--n-requests",
        "6",
        "--rounds",
        "1",
    ];
    let ran = place.run(&args);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let shown = stdout(&ran)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        shown.contains("3 of 6 answers are empty (0 tokens)"),
        "{shown}"
    );
    let report = std::fs::read_to_string(place.the_run().join("report.md")).expect("a report");
    assert!(
        report.contains("3 of 6 answers are empty (0 tokens)"),
        "{report}"
    );
    let name = place.the_run();
    let json = place.run(&["report", name.to_str().expect("text"), "-o", "json"]);
    let row = &rows(&stdout(&json))[0];
    assert_eq!((&row["n_whole"], &row["n_empty"]), (&json!(3), &json!(3)));
    assert_eq!(row["latency_ns"]["n"], json!(3));
    let warnings = row["warnings"].as_array().expect("a list");
    let is_told = |w: &Value| w.as_str().is_some_and(|w| w.contains("are empty"));
    assert!(warnings.iter().any(is_told), "{row}");
}

#[test]
fn prompts_that_a_server_cut_are_no_equal_work() {
    let fake = ollama(|_| vec![piece("a"), piece("b"), piece("c"), done(5, 3)]);
    let place = Place::new();
    let ran = place
        .command()
        .args(["compare-live", "--engine", "synthetic", "--model"])
        .arg(tiny_model())
        .args([
            "--target",
            &format!("ollama:m@{}", fake.url("")),
            "--batch",
            "1",
            "--n-gen",
            "3",
            "--rounds",
            "3",
        ])
        .output()
        .expect("the program starts");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let shown = stdout(&ran)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        shown
            .contains("read fewer prompt tokens than were sent in 36 of 36 requests, 5 instead of"),
        "{shown}"
    );
    assert!(shown.contains("did not do equal work"), "{shown}");
    let report = std::fs::read_to_string(place.the_run().join("report.md")).expect("a report");
    assert!(report.contains("so their times do not compare"), "{report}");
}

#[test]
fn a_load_that_is_too_much_is_called_overload() {
    // Every answer waits for the next request, so that at one place nothing keeps up with a thousand a second.
    let fake = ollama(|_| {
        std::thread::sleep(Duration::from_millis(40));
        vec![piece("a"), piece("b"), done(30, 2)]
    });
    let place = Place::new();
    let target = format!("ollama:m@{}", fake.url(""));
    let args = [
        "requests",
        "--target",
        &target,
        "--sustained",
        "300ms",
        "--rate",
        "1000",
        "--batch",
        "1",
        "--rounds",
        "1",
        "--slo",
        "ttft=10s",
    ];
    let ran = place.run(&args);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let shown = stdout(&ran)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        shown.contains("offered 1000/s, completed") && shown.contains("/s: overloaded"),
        "{shown}"
    );
    assert!(
        shown.contains("still waiting when the load's time was over"),
        "{shown}"
    );
    assert!(
        !shown.contains("interrupted") && !shown.contains("failed"),
        "{shown}"
    );
}

const KEY: &str = "sk-live/4f9a+Zq\"7e\\d01c";

/// The key as JSON may write it.
fn escaped(key: &str) -> Vec<String> {
    let units: String = key
        .bytes()
        .map(|b| format!("\\u{:04x}", u32::from(b)))
        .collect();
    let plain = Value::from(key).to_string();
    let plain = plain.trim_matches('"').to_owned();
    vec![
        plain.replace('/', "\\/"),
        units.to_uppercase().replace("\\U", "\\u"),
        units,
        plain,
    ]
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("readable");
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    found
}

#[test]
fn a_key_that_is_echoed_leaves_no_trace() {
    for (i, key) in escaped(KEY).into_iter().enumerate() {
        let echo = key.clone();
        let fake = Fake::start(move |number, seen| match (seen.path.as_str(), number % 4) {
            ("/v1/models", _) => whole(
                "200 OK",
                &format!(r#"{{"data":[{{"id":"model-{echo}"}}]}}"#),
            ),
            ("/props", _) => whole(
                "200 OK",
                &format!(r#"{{"build_info":"{echo}","model_ftype":"{echo}"}}"#),
            ),
            ("/v1/chat/completions", 0) => whole(
                "401 Unauthorized",
                &format!(r#"{{"error":{{"message":"bad {echo}"}}}}"#),
            ),
            ("/v1/chat/completions", 1) => whole(
                "500 Internal Server Error",
                &format!("not JSON: {}{echo}", "x".repeat(280)),
            ),
            ("/v1/chat/completions", 2) => {
                stream(SSE, &[format!("data: {{\"error\":\"{echo}\"}}\n\n")])
            }
            ("/v1/chat/completions", _) => {
                let delta = |text: &str| {
                    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
                };
                let many = delta(&echo.repeat(200));
                let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
                stream(
                    SSE,
                    &[
                        delta("your key is "),
                        delta(&echo),
                        many,
                        format!("data: {end}\n\n"),
                    ],
                )
            }
            _ => whole("404 Not Found", &echo),
        });
        let place = Place::new();
        let ran = place
            .command()
            .env("OPENAI_API_KEY", KEY)
            .args([
                "requests",
                "--target",
                &openai(&fake),
                "--n-requests",
                "8",
                "--rounds",
                "1",
            ])
            .output()
            .expect("the program starts");
        let mut seen = files(&place.out());
        assert!(seen.len() > 3, "a record and a report");
        seen.push(("standard output".to_owned(), stdout(&ran)));
        seen.push(("standard error".to_owned(), stderr(&ran)));
        for (name, text) in seen {
            for trace in escaped(KEY).iter().map(String::as_str).chain([
                KEY,
                "sk-live/",
                "4f9a+",
                "\\u0073\\u006b",
            ]) {
                assert!(!text.contains(trace), "{i}: {name}: {trace} in {text}");
            }
        }
    }
}

#[test]
fn a_key_that_is_an_ordinary_word_changes_no_answer() {
    for key in ["0", "data", "choices", "stop", "null"] {
        let fake = chat_only();
        let place = Place::new();
        let ran = place
            .command()
            .env("OPENAI_API_KEY", key)
            .args([
                "requests",
                "--target",
                &openai(&fake),
                "--n-requests",
                "2",
                "--rounds",
                "1",
                "-o",
                "json",
            ])
            .output()
            .expect("the program starts");
        assert_eq!(ran.status.code(), Some(0), "{key}: {}", stderr(&ran));
        let row = &rows(&stdout(&ran))[0];
        assert_eq!(
            (&row["n_generated_tokens"], &row["n_prompt_tokens"]),
            (&json!(6), &json!(1800)),
            "{key}"
        );
    }
}

/// Peak memory of a process that has ended and was not waited for yet, bytes.
#[cfg(target_os = "linux")]
fn wait_for_peak(child: std::process::Child) -> (i32, u64) {
    let pid = i32::try_from(child.id()).expect("a process");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both are places of the right kind, and the process is a child of ours that nobody else waits for.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, pid);
    // SAFETY: the system has written it; zeroes are a value of it too.
    let usage = unsafe { usage.assume_init() };
    (
        libc::WEXITSTATUS(status),
        u64::try_from(usage.ru_maxrss).expect("a size") << 10,
    )
}

#[cfg(target_os = "linux")]
#[test]
fn servers_without_an_end_are_given_up_and_take_little_memory() {
    use std::process::Stdio;

    type Script = fn() -> Vec<Step>;
    fn body(status: &str) -> Step {
        raw(&format!("HTTP/1.1 {status}\r\nContent-Type: {SSE}\r\n\r\n"))
    }
    fn again(bytes: impl AsRef<[u8]>) -> Step {
        let bytes = bytes.as_ref();
        Step::Drip(bytes.repeat((64 << 10) / bytes.len()), Duration::ZERO)
    }
    fn slowly(bytes: &str) -> Step {
        Step::Drip(bytes.into(), Duration::from_millis(20))
    }
    const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n";
    const EMPTY: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n";
    let hostile: [(&str, Script); 12] = [
        ("a byte at a time", || vec![body("200 OK"), slowly("d")]),
        ("comments", || vec![body("200 OK"), again(": ping\n\n")]),
        ("empty pieces", || vec![body("200 OK"), again(EMPTY)]),
        ("tokens", || vec![body("200 OK"), again(PIECE)]),
        ("one event", || vec![body("200 OK"), again("data: 0,\n")]),
        ("one line", || vec![body("200 OK"), again("data: [0,0,0")]),
        ("continue", || vec![slowly("HTTP/1.1 100 Continue\r\n\r\n")]),
        ("headers", || {
            vec![raw("HTTP/1.1 200 OK\r\n"), slowly("X-A: b\r\n")]
        }),
        ("fast headers", || {
            vec![raw("HTTP/1.1 200 OK\r\n"), again("X-A: b\r\n")]
        }),
        ("an error", || {
            vec![body("500 Internal Server Error"), again("no ")]
        }),
        ("zeros as gzip", || {
            vec![
                raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"),
                again([0x1f, 0x8b, 8, 0]),
            ]
        }),
        ("redirects", || {
            vec![raw(
                "HTTP/1.1 302 Found\r\nLocation: /v1/chat/completions\r\nContent-Length: 0\r\n\r\n",
            )]
        }),
    ];
    for (what, script) in hostile {
        let fake = Fake::start(move |_, seen| match seen.path.as_str() {
            "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
            "/v1/chat/completions" => script(),
            _ => whole("404 Not Found", ""),
        });
        let place = Place::new();
        let child = place
            .command()
            .args([
                "requests",
                "--target",
                &openai(&fake),
                "--batch",
                "4",
                "--n-requests",
                "4",
                "--rounds",
                "1",
            ])
            .args(["--timeout", "300ms", "--no-report"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let (code, peak_bytes) = wait_for_peak(child);
        assert_eq!(code, 1, "{what}: no request was answered");
        assert!(peak_bytes < 200 << 20, "{what}: {peak_bytes} bytes");
        let (_, lines) = support::record(&place.the_run());
        let how: Vec<&str> = lines
            .iter()
            .filter_map(|line| match line {
                ggufbench::record::Line::Request(r) => Some(r.timeline.ending.word()),
                _ => None,
            })
            .collect();
        // Two for each of the four at once.
        assert_eq!(how.len(), 8, "{what}: {how:?}");
        let given_up = ["timed_out", "excess", "stream_error", "http_error"];
        assert!(
            how.iter().all(|how| given_up.contains(how)),
            "{what}: {how:?}"
        );
    }
}
