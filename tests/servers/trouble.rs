//! Servers that behave badly: each fault is survived, and named.

use std::io::{Read, Write};
use std::net::TcpListener;

use ggufbench::request::http::Patience;
use ggufbench::request::ollama::OllamaTarget;
use ggufbench::request::openai::OpenaiTarget;
use ggufbench::request::{Ending, Target, TargetError, Timeline};
use serde_json::json;

use super::fake::{Fake, Step, head, raw, stream, whole};
use super::ollama::{NDJSON, done, text};
use super::openai::{self, SSE, serving};
use super::{IMPATIENT, PATIENT, check, job, only, serve};

fn ollama(fake: &Fake, patience: Patience) -> OllamaTarget {
    OllamaTarget::new("ollama:m".into(), "m", fake.url(""), patience)
}

/// What becomes of one request that is answered so, at an Ollama server.
fn at_ollama(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Timeline {
    let fake = Fake::start(move |_, _| steps());
    only(&serve(&mut ollama(&fake, PATIENT), &job(1))).clone()
}

/// The same at a server with OpenAI's completions.
fn at_openai(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Timeline {
    let fake = serving(move |_, _| steps());
    only(&serve(&mut openai::target(&fake), &job(1))).clone()
}

fn broken(reason: &str) -> Ending {
    Ending::Stream {
        reason: reason.to_owned(),
    }
}

/// The words of a broken stream.
fn why(timeline: &Timeline) -> &str {
    match &timeline.ending {
        Ending::Stream { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_inside_the_stream_keeps_what_came_before() {
    let timeline = at_ollama(|| {
        let error =
            "{\"error\":\"an error was encountered while running the model: CUDA error\"}\n";
        stream(NDJSON, &[text("a"), text("b"), error.into()])
    });
    let reason = "an error was encountered while running the model: CUDA error";
    assert_eq!(timeline.ending, broken(reason));
    assert_eq!(timeline.arrivals.len(), 2);
    assert_eq!((timeline.text.as_str(), timeline.n_generated), ("ab", None));
    let timeline = at_openai(|| {
        let error =
            json!({"error": {"code": 500, "message": "context is full", "type": "server_error"}});
        stream(SSE, &[openai::text("a"), openai::event(&error)])
    });
    assert_eq!(timeline.ending, broken("context is full"));
    assert_eq!(timeline.arrivals.len(), 1);
    let timeline = at_openai(|| stream(SSE, &["error: {\"code\":500,\"message\":\"old\"}\n\n"]));
    assert_eq!(timeline.ending, broken("old"));
}

#[test]
fn a_status_is_kept_with_the_servers_words() {
    let http = |status: u16, reason: &str| Ending::Http {
        status,
        reason: reason.to_owned(),
    };
    let timeline = at_ollama(|| whole("404 Not Found", r#"{"error":"model 'm' not found"}"#));
    assert_eq!(timeline.ending, http(404, "model 'm' not found"));
    assert!(timeline.arrivals.is_empty());
    let timeline = at_ollama(|| whole("503 Service Unavailable", r#"{"error":"server busy"}"#));
    assert_eq!(timeline.ending, http(503, "server busy"));
    let timeline = at_ollama(|| whole("502 Bad Gateway", ""));
    assert_eq!(timeline.ending, http(502, "Bad Gateway"));
    // A text that would steer a terminal, and has no end.
    let hostile = format!("\x1b[2J\u{202e}{}", "x".repeat(200_000));
    let timeline = at_ollama(move || whole("500 Internal Server Error", &hostile));
    let Ending::Http {
        status: 500,
        reason,
    } = timeline.ending
    else {
        panic!("{timeline:?}");
    };
    assert!(
        reason.starts_with("?[2J?xxx") && reason.chars().count() == 300,
        "{reason}"
    );
}

#[test]
fn a_refused_field_names_the_flag_that_leaves_it_out() {
    let refuse = |_: usize, _: &super::fake::Seen| {
        let body = json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"],
                                      "msg": "Extra inputs are not permitted"}]});
        whole("422 Unprocessable Entity", &body.to_string())
    };
    let reason = |job: &ggufbench::request::Job| {
        let fake = serving(refuse);
        match &only(&serve(&mut openai::target(&fake), job)).ending {
            Ending::Http {
                status: 422,
                reason,
            } => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        reason(&job(1)),
        "top_k: Extra inputs are not permitted (sent beyond OpenAI's own fields: top_k; --openai-strict leaves them out)"
    );
    let mut strict = job(1);
    strict.openai_strict = true;
    assert_eq!(reason(&strict), "top_k: Extra inputs are not permitted");
}

#[test]
fn a_seed_that_is_refused_is_left_out_and_that_is_noted() {
    let fake = serving(|_, seen| match seen.body.contains("\"seed\"") {
        true => whole(
            "400 Bad Request",
            &json!({"error": {"message": "Unrecognized request argument supplied: seed"}})
                .to_string(),
        ),
        false => stream(
            SSE,
            &[&openai::text("a"), &openai::finish("stop"), openai::DONE],
        ),
    });
    let mut target = openai::target(&fake);
    let served = serve(&mut target, &job(2));
    assert!(
        served.timelines.iter().all(|t| t.ending == Ending::Stop),
        "{served:?}"
    );
    let notes = target.facts().unwrap().notes;
    assert!(
        notes.iter().any(|n| n.contains("refuses seed")),
        "{notes:?}"
    );
}

#[test]
fn a_model_that_answers_messages_only_names_the_endpoint() {
    let fake = serving(|_, _| {
        let said = "This is a chat model and not supported in the v1/completions endpoint.";
        whole(
            "400 Bad Request",
            &json!({"error": {"message": said}}).to_string(),
        )
    });
    let served = serve(&mut openai::target(&fake), &job(1));
    let said = only(&served).ending.to_string();
    assert!(
        said.contains("--endpoint chat") && !said.contains("--openai-strict"),
        "{said}"
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Fake::start(|_, _| whole("200 OK", "{}"));
    let to = elsewhere.url("/api/generate").to_string();
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let to = to.clone();
        let timeline = at_ollama(move || {
            let head = format!("HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            vec![raw(&head)]
        });
        let Ending::Http {
            status: kept,
            reason,
        } = timeline.ending
        else {
            panic!("{timeline:?}");
        };
        assert!(status.starts_with(&kept.to_string()));
        assert!(reason.contains("which is not followed"), "{reason}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn nobody_there_is_a_refusal() {
    let url = ggufbench::request::spec::ServerUrl::parse(&nobody()).unwrap();
    let mut target = OllamaTarget::new("ollama:m".into(), "m", url.clone(), PATIENT);
    let served = serve(&mut target, &job(2));
    check(&served);
    assert_eq!(served.timelines.len(), 2);
    for timeline in &served.timelines {
        let Ending::Refused { reason } = &timeline.ending else {
            panic!("{timeline:?}");
        };
        assert!(reason.to_lowercase().contains("refused"), "{reason}");
    }
    let error = target.facts().unwrap_err();
    assert!(matches!(error, TargetError::Unreachable { .. }));
    assert!(
        error.to_string().contains("start it with `ollama serve`"),
        "{error}"
    );
    let mut target = OpenaiTarget::new("openai:x".into(), None, url, None, PATIENT);
    assert!(matches!(
        target.facts(),
        Err(TargetError::Unreachable { .. })
    ));
    assert!(matches!(
        target.serve(&job(1), &|| false),
        Err(TargetError::Unreachable { .. })
    ));
}

#[test]
fn a_host_that_goes_down_between_requests_is_a_refusal_from_then_on() {
    let fake = Fake::start(|_, _| {
        vec![
            raw("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Step::Chunk(text("a").into_bytes()),
            Step::Chunk(done("length", 1).into_bytes()),
            Step::Deafen,
            Step::End,
            Step::Close,
        ]
    });
    let served = serve(&mut ollama(&fake, PATIENT), &job(3));
    check(&served);
    let words: Vec<&str> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(words, ["length", "refused", "refused"]);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let stalled = Ending::Stalled {
        after_ns: 1_000_000_000,
    };
    // Before any answer, and in its middle.
    let fake = Fake::start(|number, _| match number {
        0 => vec![Step::Hold],
        _ => vec![
            head(NDJSON),
            Step::Chunk(text("a").into_bytes()),
            Step::Hold,
        ],
    });
    let served = serve(&mut ollama(&fake, IMPATIENT), &job(2));
    check(&served);
    assert_eq!(served.timelines[0].ending, stalled);
    assert!(served.timelines[0].arrivals.is_empty());
    assert_eq!(served.timelines[1].ending, stalled);
    assert_eq!(served.timelines[1].arrivals.len(), 1);
    let mut target = ollama(&fake, IMPATIENT);
    assert!(matches!(
        target.facts(),
        Err(TargetError::Unreachable { .. })
    ));
}

#[test]
fn a_server_that_keeps_the_stream_open_after_the_answer_costs_no_answer() {
    let fake = Fake::start(|_, _| {
        vec![
            head(NDJSON),
            Step::Chunk(text("a").into_bytes()),
            Step::Chunk(done("length", 1).into_bytes()),
            Step::Hold,
        ]
    });
    let served = serve(&mut ollama(&fake, IMPATIENT), &job(2));
    check(&served);
    assert!(served.timelines.iter().all(|t| t.ending == Ending::Length));
    assert_eq!(fake.connections(), 2, "the open one cannot be used again");
}

#[test]
fn a_stream_that_breaks_off_is_truncated() {
    // The encoding is whole, the answer is not.
    let timeline = at_ollama(|| stream(NDJSON, &[text("a"), text("b")]));
    assert_eq!(timeline.ending, Ending::Truncated);
    assert_eq!((timeline.arrivals.len(), timeline.n_generated), (2, None));
    // The connection is closed between two pieces, in the middle of a line, and of a chunk.
    let timeline = at_ollama(|| {
        vec![
            head(NDJSON),
            Step::Chunk(text("a").into_bytes()),
            Step::Close,
        ]
    });
    assert_eq!(timeline.ending, Ending::Truncated);
    assert_eq!(timeline.arrivals.len(), 1);
    let timeline = at_ollama(|| vec![head(NDJSON), raw("ff\r\n{\"response\""), Step::Close]);
    assert_eq!(timeline.ending, Ending::Truncated);
    let timeline = at_openai(|| stream(SSE, &[openai::text("a")]));
    assert_eq!(timeline.ending, Ending::Truncated);
    // An answer that ends with its connection, as HTTP/1.0 has it.
    let timeline = at_ollama(|| vec![raw("HTTP/1.0 200 OK\r\n\r\n"), raw(&text("a")), Step::Close]);
    assert_eq!(timeline.ending, Ending::Truncated);
    let timeline = at_ollama(|| {
        let all = text("a") + &done("length", 1);
        vec![raw("HTTP/1.0 200 OK\r\n\r\n"), raw(&all), Step::Close]
    });
    assert_eq!(timeline.ending, Ending::Length);
}

#[test]
fn a_connection_that_closes_before_any_answer_is_told_from_a_refusal() {
    let timeline = at_ollama(|| vec![Step::Close]);
    assert_eq!(
        timeline.ending,
        broken("the connection was closed before any answer")
    );
    let timeline = at_ollama(|| vec![raw("HTTP/1.1 200 OK\r\nContent-"), Step::Close]);
    assert_eq!(
        timeline.ending,
        broken("the connection was closed before any answer")
    );
}

/// How a request by `https` ends at this address.
fn by_tls(address: &str) -> Ending {
    let url = ggufbench::request::spec::ServerUrl::parse(&format!("https://{address}")).unwrap();
    let mut target = OllamaTarget::new("ollama:m".into(), "m", url, PATIENT);
    only(&serve(&mut target, &job(1))).ending.clone()
}

#[test]
fn a_server_without_tls_is_no_https_server() {
    // One hangs up, another answers as HTTP servers do.
    let fake = Fake::start(|_, _| super::ollama::answer());
    let address = fake.url("").to_string().replace("http://", "");
    assert_eq!(by_tls(&address).word(), "stream_error");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Until the client has understood, and closes.
        while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
    });
    let Ending::Refused { reason } = by_tls(&address) else {
        panic!("{address}");
    };
    plain.join().unwrap();
    assert!(
        reason.contains("does not speak TLS") && reason.contains("http://"),
        "{reason}"
    );
}

#[test]
fn what_is_no_protocol_is_named() {
    assert!(why(&at_ollama(|| stream(NDJSON, &["<html>no</html>\n"]))).starts_with("not Ollama's"));
    assert!(why(&at_ollama(|| stream(NDJSON, &["{}\n"]))).starts_with("not Ollama's"));
    assert!(why(&at_ollama(|| stream(NDJSON, &["[1]\n"]))).starts_with("not Ollama's"));
    let wrong = "{\"done\":true,\"done_reason\":\"load\"}\n";
    assert_eq!(
        why(&at_ollama(move || stream(NDJSON, &[wrong]))),
        "ended by `load`, which is no end of an answer"
    );
    assert!(why(&at_openai(|| stream(SSE, &["<html>no</html>\n"]))).starts_with("not OpenAI's"));
    let timeline = at_ollama(|| vec![raw("SSH-2.0-OpenSSH_9.2\r\n"), Step::Close]);
    assert_eq!(timeline.ending.word(), "stream_error");
    // Terminal codes of a server reach nobody.
    let timeline = at_ollama(|| stream(NDJSON, &["\x1b[2J\n"]));
    assert!(!why(&timeline).contains('\x1b'));
}

#[test]
fn what_follows_the_end_is_no_part_of_the_answer() {
    let timeline = at_ollama(|| stream(NDJSON, &[text("a"), done("length", 1), text("b")]));
    assert_eq!(
        (timeline.text.as_str(), &timeline.ending),
        ("a", &Ending::Length)
    );
    let timeline = at_ollama(|| stream(NDJSON, &[text("a"), done("length", 1), "\n\r\n".into()]));
    assert_eq!(timeline.ending, Ending::Length, "blank lines are nothing");
    let timeline = at_openai(|| {
        let pieces = [
            openai::text("a"),
            openai::finish("stop"),
            openai::DONE.into(),
            openai::text("b"),
        ];
        stream(SSE, &pieces)
    });
    assert_eq!(
        (timeline.text.as_str(), &timeline.ending),
        ("a", &Ending::Stop)
    );
}

#[test]
fn a_line_of_ten_megabytes_is_given_up() {
    let timeline = at_ollama(|| {
        let mut steps = vec![head(NDJSON)];
        steps.extend((0..160).map(|_| Step::Chunk(vec![b'x'; 64 << 10])));
        steps.push(Step::End);
        steps
    });
    assert_eq!(timeline.ending, broken("a line longer than 4.00 MiB"));
}

#[test]
fn bytes_that_are_no_text_cost_only_themselves() {
    let lines = || {
        [
            b"{\"response\":\"\xff\"}\n".to_vec(),
            done("length", 1).into_bytes(),
        ]
    };
    let timeline = at_ollama(move || stream(NDJSON, &lines()));
    assert_eq!(
        (timeline.text.as_str(), &timeline.ending),
        ("\u{fffd}", &Ending::Length)
    );
}

#[test]
fn a_compressed_answer_that_nobody_asked_for_is_called_that() {
    let timeline = at_ollama(|| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n";
        vec![raw(head), Step::Raw(vec![0x1f, 0x8b, 8, 0])]
    });
    assert!(
        why(&timeline).contains("compressed answer (gzip)"),
        "{timeline:?}"
    );
}

#[test]
fn a_fault_does_not_reach_the_next_request() {
    let fake = Fake::start(|number, _| match number {
        0 => stream(NDJSON, &["{\"error\":\"x\"}\n"]),
        1 => vec![head(NDJSON), raw("zz\r\nno chunk\r\n"), Step::Close],
        2 => whole("500 Internal Server Error", r#"{"error":"y"}"#),
        _ => super::ollama::answer(),
    });
    let served = serve(&mut ollama(&fake, PATIENT), &job(4));
    check(&served);
    let words: Vec<&str> = served.timelines.iter().map(|t| t.ending.word()).collect();
    assert_eq!(
        words,
        ["stream_error", "stream_error", "http_error", "length"]
    );
}
