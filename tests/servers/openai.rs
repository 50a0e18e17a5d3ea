//! A server with OpenAI's completions that behaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use ggufbench::request::http::{ApiKey, Client};
use ggufbench::request::openai::OpenaiTarget;
use ggufbench::request::{
    CountCaveat, Ending, Endpoint, ServerTimes, StopAt, Target, TargetError, TargetKind,
};
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
            "seed": seed, "stream": true, "stream_options": {"include_usage": true},
        })
    };
    assert_eq!(seen[0].path, "/v1/completions");
    assert_eq!(seen[0].json(), expected("one", 42));
    assert_eq!(seen[1].json(), expected("two", 43));
    assert_eq!(
        header_names(&seen[0]),
        [
            "accept",
            "accept-encoding",
            "content-length",
            "content-type",
            "host",
            "user-agent"
        ]
    );
}

#[test]
fn what_changes_nothing_is_not_sent() {
    let fake = serving(|_, _| answer());
    let mut greedy = job(1);
    greedy.sampling.temperature = 0.0;
    serve(&mut target(&fake), &greedy);
    let expected = json!({
        "model": "m", "prompt": "one", "max_tokens": 3, "temperature": 0.0, "stream": true,
        "stream_options": {"include_usage": true},
    });
    assert_eq!(fake.seen()[1].json(), expected);
    // Strictly OpenAI's, whatever is asked for.
    let mut strict = job(1);
    strict.openai_strict = true;
    strict.stop_at = StopAt::Length;
    serve(&mut target(&fake), &strict);
    let body = fake.seen()[3].json();
    for field in ["top_k", "min_p", "cache_prompt", "ignore_eos"] {
        assert_eq!(body.get(field), None, "{field}");
    }
    assert_eq!(body["top_p"], json!(0.9));
}

#[test]
fn llama_server_is_told_what_it_has_other_defaults_for() {
    let fake = Fake::start(|_, seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", _) => answer(),
        (_, "/v1/models") => whole("200 OK", r#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#),
        _ => whole("404 Not Found", ""),
    });
    serve(&mut target(&fake), &job(1));
    let body = fake.seen()[1].json();
    assert_eq!(
        (&body["min_p"], &body["cache_prompt"]),
        (&json!(0.0), &json!(false))
    );
}

#[test]
fn a_form_that_a_server_refuses_is_changed_once_where_another_means_the_same() {
    let fake = serving(|_, seen| {
        let body = seen.json();
        let refuse = |what: &str| {
            whole(
                "400 Bad Request",
                &json!({"error": {"message": what}}).to_string(),
            )
        };
        if body.get("stream_options").is_some() {
            return refuse("unknown field `stream_options`");
        }
        match body.get("max_completion_tokens") {
            Some(_) => answer(),
            None => refuse("'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
        }
    });
    let mut target = target(&fake);
    let served = serve(&mut target, &job(2));
    let words: Vec<&str> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(words, ["length"; 2]);
    let asked: Vec<_> = fake
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "POST")
        .collect();
    assert_eq!(
        asked.len(),
        4,
        "later requests have the form from the beginning"
    );
    assert_eq!(asked[3].json()["max_completion_tokens"], json!(3));
    assert!(target.facts().unwrap().notes[0].contains("stream_options"));
    // Refused whatever is done: asked once for each form.
    let deaf = serving(|_, _| {
        whole(
            "400 Bad Request",
            "no stream_options, no max_completion_tokens",
        )
    });
    let served = serve(&mut self::target(&deaf), &job(1));
    assert_eq!(only(&served).ending.word(), "http_error");
    assert_eq!(deaf.seen().len(), 1 + 3);
}

