//! A server with OpenAI's completions that behaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use ggufbench::request::http::{ApiKey, Client};
use ggufbench::request::openai::OpenaiTarget;
use ggufbench::request::{Ending, Endpoint, ServerTimes, StopAt, Target, TargetError, TargetKind};
use serde_json::{Value, json};

use super::fake::{Fake, Gate, Seen, Step, head, stream, whole};
use super::ollama::header_names;
use super::{PATIENT, job, only, serve};

pub const SSE: &str = "text/event-stream";

pub const SECRET: &str = "sk-very-secret";

/// A target with its model named, so that nothing else is asked.
pub fn target(fake: &Fake) -> OpenaiTarget {
    with_key(fake, None)
}

pub fn with_key(fake: &Fake, key: Option<&str>) -> OpenaiTarget {
    let key = key.map(|key| ApiKey::new(key).unwrap());
    OpenaiTarget::new("openai:x".into(), None, fake.url("/v1"), key, PATIENT)
}

pub fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

pub fn text(text: &str) -> String {
    event(&json!({"object": "text_completion", "choices": [
        {"index": 0, "text": text, "logprobs": null, "finish_reason": null}]}))
}

pub fn finish(reason: &str) -> String {
    event(&json!({"choices": [{"index": 0, "text": "", "finish_reason": reason}]}))
}

pub fn usage(n_prompt: u32, n_generated: u32, n_cached: u32) -> String {
    event(&json!({"choices": [], "usage": {
        "prompt_tokens": n_prompt, "completion_tokens": n_generated, "total_tokens": n_prompt + n_generated,
        "prompt_tokens_details": {"cached_tokens": n_cached}}}))
}

pub const DONE: &str = "data: [DONE]\n\n";

/// Answers what a target asks of the server itself, and leaves requests to `script`, which gets their number.
pub fn serving(script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Fake {
    let n_requests = AtomicUsize::new(0);
    Fake::start(
        move |_, seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", _) => script(n_requests.fetch_add(1, Ordering::SeqCst), seen),
            (_, "/v1/models") => whole("200 OK", r#"{"object":"list","data":[{"id":"m"}]}"#),
            _ => whole("404 Not Found", ""),
        },
    )
}

pub fn answer() -> Vec<Step> {
    let pieces = [
        text("a"),
        text("b"),
        text("c"),
        finish("length"),
        usage(7, 3, 2),
        DONE.into(),
    ];
    stream(SSE, &pieces)
}

#[test]
fn an_answer_is_what_arrived_and_what_its_usage_says() {
    let fake = serving(|_, _| answer());
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.text, "abc");
    assert_eq!(timeline.ending, Ending::Length);
    assert_eq!(timeline.arrivals.len(), 3);
    assert_eq!(
        (timeline.n_prompt, timeline.n_generated),
        (Some(7), Some(3))
    );
    assert_eq!(
        timeline.server,
        Some(ServerTimes {
            n_prompt: Some(5),
            n_cached: Some(2),
            n_eval: Some(3),
            ..ServerTimes::default()
        })
    );
}

#[test]
fn llama_servers_own_times_are_kept_apart() {
    let fake = serving(|_, _| {
        let timings = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4},
            "timings": {"cache_n": 1, "prompt_n": 8, "prompt_ms": 30.5, "prompt_per_second": 1.0,
                        "predicted_n": 4, "predicted_ms": 12.25, "predicted_per_second": 1.0}});
        let pieces = [
            text("a"),
            text("b"),
            text("c"),
            finish("stop"),
            event(&timings),
            DONE.into(),
        ];
        stream(SSE, &pieces)
    });
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!(
        (timeline.n_prompt, timeline.n_generated),
        (Some(9), Some(3))
    );
    assert_eq!(
        timeline.server,
        Some(ServerTimes {
            total_ns: None,
            load_ns: None,
            prompt_ns: Some(30_500_000),
            eval_ns: Some(12_250_000),
            n_prompt: Some(8),
            n_cached: Some(1),
            n_eval: Some(4),
        })
    );
}

#[test]
fn a_request_says_everything_and_no_more() {
    let fake = serving(|_, _| answer());
    serve(&mut target(&fake), &job(2));
    let seen = &fake.seen()[1..];
    let expected = |prompt: &str, seed: u32| {
        json!({
            "model": "m", "prompt": prompt, "max_tokens": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 40,
            "min_p": 0.0, "seed": seed, "stream": true, "stream_options": {"include_usage": true},
            "cache_prompt": false,
        })
    };
    assert_eq!(seen[0].path, "/v1/completions");
    assert_eq!(seen[0].json(), expected("one", 42));
    assert_eq!(seen[1].json(), expected("two", 43));
    assert_eq!(
        header_names(&seen[0]),
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "user-agent"
        ]
    );
}

