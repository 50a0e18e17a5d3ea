//! An Ollama server that behaves.

use ggufbench::request::ollama::OllamaTarget;
use ggufbench::request::{
    Arrival, CountCaveat, Ending, Endpoint, ServerTimes, StopAt, Target, TargetError, TargetKind,
};
use serde_json::json;

use super::fake::{Fake, Seen, Step, raw, stream, whole};
use super::{PATIENT, job, only, serve};

pub const NDJSON: &str = "application/x-ndjson";

pub const HEX: &str = "667b0c1932bc6ffc593ed1d03f895bf2dc8dc6df21db3042284a6f4416b06a29";

pub fn target(fake: &Fake) -> OllamaTarget {
    OllamaTarget::new("ollama:m:8b".into(), "m:8b", fake.url(""), PATIENT)
}

pub fn text(text: &str) -> String {
    json!({"model": "m:8b", "created_at": "2026-01-01T00:00:00Z", "response": text, "done": false})
        .to_string()
        + "\n"
}

pub fn done(reason: &str, n_eval: u32) -> String {
    json!({
        "model": "m:8b", "response": "", "done": true, "done_reason": reason, "context": [1, 2, 3],
        "total_duration": 5_043_500_667_u64, "load_duration": 5_025_959,
        "prompt_eval_count": 26, "prompt_eval_duration": 325_953_000,
        "eval_count": n_eval, "eval_duration": 4_709_213_000_u64,
    })
    .to_string()
        + "\n"
}

/// Three tokens and the end.
pub fn answer() -> Vec<Step> {
    stream(
        NDJSON,
        &[text("a"), text("b"), text("c"), done("length", 3)],
    )
}

#[test]
fn an_answer_is_what_arrived_and_what_the_server_says_of_it() {
    let fake = Fake::start(|_, _| answer());
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.text, "abc");
    assert_eq!(timeline.ending, Ending::Length);
    assert_eq!(timeline.arrivals.len(), 3);
    assert!(timeline.arrivals.iter().all(|a| a.n_tokens.is_none()));
    assert_eq!(
        (timeline.n_prompt, timeline.n_generated),
        (Some(26), Some(3))
    );
    assert_eq!(
        timeline.server,
        Some(ServerTimes {
            total_ns: Some(5_043_500_667),
            load_ns: Some(5_025_959),
            prompt_ns: Some(325_953_000),
            eval_ns: Some(4_709_213_000),
            n_prompt: Some(26),
            n_cached: None,
            n_eval: Some(3),
        })
    );
}

#[test]
fn a_request_says_everything_and_no_more() {
    let fake = Fake::start(|_, _| answer());
    serve(&mut target(&fake), &job(2));
    let seen = fake.seen();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].path, "/api/generate");
    let expected = |prompt: &str, seed: u32| {
        json!({
            "model": "m:8b", "prompt": prompt, "raw": true, "stream": true, "keep_alive": "30m",
            "options": {
                "num_ctx": 2048, "num_thread": 4, "num_predict": 3, "temperature": 0.7, "top_k": 40,
                "top_p": 0.9, "min_p": 0.0, "seed": seed, "repeat_penalty": 1.0, "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
            },
        })
    };
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
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
}