#[test]
fn a_missing_endpoint_names_the_other_one() {
    let says = |status: &'static str, body: &'static str, endpoint: Endpoint| {
        let fake = serving(move |_, _| whole(status, body));
        let mut job = job(1);
        job.endpoint = endpoint;
        only(&serve(&mut target(&fake), &job)).ending.to_string()
    };
    let completion = says(
        "404 Not Found",
        r#"{"detail":"Not Found"}"#,
        Endpoint::Completion,
    );
    assert!(completion.contains("--endpoint chat"), "{completion}");
    let openai = "This is a chat model and not supported in the v1/completions endpoint.";
    let refused = says("404 Not Found", openai, Endpoint::Completion);
    assert!(refused.contains("--endpoint chat"), "{refused}");
    let chat = says("501 Not Implemented", "", Endpoint::Chat);
    assert!(chat.contains("--endpoint completion"), "{chat}");
    let no_model = says(
        "404 Not Found",
        "The model `m` does not exist.",
        Endpoint::Completion,
    );
    assert!(!no_model.contains("--endpoint"), "{no_model}");
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
fn in_a_chat_roles_and_empty_pieces_are_no_arrivals_and_reasoning_is_one_of_its_kind() {
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
            usage(7, 4, 0),
            DONE.into(),
        ];
        stream(SSE, &pieces)
    });
    let mut job = job(1);
    job.endpoint = Endpoint::Chat;
    let served = serve(&mut target(&fake), &job);
    let timeline = only(&served);
    assert_eq!(timeline.text, "yes it is");
    let kinds: Vec<bool> = timeline.arrivals.iter().map(|a| a.is_reasoning).collect();
    assert_eq!(kinds, [true, false, false]);
    assert_eq!((timeline.n_generated, &timeline.caveat), (Some(3), &None));
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
fn a_count_that_cannot_be_is_left_out_and_told() {
    let of = |n: Value| {
        let end = event(&json!({"choices": [], "usage": {"completion_tokens": n}}));
        let fake = serving(move |_, _| {
            stream(SSE, &[text("a"), finish("stop"), end.clone(), DONE.into()])
        });
        let served = serve(&mut target(&fake), &job(1));
        let timeline = only(&served).clone();
        assert_eq!(
            (timeline.ending.word(), timeline.n_generated),
            ("stop", None)
        );
        assert_eq!(timeline.tpot_ns(), None);
        timeline.caveat.expect("told")
    };
    let counted = 4_294_967_295;
    assert_eq!(
        of(json!(counted)),
        CountCaveat::TooMany { counted, asked: 3 }
    );
    assert_eq!(of(json!(-3)), CountCaveat::NotACount { said: "-3".into() });
    assert_eq!(
        of(json!(1.5)),
        CountCaveat::NotACount { said: "1.5".into() }
    );
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
        assert!(matches!(
            error,
            TargetError::Unfit { .. } | TargetError::NotReady { .. }
        ));
        assert!(error.to_string().contains(what), "{error}");
    };
    says(r#"{"data":[]}"#, None, "has no model");
    says(
        r#"{"data":[{"id":"a"},{"id":"b"}]}"#,
        None,
        "has several models (a, b); name one: openai:http://",
    );
    says("hello", None, "does not answer as OpenAI does");
    let status = |status: &'static str, what: &str| {
        let fake = Fake::start(move |_, _| whole(status, ""));
        let error = target(&fake).facts().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    status("404 Not Found", "the address usually ends in /v1");
    status("401 Unauthorized", "OPENAI_API_KEY");
    status("501 Not Implemented", "openai:URL#MODEL");
}

#[test]
fn a_named_model_needs_no_list() {
    for listed in [
        "404 Not Found",
        "405 Method Not Allowed",
        "501 Not Implemented",
        "401 Unauthorized",
    ] {
        let fake = Fake::start(move |_, seen| match seen.method.as_str() {
            "POST" => answer(),
            _ => whole(listed, "no"),
        });
        let mut target =
            OpenaiTarget::new("openai:x".into(), Some("b"), fake.url("/v1"), None, PATIENT);
        let facts = target.facts().expect("named");
        assert_eq!(facts.model.as_deref(), Some("b"));
        assert!(facts.notes[0].contains("unverified"), "{facts:?}");
        assert_eq!(only(&serve(&mut target, &job(1))).ending, Ending::Length);
        let posted = fake.seen().into_iter().find(|seen| seen.method == "POST");
        assert_eq!(posted.expect("asked").json()["model"], json!("b"));
    }
}

#[test]
fn a_server_that_still_loads_is_not_ready() {
    // By its health, by its list, and with an empty list.
    let loading = |at: &'static str| {
        let fake = Fake::start(move |_, seen| match seen.path.as_str() {
            path if path == at => {
                let body = json!({"error": {"code": 503, "message": "Loading model"}});
                whole("503 Service Unavailable", &body.to_string())
            }
            "/v1/models" => whole("200 OK", r#"{"data":[{"id":"m"}]}"#),
            _ => whole("404 Not Found", ""),
        });
        target(&fake).facts().unwrap_err()
    };
    for at in ["/health", "/v1/models"] {
        let TargetError::NotReady {
            reason,
            is_certain: true,
            ..
        } = loading(at)
        else {
            panic!("{at}");
        };
        assert_eq!(reason, "HTTP 503: Loading model");
    }
    let empty = Fake::start(|_, _| whole("200 OK", r#"{"data":[]}"#));
    let error = target(&empty).facts().unwrap_err();
    assert!(matches!(
        error,
        TargetError::NotReady {
            is_certain: false,
            ..
        }
    ));
}