#[test]
fn a_forced_length_is_asked_for() {
    let fake = serving(|_, _| answer());
    let mut job = job(1);
    job.stop_at = StopAt::Length;
    serve(&mut target(&fake), &job);
    assert_eq!(fake.seen()[1].json()["ignore_eos"], json!(true));
}

#[test]
fn in_a_chat_roles_reasons_and_empty_pieces_are_no_arrivals() {
    let delta = |delta: Value| {
        event(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
    };
    let fake = serving(move |_, _| {
        let pieces = [
            delta(json!({"role": "assistant", "content": null})),
            delta(json!({"content": ""})),
            delta(json!({"reasoning_content": "let me see"})),
            delta(json!({"content": "yes"})),
            delta(json!({"content": " it is"})),
            event(&json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})),
            usage(7, 9, 0),
            DONE.into(),
        ];
        stream(SSE, &pieces)
    });
    let mut job = job(1);
    job.endpoint = Endpoint::Chat;
    let served = serve(&mut target(&fake), &job);
    let timeline = only(&served);
    assert_eq!(timeline.text, "yes it is");
    assert_eq!(timeline.arrivals.len(), 2);
    assert_eq!(timeline.n_generated, Some(8));
    let seen = &fake.seen()[1];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(
        seen.json()["messages"],
        json!([{"role": "user", "content": "one"}])
    );
    assert_eq!(seen.json().get("prompt"), None);
}

#[test]
fn events_may_be_written_in_every_legal_way() {
    let fake = serving(|_, _| {
        let all = concat!(
            ": ping\r\n\r\n",
            "event: message\r\ndata:{\"choices\":[{\"text\":\"a\"}]}\r\n\r\n",
            "id: 1\nretry: 5\ndata: {\"choices\":\ndata: [{\"text\":\"b\"}]}\n\n\n",
            "data: {\"choices\":[{\"text\":\"c\",\"finish_reason\":\"length\"}]}\n\n",
            // Its last blank line is missing.
            "data: [DONE]\n",
        );
        let pieces: Vec<&[u8]> = all.as_bytes().chunks(7).collect();
        stream(SSE, &pieces)
    });
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.text, "abc");
    assert_eq!(timeline.arrivals.len(), 3);
    assert_eq!(timeline.ending, Ending::Length);
    assert_eq!((timeline.n_generated, timeline.server), (None, None));
}

#[test]
fn pieces_have_their_tokens_where_the_server_counts_along() {
    let counted = |text: &str, n: u32| {
        event(
            &json!({"choices": [{"text": text, "finish_reason": null}], "usage": {"completion_tokens": n}}),
        )
    };
    let fake = serving(move |_, _| {
        let pieces = [
            counted("a", 1),
            counted("bc", 3),
            finish("length"),
            usage(7, 3, 0),
            DONE.into(),
        ];
        stream(SSE, &pieces)
    });
    let served = serve(&mut target(&fake), &job(1));
    let tokens: Vec<_> = only(&served).arrivals.iter().map(|a| a.n_tokens).collect();
    assert_eq!(tokens, [Some(1), Some(2)]);
}

#[test]
fn a_stream_that_ends_after_the_reason_is_whole() {
    let fake = serving(|_, _| stream(SSE, &[text("a"), finish("stop")]));
    let served = serve(&mut target(&fake), &job(1));
    assert_eq!(only(&served).ending, Ending::Stop);
}

#[test]
fn a_piece_is_stamped_before_the_next_is_sent() {
    let (first, second) = (Gate::default(), Gate::default());
    let gates = (first.clone(), second.clone());
    let fake = Fake::start(move |_, _| {
        vec![
            head(SSE),
            Step::Wait(gates.0.clone()),
            Step::Chunk(b"data: 1\n".to_vec()),
            Step::Wait(gates.1.clone()),
            Step::Chunk(b"data: 2\ndata: 3".to_vec()),
            Step::End,
        ]
    });
    let mut client = Client::of_facts(PATIENT, None);
    let mut lines = client
        .stream(&fake.url("/v1"), "/x", "{}", 1 << 10)
        .unwrap();
    // The client reads nothing before a gate is open, so each instant lies between two of the test's.
    let before = client.now_ns();
    first.open();
    let one = lines.next_line().unwrap().unwrap();
    let between = client.now_ns();
    second.open();
    let two = lines.next_line().unwrap().unwrap();
    let three = lines.next_line().unwrap().unwrap();
    let after = client.now_ns();
    assert_eq!(
        [&*one.text, &*two.text, &*three.text],
        ["data: 1", "data: 2", "data: 3"]
    );
    assert!(before <= one.at_ns && one.at_ns <= between);
    assert!(between <= two.at_ns && two.at_ns <= three.at_ns && three.at_ns <= after);
    assert_eq!(lines.next_line().unwrap(), None);
}