/// Nothing compressed is asked for, nothing is authorised.
pub fn header_names(seen: &Seen) -> Vec<&str> {
    let mut names: Vec<&str> = seen.headers.iter().map(|(key, _)| key.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn in_a_chat_thoughts_are_arrivals_of_their_own_kind() {
    let said = |content: &str, thinking: &str| {
        json!({"message": {"role": "assistant", "content": content, "thinking": thinking}, "done": false})
            .to_string()
            + "\n"
    };
    let fake = Fake::start(move |_, _| {
        let pieces = [
            said("", ""),
            said("", "hm"),
            said("", "so"),
            said("yes", ""),
            said(" it is", ""),
            done("stop", 5),
        ];
        stream(NDJSON, &pieces)
    });
    let mut job = job(1);
    job.endpoint = Endpoint::Chat;
    let served = serve(&mut target(&fake), &job);
    let timeline = only(&served);
    assert_eq!(timeline.text, "yes it is");
    let kinds: Vec<bool> = timeline.arrivals.iter().map(|a| a.is_reasoning).collect();
    assert_eq!(kinds, [true, true, false, false]);
    assert_eq!(timeline.caveat, None, "all of it is counted");
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!(
        timeline.n_generated,
        Some(4),
        "without the token that ends it"
    );
    let seen = &fake.seen()[0];
    assert_eq!(seen.path, "/api/chat");
    let messages = json!([{"role": "user", "content": "one"}]);
    assert_eq!(seen.json()["messages"], messages);
    assert_eq!(seen.json().get("prompt"), None);
    assert_eq!(seen.json().get("raw"), None);
}

#[test]
fn empty_pieces_are_no_arrivals_and_lines_may_be_split_anyhow() {
    let fake = Fake::start(|_, _| {
        let all = [text(""), text("日本"), text(""), text("x"), done("stop", 3)].concat();
        // Cut in the middle of letters, and several lines in one piece.
        let bytes = all.as_bytes();
        let pieces: Vec<&[u8]> = bytes.chunks(97).collect();
        stream(NDJSON, &pieces)
    });
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.text, "日本x");
    assert_eq!(timeline.arrivals.len(), 2);
    assert_eq!(timeline.n_generated, Some(2));
}

#[test]
fn lines_that_arrive_together_have_one_instant() {
    let fake = Fake::start(|_, _| {
        let all = [text("a"), text("b"), done("length", 2)].concat();
        stream(NDJSON, &[all])
    });
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    let [Arrival { at_ns: first, .. }, Arrival { at_ns: second, .. }] = timeline.arrivals[..]
    else {
        panic!("{timeline:?}");
    };
    assert_eq!(first, second);
    assert_eq!(timeline.ended_ns, second);
}

#[test]
fn a_short_reply_where_a_long_one_was_asked_for_is_told() {
    let fake = Fake::start(|_, _| stream(NDJSON, &[text("a"), done("stop", 2)]));
    let mut job = job(1);
    job.stop_at = StopAt::Length;
    let served = serve(&mut target(&fake), &job);
    let timeline = only(&served);
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!(timeline.n_generated, Some(1));
}

#[test]
fn an_answer_of_nothing_is_an_answer() {
    let fake = Fake::start(|_, _| stream(NDJSON, &[done("stop", 1)]));
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!((timeline.ttft_ns(), timeline.n_generated), (None, Some(0)));
}

#[test]
fn an_old_server_that_gives_no_counts_and_no_reason_is_understood() {
    let fake = Fake::start(|_, _| stream(NDJSON, &[text("a"), "{\"done\":true}\n".into()]));
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(timeline.ending, Ending::Stop);
    assert_eq!((timeline.n_prompt, timeline.n_generated), (None, None));
    assert_eq!(timeline.server, Some(ServerTimes::default()));
}

#[test]
fn counts_and_times_that_are_none_cost_nothing_but_themselves() {
    let fake = Fake::start(|_, _| {
        let odd = json!({"response": "", "done": true, "done_reason": "", "eval_count": -3,
                         "prompt_eval_count": 1.5, "eval_duration": -1, "total_duration": 7});
        stream(NDJSON, &[text("a"), odd.to_string() + "\n"])
    });
    let served = serve(&mut target(&fake), &job(1));
    let timeline = only(&served);
    assert_eq!(
        (timeline.text.as_str(), &timeline.ending),
        ("a", &Ending::Stop)
    );
    assert_eq!((timeline.n_prompt, timeline.n_generated), (None, None));
    let said = CountCaveat::NotACount { said: "-3".into() };
    assert_eq!(timeline.caveat, Some(said));
    let times = timeline.server.expect("some are said");
    assert_eq!((times.eval_ns, times.total_ns), (None, Some(7)));
}

/// The documents that a server says of itself.
fn documents(seen: &Seen, loaded: &str) -> Vec<Step> {
    match seen.path.as_str() {
        "/api/version" => whole("200 OK", r#"{"version":"0.12.3"}"#),
        "/api/show" => {
            assert_eq!(seen.json(), json!({"model": "m:8b"}));
            let shown = json!({
                "modelfile": format!("# Modelfile\nFROM /var/ollama/blobs/sha256-{HEX}\nTEMPLATE x\n"),
                "details": {"format": "gguf", "quantization_level": "Q4_K_M"},
            });
            whole("200 OK", &shown.to_string())
        }
        "/api/ps" => whole("200 OK", loaded),
        other => panic!("{other} is not asked for"),
    }
}

#[test]
fn facts_are_what_the_server_says_of_itself() {
    let fake = Fake::start(|_, seen| {
        let loaded = json!({"models": [
            {"name": "other:latest", "model": "other:latest", "size": 1, "size_vram": 1, "context_length": 1},
            {"name": "m:8b", "model": "m:8b", "size": 6_654_289_920_u64, "size_vram": 6_000_000_000_u64,
             "digest": "manifest", "context_length": 2048},
        ]});
        documents(seen, &loaded.to_string())
    });
    let facts = target(&fake).facts().unwrap();
    assert_eq!(facts.kind, TargetKind::Ollama);
    assert_eq!(facts.name, "ollama:m:8b");
    assert_eq!(facts.version.as_deref(), Some("0.12.3"));
    assert_eq!(facts.model.as_deref(), Some("m:8b"));
    assert_eq!(facts.sha256.as_deref(), Some(HEX));
    assert_eq!(facts.file_type.as_deref(), Some("Q4_K_M"));
    assert_eq!(facts.size_bytes, Some(6_654_289_920));
    assert_eq!(facts.size_vram_bytes, Some(6_000_000_000));
    assert_eq!((facts.n_ctx, facts.n_parallel), (Some(2048), None));
}

#[test]
fn a_model_that_is_not_loaded_has_no_size() {
    let fake = Fake::start(|_, seen| documents(seen, r#"{"models":[]}"#));
    let facts = target(&fake).facts().unwrap();
    assert_eq!((facts.size_bytes, facts.n_ctx), (None, None));
    assert_eq!(facts.sha256.as_deref(), Some(HEX));
}

#[test]
fn a_model_that_is_not_there_is_named_with_its_remedies() {
    let fake = Fake::start(|_, seen| match seen.path.as_str() {
        "/api/version" => whole("200 OK", r#"{"version":"0.12.3"}"#),
        _ => whole("404 Not Found", r#"{"error":"model 'm:8b' not found"}"#),
    });
    let error = target(&fake).facts().unwrap_err();
    assert!(matches!(error, TargetError::Unfit { .. }));
    let said = error.to_string();
    assert!(
        said.contains("`ollama pull m:8b`") && said.contains("`ollama create m:8b"),
        "{said}"
    );
}

#[test]
fn another_kind_of_server_is_told_apart() {
    let fake = Fake::start(|_, _| whole("404 Not Found", "404 page not found"));
    let error = target(&fake).facts().unwrap_err();
    assert!(matches!(error, TargetError::Unfit { .. }));
    assert!(
        error
            .to_string()
            .contains("does not answer as Ollama does: HTTP 404")
    );
    let fake = Fake::start(|_, _| whole("200 OK", "<html>hello</html>"));
    let error = target(&fake).facts().unwrap_err().to_string();
    assert!(error.contains("no JSON: <html>"), "{error}");
}

#[test]
fn a_server_that_is_not_ready_says_when_to_ask_again() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy";
    let fake = Fake::start(move |_, _| vec![raw(busy)]);
    let Err(TargetError::NotReady {
        reason,
        retry_after_s,
        is_certain,
        ..
    }) = target(&fake).facts()
    else {
        panic!("ready");
    };
    assert_eq!(reason, "HTTP 429: busy");
    assert_eq!((retry_after_s, is_certain), (Some(7), true));
}

#[test]
fn a_model_that_runs_elsewhere_is_no_target() {
    let fake = Fake::start(|_, seen| match seen.path.as_str() {
        "/api/version" => whole("200 OK", r#"{"version":"0.12.3"}"#),
        _ => whole(
            "200 OK",
            r#"{"remote_host":"https://ollama.com:443","remote_model":"big"}"#,
        ),
    });
    let error = target(&fake).facts().unwrap_err().to_string();
    assert!(
        error.contains("passes this model's requests on to https://ollama.com:443"),
        "{error}"
    );
}