#[test]
fn a_key_reaches_the_server_and_nothing_else() {
    let fake = serving(|number, _| match number {
        // It repeats the key, whole and in two pieces.
        0 => {
            let pieces = [
                text(SECRET),
                text("sk-very"),
                text("-secret"),
                finish("stop"),
                DONE.into(),
            ];
            stream(SSE, &pieces)
        }
        1 => whole(
            "401 Unauthorized",
            &json!({"error": {"message": format!("bad key {SECRET}")}}).to_string(),
        ),
        _ => stream(
            SSE,
            &[event(
                &json!({"error": {"message": format!("{SECRET} is over its quota")}}),
            )],
        ),
    });
    let mut target = with_key(&fake, Some(SECRET));
    let facts = target.facts();
    let served = serve(&mut target, &job(3));
    let expected = format!("Bearer {SECRET}");
    for seen in fake.seen() {
        assert_eq!(seen.header("authorization"), Some(expected.as_str()));
        assert!(!seen.body.contains(SECRET) && !seen.path.contains(SECRET));
    }
    let record = serde_json::to_string(&served).unwrap();
    let debug = format!("{target:?} {facts:?} {served:?}");
    assert!(!record.contains("secret"), "{record}");
    assert!(!debug.contains("secret"), "{debug}");
    assert_eq!(served.timelines[0].text, "[key][key]");
    let Ending::Http {
        status: 401,
        reason,
    } = &served.timelines[1].ending
    else {
        panic!("{served:?}");
    };
    assert_eq!(
        reason,
        "bad key [key] (its key is taken from OPENAI_API_KEY)"
    );
    let over = Ending::Stream {
        reason: "[key] is over its quota".into(),
    };
    assert_eq!(served.timelines[2].ending, over);
}

#[test]
fn facts_are_what_the_server_says_of_itself() {
    let fake = Fake::start(|_, seen| match seen.path.as_str() {
        "/v1/models" => whole("200 OK", r#"{"data":[{"id":"smollm2.gguf"}]}"#),
        "/props" => {
            let props = json!({"build_info": "b1-abc", "total_slots": 8, "model_path": "/m.gguf",
                               "default_generation_settings": {"n_ctx": 2048}});
            whole("200 OK", &props.to_string())
        }
        _ => whole("404 Not Found", ""),
    });
    let facts = target(&fake).facts().unwrap();
    assert_eq!(facts.kind, TargetKind::Openai);
    assert_eq!(facts.version.as_deref(), Some("llama.cpp b1-abc"));
    assert_eq!(facts.model.as_deref(), Some("smollm2.gguf"));
    assert_eq!((facts.n_ctx, facts.n_parallel), (Some(2048), Some(8)));
    assert_eq!((facts.sha256, facts.size_bytes), (None, None));
}

#[test]
fn another_server_need_not_have_properties() {
    let fake = Fake::start(|_, seen| match seen.path.as_str() {
        "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
        "/version" => whole("200 OK", r#"{"version":"0.11.0"}"#),
        _ => whole("404 Not Found", r#"{"detail":"Not Found"}"#),
    });
    let facts = target(&fake).facts().unwrap();
    assert_eq!(facts.version.as_deref(), Some("0.11.0"));
    assert_eq!((facts.n_ctx, facts.n_parallel), (None, None));
}

#[test]
fn what_cannot_be_used_is_named_with_its_remedy() {
    let says = |models: &'static str, asked: Option<&str>, what: &str| {
        let fake = Fake::start(move |_, _| whole("200 OK", models));
        let mut target =
            OpenaiTarget::new("openai:x".into(), asked, fake.url("/v1"), None, PATIENT);
        let error = target.facts().unwrap_err();
        assert!(matches!(error, TargetError::Unfit { .. }));
        assert!(error.to_string().contains(what), "{error}");
    };
    says(r#"{"data":[]}"#, None, "has no model");
    says(
        r#"{"data":[{"id":"a"},{"id":"b"}]}"#,
        None,
        "has several models (a, b); name one: openai:http://",
    );
    says(
        r#"{"data":[{"id":"a"}]}"#,
        Some("b"),
        "has no model `b`; it has: a",
    );
    says("hello", None, "does not answer as OpenAI does");
    let status = |status: &'static str, what: &str| {
        let fake = Fake::start(move |_, _| whole(status, ""));
        let error = target(&fake).facts().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    status("404 Not Found", "the address usually ends in /v1");
    status("401 Unauthorized", "OPENAI_API_KEY");
}
